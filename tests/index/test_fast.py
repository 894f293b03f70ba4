"""The fast index of a segment: what its calibration promises it keeps, filtered or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ragstone.index.dense import DenseIndex
from ragstone.index.exact import exact_index
from ragstone.index.fast import Calibration, Measured, build_fast, sample_queries
from ragstone.index.plans import USUAL_RECALL, Effort, Plan, make_plan
from ragstone.index.segment import Segment
from ragstone.index.segment_files import build_segment, read_manifest, verify_files
from ragstone.index.tail import Tail
from ragstone.types import Ids, Matrix

DIM = 32
COUNT = 12_000
QUERIES = 60
TYPES = ["PQ,FastScan", "IVF,SQ8", "IVF,PQ,FastScan", "HNSW,SQ8"]


def clustered(count: int, seed: int) -> Matrix:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((150, DIM))
    rows = centres[random.integers(0, len(centres), count)] + 0.7 * random.standard_normal((count, DIM))
    unit: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def rows() -> Matrix:
    return clustered(COUNT, seed=1)


@pytest.fixture(scope="module", params=TYPES)
def segment(
    request: pytest.FixtureRequest, rows: Matrix, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Segment]:
    folder: Path = tmp_path_factory.mktemp("segments")
    given = {"nlist": 100} if request.param.startswith("IVF") else {}
    built = build_segment(
        folder,
        chunk_ids=np.arange(1, COUNT + 1, dtype=np.int64),
        document_ids=np.arange(COUNT, dtype=np.int64) // 4 + 1,
        vectors=rows.astype(np.float16),
        model_id="m",
        plans=[make_plan(request.param, dim=DIM, **given)],
    )
    manifest = read_manifest(folder / built.name, manifest_sha256=built.manifest_sha256)
    verify_files(folder / built.name, manifest)
    opened = Segment(folder / built.name, manifest)
    assert opened.plan.index_type == request.param
    yield opened


def recall(found: list[Ids], true: list[Ids]) -> float:
    return float(np.mean([len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, true, strict=True)]))


@pytest.mark.parametrize("top_k", [1, 10, 37, 100])
def test_a_search_reaches_the_recall_it_is_asked_for(segment: Segment, rows: Matrix, top_k: int) -> None:
    index = DenseIndex([segment], Tail.empty(DIM), np.empty(0, np.int64))
    queries = sample_queries(rows[::-1], QUERIES)
    true = [index.search(query, top_k=top_k, allowed=None)[0] for query in queries]
    for wanted in (0.9, 0.98):
        asked = index.at_recall(wanted)
        found = [asked.search(query, top_k=top_k, allowed=None)[0] for query in queries]
        assert all(len(ids) == top_k for ids in found)
        assert recall(found, true) >= wanted - 0.03  # 60 other queries than it was calibrated on


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.5, 0.95])
def test_a_filter_gives_exactly_top_k_of_what_matches_at_every_selectivity(
    segment: Segment, rows: Matrix, share: float
) -> None:
    index = DenseIndex([segment], Tail.empty(DIM), np.empty(0, np.int64))
    random = np.random.default_rng(7)
    documents = COUNT // 4
    allowed = np.sort(random.choice(documents, max(2, int(share * documents)), replace=False)) + 1
    queries = sample_queries(rows, QUERIES)
    matching = np.isin(segment.document_ids, allowed)
    wanted = min(10, int(matching.sum()))
    true, found = [], []
    for query in queries:
        ids, scores = index.at_recall(0.98).search(query, top_k=10, allowed=allowed)
        assert len(ids) == wanted
        assert matching[ids - 1].all()
        assert np.allclose(scores, rows[ids - 1] @ query, atol=2e-3)
        assert list(scores) == sorted(scores, reverse=True)
        found.append(ids)
        true.append(index.search(query, top_k=10, allowed=allowed)[0])
    assert recall(found, true) >= 0.95


def test_deleted_rows_are_passed_over(segment: Segment, rows: Matrix) -> None:
    dead = np.arange(1, COUNT, 3, dtype=np.int64)
    index = DenseIndex([segment], Tail.empty(DIM), dead).at_recall(0.95)
    for query in sample_queries(rows, 20):
        ids, _ = index.search(query, top_k=100, allowed=None)
        assert len(ids) == 100
        assert not np.isin(ids, dead).any()


def test_more_hits_than_calibrated_and_recall_1_are_searched_exactly(segment: Segment, rows: Matrix) -> None:
    index = DenseIndex([segment], Tail.empty(DIM), np.empty(0, np.int64))
    query = sample_queries(rows, 1)[0]
    for top_k, wanted in ((10, 1.0), (500, 0.9), (COUNT + 5, 0.9)):
        ids, scores = index.at_recall(wanted).search(query, top_k=top_k, allowed=None)
        exact = rows.astype(np.float16).astype(np.float32) @ query
        assert len(ids) == min(top_k, COUNT)
        assert np.allclose(scores, np.sort(exact)[::-1][: len(ids)], atol=1e-4)


def test_equal_vectors_do_not_spoil_the_calibration(tmp_path: Path) -> None:
    rows = np.repeat(
        clustered(2_000, seed=3), 6, axis=0
    )  # the 10th nearest is always one of several equal ones
    ids = np.arange(1, len(rows) + 1, dtype=np.int64)
    built = build_segment(
        tmp_path,
        chunk_ids=ids,
        document_ids=ids,
        vectors=rows.astype(np.float16),
        model_id="m",
        plans=[make_plan("PQ,FastScan", dim=DIM)],
    )
    manifest = read_manifest(tmp_path / built.name, manifest_sha256=built.manifest_sha256)
    fast = Segment(tmp_path / built.name, manifest).fast
    assert fast is not None
    assert fast.calibration.effort(10, 0.98) is not None
    assert fast.calibration.effort(100, 0.98) is not None


def test_the_cheapest_sufficient_effort_is_taken() -> None:
    table = (Measured(0.8, Effort(8, 0)), Measured(0.95, Effort(16, 0)), Measured(1.0, Effort(64, 0)))
    calibration = Calibration({10: table, 100: table[1:]})
    assert calibration.effort(10, 0.7) == Effort(8, 0)
    assert calibration.effort(10, 0.9) == Effort(16, 0)
    assert calibration.effort(11, 0.7) == Effort(16, 0)  # the table for 100 hits holds above 10
    assert calibration.effort(10, 1.0) is None
    assert calibration.effort(101, 0.5) is None
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize("dim", [2_048, 3_072])
def test_codes_of_many_dimensions_choose_few_candidates(dim: int) -> None:
    """As large embedding models give them: their spread lies in fewer directions than they have dimensions."""
    random = np.random.default_rng(dim)
    rows = random.standard_normal((1_300, 200)) @ random.standard_normal((200, dim))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    fast = build_fast(make_plan("PQ,FastScan", dim=dim), vectors, exact_index(vectors))
    assert fast is not None
    for top_k in (10, 100):
        effort = fast.calibration.effort(top_k, USUAL_RECALL)
        assert effort is not None
        assert effort.candidates <= 300


def test_a_plan_that_finds_too_little_gives_way_to_the_next(tmp_path: Path) -> None:
    vectors = clustered(8_000, seed=2).astype(np.float16)
    coarse = make_plan("PQ,FastScan", dim=DIM, n_subquantizers=2)
    plans = [coarse, make_plan("IVF,SQ8", dim=DIM, nlist=60)]

    def built(given: list[Plan]) -> Segment:
        sealed = build_segment(
            tmp_path,
            chunk_ids=np.arange(1, 8_001),
            document_ids=np.arange(1, 8_001),
            vectors=vectors,
            model_id="m",
            plans=given,
        )
        manifest = read_manifest(tmp_path / sealed.name, manifest_sha256=sealed.manifest_sha256)
        return Segment(tmp_path / sealed.name, manifest)

    fast, only, good = (built(given).fast for given in (plans, plans[:1], plans[::-1]))
    assert fast is not None
    assert (fast.plan.index_type, fast.wanted) == ("IVF,SQ8", "PQ,FastScan")
    for top_k in (10, 100):  # hybrid search asks for 100 candidates
        assert fast.calibration.effort(top_k, USUAL_RECALL) is not None
    assert only is not None  # none is better: the first it is, and searches that want more are exact
    assert (only.plan.index_type, only.wanted) == ("PQ,FastScan", "PQ,FastScan")
    assert only.calibration.effort(10, USUAL_RECALL) is None
    assert good is not None
    assert (good.plan.index_type, good.wanted) == ("IVF,SQ8", "IVF,SQ8")
