"""Plans of a collection: chosen by size, applied, measured before they are swapped in, rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.errors import InputError, MismatchError
from ragstone.index.plans import make_plan
from ragstone.index.recall_keeper import CHECK_EVERY_AT_FIRST
from ragstone.types import Matrix

DIM = 32
COUNT = 3_000


def clustered(count: int, seed: int) -> Matrix:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((60, DIM))
    rows = centres[random.integers(0, len(centres), count)] + 0.6 * random.standard_normal((count, DIM))
    unit: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[tuple[Ragstone, Matrix]]:
    rows = clustered(COUNT, seed=3)
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        engine.add(
            [f"text number {n}" for n in range(COUNT)],
            uris=[f"u{n}" for n in range(COUNT)],
            vectors=rows,
            model="m",
        )
        yield engine, rows


def nearest(engine: Ragstone, query: np.ndarray, recall: float) -> list[str]:
    found = engine.search("anything", mode="dense", vector=query, top_k=10, recall=recall)
    return [hit.uri for hit in found.hits]


def test_a_small_collection_is_searched_exactly_and_a_plan_can_be_applied_and_rolled_back(
    filled: tuple[Ragstone, Matrix],
) -> None:
    engine, rows = filled
    assert engine.stats().index_types == ("Flat,FP16",)
    exact = [nearest(engine, query, 1.0) for query in rows[:50]]
    engine.apply_plan(make_plan("HNSW,SQ8", dim=DIM, m=16), recall=0.95)
    assert engine.stats().index_types == ("HNSW,SQ8 (m=16, ef_construction=100)",)
    found = [nearest(engine, query, 0.95) for query in rows[:50]]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)]) >= 0.92
    assert [nearest(engine, query, 1.0) for query in rows[:50]] == exact
    assert engine.verify().ok
    engine.apply_plan(make_plan("PQ,FastScan", dim=DIM), recall=0.9)
    assert engine.stats().index_types[0].startswith("PQ,FastScan")
    restored = engine.rollback_plan()
    assert restored is not None
    assert restored.index_type == "HNSW,SQ8"
    assert engine.stats().index_types == ("HNSW,SQ8 (m=16, ef_construction=100)",)
    assert engine.rollback_plan() is None
    assert engine.stats().index_types == ("Flat,FP16",)
    with pytest.raises(InputError, match="no plan was applied"):
        engine.rollback_plan()
    assert engine.verify().ok


def test_a_plan_that_misses_the_recall_changes_nothing(filled: tuple[Ragstone, Matrix]) -> None:
    engine, rows = filled
    before = engine.stats()
    with pytest.raises(MismatchError, match=r"reaches recall 0\.\d+ .* 0\.999"):
        engine.apply_plan(make_plan("LSH", dim=DIM, nbits=8), recall=0.999)
    after = engine.stats()
    assert (after.index_types, after.segments, after.bytes) == (
        before.index_types,
        before.segments,
        before.bytes,
    )
    assert nearest(engine, rows[5], 1.0)[0] == "u5"
    with pytest.raises(InputError):
        engine.rollback_plan()


def test_an_applied_plan_outlives_a_reopen_deletes_and_a_compaction(
    filled: tuple[Ragstone, Matrix], tmp_path: Path
) -> None:
    engine, rows = filled
    engine.apply_plan(make_plan("IVF,SQ8", dim=DIM, nlist=20), recall=0.9)
    engine.delete([f"u{n}" for n in range(0, COUNT, 2)])
    assert engine.stats().tombstones == COUNT // 2
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as again:
        again.compact()
        stats = again.stats()
        assert (stats.tombstones, stats.segments, stats.pending) == (0, 1, 0)
        assert stats.index_types[0].startswith("IVF,SQ8")
        assert nearest(again, rows[7], 1.0)[0] == "u7"
        assert "u8" not in nearest(again, rows[8], 1.0)
        assert again.verify().ok


def test_single_precision_keeps_the_order_of_the_vectors_given(tmp_path: Path) -> None:
    rows = clustered(400, seed=9)
    rows[1:40] = rows[0] + 2e-4 * rows[1:40]  # closer together than half precision can tell
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = clustered(1, seed=4)[0]
    wanted = [f"u{n}" for n in np.argsort(-(rows @ query), kind="stable")[:50]]
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        texts = [f"text {n}" for n in range(len(rows))]
        uris = [f"u{n}" for n in range(len(rows))]
        engine.add(texts, uris=uris, vectors=rows, model="m", precision="float32")
        for _ in range(2):  # from the tail, then from a segment
            found = engine.search("x", mode="dense", vector=query, top_k=50)
            assert [hit.uri for hit in found.hits] == wanted
            engine.compact()
        assert engine.stats().index_types == ("Flat",)
        engine.add(
            ["one more"], uris=["more"], vectors=rows[:1], model="m"
        )  # keeps the collection's precision
        assert engine.verify().ok


def test_approximate_searches_are_checked_against_exact_ones(filled: tuple[Ragstone, Matrix]) -> None:
    engine, rows = filled
    wanted = engine.settings.recall
    nearest(engine, rows[0], wanted)
    assert engine.stats().recall is None  # exact: nothing to check
    engine.apply_plan(make_plan("HNSW,SQ8", dim=DIM), recall=0.95)
    nearest(engine, rows[0], 1.0)
    nearest(engine, rows[0], 0.9)  # not what is watched
    assert engine.stats().recall is None
    for number in range(2 * CHECK_EVERY_AT_FIRST + 1):
        nearest(engine, rows[number], wanted)
        engine._open.recall_keeper("default").wait()
    observed = engine.stats().recall
    assert observed is not None
    assert (observed.samples, observed.asked) == (3, wanted)
    assert 0.6 <= observed.mean <= 1
