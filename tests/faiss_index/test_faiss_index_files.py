"""A saved `FAISSIndex`: opened lazily and once, damaged, replaced while open, refused where it does not fit."""

from __future__ import annotations

import logging
import resource
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from damage import replace_bytes
from ragstone import FAISSIndex
from ragstone.errors import DamagedError, InputError, MismatchError, NotFoundError, StoreError
from ragstone.index.synthetic import clustered_vectors

DIM = 16
VECTORS = clustered_vectors(3_000, DIM)


def saved(path: Path, index_type: str = "SQ8", *, metric: str = "l2") -> FAISSIndex:
    """An index with a base, a tail, removed rows and metadata, saved at `path`."""
    index = FAISSIndex(DIM, index_type, metric=metric, model_id="model-1")
    index.add_embeddings(VECTORS[:2_000], range(2_000), [{"n": n, "text": "naïve\n"} for n in range(2_000)])
    index.add_embeddings(VECTORS[2_000:2_500], [f"late {n}" for n in range(500)])
    index.remove([0, 1, "late 3"])
    index.save_index(path)
    return index


def loaded(path: Path, *, metric: str = "l2") -> FAISSIndex:
    index = FAISSIndex(DIM, metric=metric)
    index.load_index(path)
    return index


def mapped_files() -> str:
    """What this process has mapped."""
    return Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_what_was_saved_answers_as_before(tmp_path: Path, metric: str) -> None:
    index = saved(tmp_path / "index", metric=metric)
    again = loaded(tmp_path / "index", metric=metric)
    assert again.batch_search(VECTORS[2_500:2_600], 20) == index.batch_search(VECTORS[2_500:2_600], 20)
    assert again.id_map == index.id_map and again.metadata == index.metadata
    assert np.array_equal(again.vectors(), index.vectors())
    assert again.get_stats()["model_id"] == "model-1"
    assert not any(hit.id in {0, 1, "late 3"} for hit in again.search(VECTORS[0], 2_500))


def test_loading_touches_no_file_of_the_index_and_twenty_searches_open_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ragstone")
    expected = saved(tmp_path / "index").search(VECTORS[2_999])
    index = loaded(tmp_path / "index")
    assert str(tmp_path) not in mapped_files()
    start = threading.Barrier(20)

    def ask(_: int) -> object:
        start.wait()
        return index.search(VECTORS[2_999])

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(ask, range(20))) == [expected] * 20
    assert [record.message for record in caplog.records].count(
        f"opened 2,497 vectors from {tmp_path / 'index'}"
    ) == 1
    assert str(tmp_path) in mapped_files()


@pytest.mark.parametrize("index_type", ["Flat", "Flat,FP16", "IVF", "HNSW", "PQ,FastScan", "LSH"])
def test_a_mapped_index_can_be_written_to_and_its_files_stay(tmp_path: Path, index_type: str) -> None:
    saved(tmp_path / "index", index_type)
    before = {file: file.read_bytes() for file in (tmp_path / "index").rglob("*") if file.is_file()}
    index = loaded(tmp_path / "index")
    index.add_embeddings(VECTORS[:2], ["one", "two"])
    index.add_embeddings(VECTORS[:1_500] + 1, [f"many {n}" for n in range(1_500)])  # joins the base
    index.remove(["two", 7])
    assert {"one", "many 3"} <= set(index.id_map.values()) and "two" not in index and 7 not in index
    assert {hit.id for hit in index.search(VECTORS[0], 1)} == {"one"}
    assert {file: file.read_bytes() for file in before} == before


def test_every_flipped_byte_is_noticed_and_its_file_named(tmp_path: Path) -> None:
    saved(tmp_path / "whole")
    choice = np.random.default_rng(1)
    names = [
        file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*.*") if file.is_file()
    ]
    kinds = {name.name for name in names if name.suffix != ".trusted"}
    assert kinds >= {
        "manifest.json",
        "index.faiss",
        "vectors.f32",
        "ids.jsonl",
        "ids.u64",
        "metadata.jsonl",
        "dead.u8",
    }
    for name in names:
        if name.suffix == ".trusted":
            continue
        for _ in range(6):
            damaged = tmp_path / "damaged"
            shutil.copytree(tmp_path / "whole", damaged)
            data = bytearray((damaged / name).read_bytes())
            data[choice.integers(len(data))] ^= 1 << choice.integers(8)
            replace_bytes(damaged / name, data)
            with pytest.raises(DamagedError, match=name.name):
                loaded(damaged).search(VECTORS[0])
            shutil.rmtree(damaged)


@pytest.mark.parametrize(
    "name", ["manifest.json", "index.faiss", "vectors.f32", "tail.f32", "ids.u64", "dead.u8"]
)
def test_a_file_cut_short_or_missing_is_named(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "index")
    (file,) = (file for file in (tmp_path / "index").rglob(name))
    replace_bytes(file, file.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=name):
        loaded(tmp_path / "index").search(VECTORS[0])
    file.unlink()
    with pytest.raises(StoreError if name != "manifest.json" else NotFoundError):
        loaded(tmp_path / "index").search(VECTORS[0])


