"""Shards together are one index, whatever is added, removed, moved, saved or asked meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ragstone import FAISSIndex, ShardedFAISSIndex
from ragstone.errors import DamagedError, InputError, NotFoundError
from ragstone.index.synthetic import clustered_vectors

DIM = 16
VECTORS = clustered_vectors(3_000, DIM)
QUERIES = VECTORS[2_900:]
METADATA = [{"n": n % 7} for n in range(2_500)]


def make_index() -> FAISSIndex:
    return FAISSIndex(DIM, "Flat", metric="cosine")


@pytest.fixture
def one() -> FAISSIndex:
    """All vectors in one index."""
    index = make_index()
    index.add_embeddings(VECTORS[:2_500] * 3, range(2_500), METADATA)
    return index


@pytest.fixture
def four() -> Iterator[ShardedFAISSIndex]:
    """The same vectors in four shards."""
    with ShardedFAISSIndex(["a", "b", "c", "d"], make_index) as index:
        index.add_embeddings(VECTORS[:2_500] * 3, range(2_500), METADATA)
        yield index


def assert_equal(four: ShardedFAISSIndex, one: FAISSIndex) -> None:
    assert len(four) == len(one)
    for query in QUERIES[:30]:
        assert four.search(query) == one.search(query)
        assert four.search(query, 15, filter={"n": 3}) == one.search(query, 15, filter={"n": 3})
        assert four.search(query, 10, 0.9) == one.search(query, 10, 0.9)


def test_four_shards_answer_as_one_index(four: ShardedFAISSIndex, one: FAISSIndex) -> None:
    assert_equal(four, one)
    sizes = [stats["total_vectors"] for stats in four.get_stats().values()]
    assert min(sizes) > 500  # spread by hash
    for index in (one, four):
        index.add_embeddings(VECTORS[2_500:2_600], range(100))
        assert index.remove([5, 7, 2_000, "nobody"]) == 3
    assert_equal(four, one)


def test_adding_and_removing_shards_moves_what_must_move_and_no_more(
    four: ShardedFAISSIndex, one: FAISSIndex
) -> None:
    moved = four.add_shard("e")
    assert moved == four.get_stats()["e"]["total_vectors"]
    assert 300 < moved < 700  # a fifth
    assert_equal(four, one)
    leaving = four.get_stats()["b"]["total_vectors"]
    assert four.remove_shard("b") == leaving
    assert four.shards == ("a", "c", "d", "e")
    assert_equal(four, one)
    four.add_embeddings(VECTORS[:2_500] * 3, range(2_500), METADATA)  # every id is found where it is now
    assert_equal(four, one)


def test_searches_miss_nothing_while_shards_move(four: ShardedFAISSIndex, one: FAISSIndex) -> None:
    expected = [[hit.id for hit in one.search(query)] for query in QUERIES[:20]]
    stop = threading.Event()

    def ask(_: int) -> int:
        asked = 0
        while not stop.is_set():
            assert [hit.id for hit in four.search(QUERIES[asked % 20])] == expected[asked % 20]
            asked += 1
        return asked

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(ask, number) for number in range(2)]
        try:
            for _ in range(2):
                four.add_shard("e")
                four.remove_shard("e")
        finally:
            stop.set()
        assert all(reader.result() for reader in readers)


def test_shards_are_saved_and_loaded_as_one(four: ShardedFAISSIndex, one: FAISSIndex, tmp_path: Path) -> None:
    four.save_index(tmp_path)
    four.remove(range(1_000))
    four.save_index(tmp_path)
    assert len(list(tmp_path.glob("shards-*"))) == 1
    four.add_embeddings(VECTORS[:1_000] * 3, range(1_000), METADATA[:1_000])
    four.save_index(tmp_path)
    with ShardedFAISSIndex(["x"], make_index) as index:
        index.load_index(tmp_path)
        assert index.shards == ("a", "b", "c", "d")
        assert {hit.id for hit in index.search(QUERIES[0], 50)} == {
            hit.id for hit in one.search(QUERIES[0], 50)
        }
        (tmp_path / "shards.json").write_text((tmp_path / "shards.json").read_text().replace('"a"', '"A"'))
        with pytest.raises(DamagedError, match=r"shards\.json"):
            index.load_index(tmp_path)
        assert len(index) == 2_500
        with pytest.raises(NotFoundError):
            index.load_index(tmp_path / "nowhere")


def test_bad_input_reaches_no_shard(four: ShardedFAISSIndex) -> None:
    rows = np.ones((40, DIM))
    rows[39] = 0
    with pytest.raises(InputError, match="row 39"):
        four.add_embeddings(rows, [f"new {n}" for n in range(40)])
    with pytest.raises(InputError):
        four.search(np.zeros(DIM))
    assert len(four) == 2_500
    for names in ([], ["a", "a"]):
        with pytest.raises(InputError):
            ShardedFAISSIndex(names, make_index)
    with pytest.raises(InputError):
        four.add_shard("a")
    with pytest.raises(NotFoundError):
        four.remove_shard("z")
