"""Questions that drift away from what the index was measured with: the recall asked for is kept all the same."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from ragstone.index.dense import EXACT, DenseIndex
from ragstone.index.fast import sample_queries, share_found
from ragstone.index.plans import make_plan
from ragstone.index.recall_keeper import CHECK_EVERY, ENOUGH_TO_LOWER, ENOUGH_TO_RAISE, RecallKeeper
from ragstone.index.segment import Segment
from ragstone.index.segment_files import build_segment, read_manifest
from ragstone.index.synthetic import clustered_vectors
from ragstone.index.tail import Tail
from ragstone.types import Matrix

DIM, COUNT, WANTED = 64, 12_000, 0.95


@pytest.fixture(scope="module")
def vectors() -> Matrix:
    return clustered_vectors(COUNT, DIM, clusters=60)


@pytest.fixture(scope="module")
def dense(vectors: Matrix, tmp_path_factory: pytest.TempPathFactory) -> DenseIndex:
    """Lists of a clustering: cheap for questions near one cluster, and those between many need far more of them."""
    folder = tmp_path_factory.mktemp("segment")
    sealed = build_segment(
        folder,
        chunk_ids=np.arange(COUNT, dtype=np.int64) + 1,
        document_ids=np.arange(COUNT, dtype=np.int64) + 1,
        vectors=vectors.astype(np.float16),
        model_id="m",
        plans=[make_plan("IVF,SQ8", dim=DIM, nlist=240)],
    )
    manifest = read_manifest(folder / sealed.name, manifest_sha256=sealed.manifest_sha256)
    return DenseIndex([Segment(folder / sealed.name, manifest)], Tail.empty(DIM), np.empty(0, np.int64))


def mean_recall(dense: DenseIndex, queries: Matrix, recall: float) -> float:
    asked, exact = dense.at_recall(recall), dense.at_recall(EXACT)
    return float(
        np.mean(
            [
                share_found(
                    exact.search(query, top_k=10, allowed=None)[1],
                    asked.search(query, top_k=10, allowed=None)[1],
                )
                for query in queries
            ]
        )
    )


def ask(keeper: RecallKeeper, dense: DenseIndex, queries: Matrix, times: int) -> None:
    for number in range(times):
        keeper.offer(dense.at_recall(keeper.asked(WANTED)), queries[number % len(queries)])
        keeper.wait()


def test_a_drift_of_the_questions_is_noticed_and_made_good_and_taken_back_after_it(
    dense: DenseIndex, vectors: Matrix, caplog: pytest.LogCaptureFixture
) -> None:
    usual = sample_queries(vectors, 400)[::-1].copy()
    random = np.random.default_rng(5).standard_normal((400, DIM)).astype(np.float32)
    unusual = random / np.linalg.norm(random, axis=1, keepdims=True)
    assert mean_recall(dense, usual, WANTED) >= WANTED
    assert mean_recall(dense, unusual, WANTED) < WANTED - 0.03
    keeper = RecallKeeper("docs", WANTED)
    with caplog.at_level(logging.WARNING, logger="ragstone"):
        ask(keeper, dense, usual, 10 * CHECK_EVERY)
        assert keeper.asked(WANTED) == WANTED
        assert not caplog.records
        ask(keeper, dense, unusual, 5 * ENOUGH_TO_RAISE * CHECK_EVERY)
        raised = keeper.asked(WANTED)
        assert raised > WANTED
        assert "searches in docs find" in caplog.messages[0]
        assert mean_recall(dense, unusual, raised) >= WANTED - 0.01
        observed = keeper.summary()
        assert observed is not None
        assert observed.asked == raised
        assert keeper.asked(0.5) == 0.5  # who asks for another recall gets that
        ask(keeper, dense, usual, 8 * ENOUGH_TO_LOWER * CHECK_EVERY)
        assert keeper.asked(WANTED) == WANTED
        assert caplog.messages[-1].endswith(f"asked for {WANTED:g} instead of {1 - (1 - WANTED) / 2:g}")


def test_it_never_asks_for_what_no_index_promises(dense: DenseIndex) -> None:
    keeper = RecallKeeper("docs", WANTED)
    for _ in range(20):
        keeper._window.extend([0.5] * ENOUGH_TO_RAISE)
        keeper._adjust()
    assert WANTED < keeper.asked(WANTED) < EXACT
    assert not dense.at_recall(keeper.asked(WANTED)).is_exact