def test_a_damaged_index_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    saved(tmp_path / "index")
    (file,) = (tmp_path / "index").rglob("tail.f32")
    replace_bytes(file, bytes(file.stat().st_size))
    index = loaded(tmp_path / "index")
    for use in (
        index.get_stats,
        index.optimize,
        lambda: len(index),
        lambda: index.save_index(tmp_path / "other"),
    ):
        with pytest.raises(DamagedError):
            use()
    with pytest.raises(DamagedError):
        index.add_embeddings(VECTORS[:1], ["a"])


def test_what_does_not_fit_is_refused_and_the_index_stays(tmp_path: Path) -> None:
    saved(tmp_path / "index")
    for other in (
        FAISSIndex(DIM + 1),
        FAISSIndex(DIM, metric="cosine"),
        FAISSIndex(DIM, model_id="model-2"),
    ):
        with pytest.raises(MismatchError):
            other.load_index(tmp_path / "index")
        assert len(other) == 0
    with pytest.raises(NotFoundError):
        FAISSIndex(DIM).load_index(tmp_path / "nowhere")
    FAISSIndex(DIM, model_id="model-1").load_index(tmp_path / "index")


def test_nothing_is_saved_over_other_peoples_files(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-a-friend.txt").write_text("dear friend")
    with pytest.raises(InputError, match=r"to-a-friend\.txt"):
        FAISSIndex(DIM).save_index(tmp_path / "letters")
    with pytest.raises(StoreError):
        FAISSIndex(DIM).save_index(tmp_path / "letters" / "to-a-friend.txt")
    assert (tmp_path / "letters" / "to-a-friend.txt").read_text() == "dear friend"


def test_one_generation_is_kept_and_who_has_an_older_one_open_keeps_reading(tmp_path: Path) -> None:
    index = saved(tmp_path / "index")
    reader, late = loaded(tmp_path / "index"), loaded(tmp_path / "index")
    expected = reader.batch_search(VECTORS[:50])
    index.remove(range(1_000))
    index.save_index(tmp_path / "index")
    assert len(list((tmp_path / "index").glob("generation-*/"))) == 1
    assert reader.batch_search(VECTORS[:50]) == expected
    # Loaded before and first used after: the generation it knew of is gone, the new one is what counts.
    assert late.batch_search(VECTORS[:50]) == index.batch_search(VECTORS[:50])
    reader.save_index(tmp_path / "index")  # from a mapping of what is gone
    assert loaded(tmp_path / "index").batch_search(VECTORS[:50]) == expected


FULL_DISK = """
import resource, signal, sys
from ragstone import FAISSIndex
from ragstone.errors import StoreError
index = FAISSIndex(16)
index.load_index(sys.argv[1])
before = index.search([1.0] * 16)
index.remove([5])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in range(0, 200_000, 20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        index.save_index(sys.argv[1])
    except StoreError as error:
        print("refused", error)
again = FAISSIndex(16)
again.load_index(sys.argv[1])
assert again.search([1.0] * 16) == before
"""


def test_a_save_that_runs_out_of_room_leaves_the_old_index(tmp_path: Path) -> None:
    saved(tmp_path / "index", "Flat")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "index")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") >= 7
    assert len(list((tmp_path / "index").glob("generation-*/"))) == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_searches_run_beside_additions_removals_saves_and_reloads(tmp_path: Path) -> None:
    """In one addition all ids get a new round, so a result that mixes rounds would be of no state there ever was."""
    index = FAISSIndex(DIM, "HNSW", config={"ef_construction": 20, "m": 8})
    stop, faults = threading.Event(), list[str]()

    def add(number: int) -> None:
        records = [{"round": number, "third": row % 3} for row in range(1_500)]
        index.add_embeddings(VECTORS[:1_500], range(1_500), records)

    def search(seed: int) -> int:
        choice, searches = np.random.default_rng(seed), 0
        while not stop.is_set():
            row = int(choice.integers(1_500))
            hits = index.search(VECTORS[row], 5, filter={"third": 1} if row % 2 else None)
            if len({hit.id for hit in hits}) != 5 or len({hit.metadata["round"] for hit in hits}) != 1:
                faults.append(f"{[(hit.id, hit.metadata) for hit in hits]}")
            searches += 1
        return searches

    def write() -> None:
        for number in range(1, 10):
            if number % 3 == 0:
                index.load_index(tmp_path / "index")
            else:
                add(number)
                index.remove(range(number, 300, 7))
            index.save_index(tmp_path / "index")

    add(0)
    index.save_index(tmp_path / "index")
    with ThreadPoolExecutor(5) as threads:
        readers = [threads.submit(search, seed) for seed in range(4)]
        try:
            threads.submit(write).result()
        finally:
            stop.set()
        assert sum(reader.result() for reader in readers) > 100
    assert faults == []
