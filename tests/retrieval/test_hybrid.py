"""Hybrid search over real sources: an exact matrix and a keyword index."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ragstone import deadlines
from ragstone.deadlines import DeadlineError
from ragstone.embedding.cores import usable_cores
from ragstone.errors import DamagedError, InputError
from ragstone.retrieval.fusion import diffused, fuse, with_signals, words_weight
from ragstone.retrieval.hybrid import POOL, RERANK_DEPTH, Ranking, search
from ragstone.retrieval.places import place
from ragstone.retrieval.reranking import Reranking
from ragstone.retrieval.signals import TextSignals, text_signals
from ragstone.store.analysis import analyse
from ragstone.store.keyword import KeywordIndex
from ragstone.store.keyword_reader import KeywordReader
from ragstone.store.keyword_tail import KeywordEntry
from ragstone.types import Ids, Matrix, SearchMode, Vector

TEXTS = {
    1: "The rotor blade stalls at high angles.",
    2: "Heat flows through the plate by conduction.",
    3: "A shock wave stands before the blunt body.",
    4: "Boundary layer transition on a flat plate.",
    5: "Bread rises when yeast makes gas.",
}


class ExactDense:
    """Cosine by brute force; chunk `i` belongs to document `i`."""

    def __init__(self, ids: Sequence[int], rows: Matrix) -> None:
        self._ids = np.array(ids, np.int64)
        self._rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def search(self, vector: Vector, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Vector]:
        keep = np.ones(len(self._ids), bool) if allowed is None else np.isin(self._ids, allowed)
        ids, scores = self._ids[keep], (self._rows @ vector)[keep]
        order = np.lexsort((ids, -scores))[:top_k]
        return ids[order], scores[order]

    def score(self, vector: Vector, ids: Ids) -> Vector:
        known = {int(i): float(s) for i, s in zip(self._ids, self._rows @ vector, strict=True)}
        return np.array([known.get(int(i), np.nan) for i in ids], np.float32)

    def vectors(self, ids: Ids) -> Matrix:
        places = {int(i): row for i, row in zip(self._ids, self._rows, strict=True)}
        nothing = np.full(self._rows.shape[1], np.nan, np.float32)
        return np.array([places.get(int(i), nothing) for i in ids], np.float32).reshape(len(ids), -1)


class FailingDense(ExactDense):
    """A dense source whose files are damaged."""

    def search(self, vector: Vector, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Vector]:
        raise DamagedError("segment 3 fails its checksum")


@pytest.fixture
def keyword(tmp_path: Path) -> KeywordReader:
    index = KeywordIndex.open(tmp_path / "keyword", writable=True)
    index.apply(add=[KeywordEntry(i, i, text) for i, text in TEXTS.items()], delete=[], sequence=1)
    return index.reader()


def one_hot(chunk_id: int, *, dim: int = 8) -> Vector:
    vector: Vector = np.eye(dim, dtype=np.float32)[chunk_id]
    return vector


@pytest.fixture
def dense() -> ExactDense:
    return ExactDense(list(TEXTS), np.stack([one_hot(i) for i in TEXTS]))


def terms(ids: Ids) -> list[list[str]]:
    return [analyse(TEXTS[int(i)]) for i in ids]


def run(
    query: str,
    vector: Vector | None,
    dense: ExactDense,
    keyword: KeywordReader,
    *,
    mode: SearchMode = "hybrid",
    top_k: int = 5,
    allowed: Ids | None = None,
) -> Ranking:
    return search(
        query,
        vector,
        mode=mode,
        top_k=top_k,
        dense=dense,
        keyword=keyword,
        load_terms=terms,
        allowed=allowed,
    )


def test_a_chunk_that_both_sources_like_comes_first(dense: ExactDense, keyword: KeywordReader) -> None:
    ranking = run("flat plate", one_hot(2) + one_hot(4) * 0.9, dense, keyword)
    assert ranking.ids[0] == 4
    assert set(ranking.sources[4]) == {"dense", "keyword"}


def test_hybrid_scores_lie_between_0_and_1_and_descend(dense: ExactDense, keyword: KeywordReader) -> None:
    for query in (*TEXTS.values(), "nothing known", "", "plate plate plate"):
        ranking = run(query, one_hot(3), dense, keyword)
        assert ((ranking.scores >= 0) & (ranking.scores <= 1)).all()
        assert (np.diff(ranking.scores) <= 0).all()


def test_each_mode_uses_its_own_sources(dense: ExactDense, keyword: KeywordReader) -> None:
    by_dense = run("yeast", one_hot(3), dense, keyword, mode="dense", top_k=1)
    by_keyword = run("yeast", one_hot(3), dense, keyword, mode="keyword", top_k=1)
    assert (by_dense.ids.tolist(), by_keyword.ids.tolist()) == ([3], [5])
    assert (list(by_dense.sources[3]), list(by_keyword.sources[5])) == (["dense"], ["keyword"])


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
def test_only_chunks_of_allowed_documents_come_back(
    dense: ExactDense, keyword: KeywordReader, mode: SearchMode
) -> None:
    allowed = np.array([2, 5], np.int64)
    ranking = run("plate yeast", one_hot(4), dense, keyword, mode=mode, allowed=allowed)
    assert set(ranking.ids.tolist()) == {2, 5}


def test_a_chunk_without_a_vector_yet_is_found_by_its_words(keyword: KeywordReader) -> None:
    dense = ExactDense([1, 2, 3, 4], np.stack([one_hot(i) for i in (1, 2, 3, 4)]))
    near_all = sum(one_hot(i) for i in range(8)) / np.sqrt(8, dtype=np.float32)  # cosine .35 with each
    ranking = run("yeast makes bread rise", near_all, dense, keyword)
    assert ranking.ids[0] == 5
    assert set(ranking.sources[5]) == {"keyword"}


def test_a_failing_source_is_reported_and_the_other_answers(keyword: KeywordReader) -> None:
    broken = FailingDense(list(TEXTS), np.stack([one_hot(i) for i in TEXTS]))
    ranking = run("yeast", one_hot(1), broken, keyword)
    assert ranking.ids.tolist() == [5]
    assert [(d.source, d.reason) for d in ranking.degraded] == [("dense", "segment 3 fails its checksum")]
    with pytest.raises(DamagedError):
        run("yeast", one_hot(1), broken, keyword, mode="dense")


def test_without_a_query_vector_hybrid_answers_by_keyword(dense: ExactDense, keyword: KeywordReader) -> None:
    assert run("yeast", None, dense, keyword).ids.tolist() == [5]
    with pytest.raises(InputError, match="vector"):
        run("yeast", None, dense, keyword, mode="dense")
    with pytest.raises(InputError, match="top_k is 0"):
        run("yeast", None, dense, keyword, top_k=0)


def test_equal_scores_come_in_order_of_id(dense: ExactDense, keyword: KeywordReader) -> None:
    ranking = run("nothing known", one_hot(0), dense, keyword)
    assert ranking.ids.tolist() == sorted(TEXTS)


def test_scoring_only_what_can_matter_gives_the_same_hits_as_scoring_everything(tmp_path: Path) -> None:
    """The oracle asks both sources for every candidate's score and reranks as the formulas say."""
    random = np.random.default_rng(3)
    words = [f"word{i}" for i in range(40)]
    shares = 1 / np.arange(1, 41)
    bodies = {
        i: " ".join(random.choice(words, random.integers(5, 40), p=shares / shares.sum()))
        for i in range(1, 601)
    }
    index = KeywordIndex.open(tmp_path / "many", writable=True)
    index.apply(add=[KeywordEntry(i, i, body) for i, body in bodies.items()], delete=[], sequence=1)
    reader = index.reader()
    source = ExactDense(list(bodies), random.normal(size=(600, 16)).astype(np.float32))
    asked = [*words, *(f"unknown{i}" for i in range(40))]
    weights = []
    for _ in range(25):
        query = " ".join(random.choice(asked, random.integers(1, 8)))
        vector = random.normal(size=16).astype(np.float32)
        vector /= np.linalg.norm(vector)
        ranking = search(
            query,
            vector,
            mode="hybrid",
            top_k=10,
            dense=source,
            keyword=reader,
            load_terms=lambda ids: [analyse(bodies[int(i)]) for i in ids],
        )
        found = [
            source.search(vector, top_k=POOL, allowed=None)[0],
            reader.search(query, top_k=POOL)[0],
        ]
        ids = np.unique(np.concatenate(found))
        weighed = reader.weigh(query)
        weight = words_weight(weighed.known, source.search(vector, top_k=POOL, allowed=None)[1])
        weights.append(weight)
        cosines = source.score(vector, ids)
        fused = fuse(reader.score(query, ids), cosines, bm25_bound=weighed.bound, words=weight)
        best = ids[np.lexsort((ids, -fused))[:RERANK_DEPTH]]
        signals = text_signals([analyse(bodies[int(i)]) for i in best], words=weighed.words, idf=weighed.idf)
        signals = TextSignals(weight * signals.coverage, weight * signals.order)
        scores = diffused(with_signals(np.sort(fused)[::-1][:RERANK_DEPTH], signals), source.vectors(best))
        order = np.lexsort((best, -scores))[:10]
        np.testing.assert_allclose(ranking.scores, scores[order], rtol=1e-5)
        assert ranking.ids.tolist() == best[order].tolist()
    assert min(weights) < 0.9 < max(weights)


# -- threads ---------------------------------------------------------------------------------------------


class CountingDense(ExactDense):
    """Takes a moment, and knows how many threads were here at once."""

    def __init__(self) -> None:
        super().__init__([1, 2, 3], np.stack([one_hot(i) for i in (1, 2, 3)]))
        self._lock = threading.Lock()
        self._here = self.most = 0

    def search(self, vector: Vector, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Vector]:
        with self._lock:
            self._here += 1
            self.most = max(self.most, self._here)
        time.sleep(0.01)
        with self._lock:
            self._here -= 1
        return super().search(vector, top_k=top_k, allowed=allowed)


def _ranked(dense: ExactDense, keyword: KeywordReader, reranking: Reranking | None = None) -> Ranking:
    return search(
        "flat plate",
        one_hot(2),
        mode="hybrid",
        top_k=3,
        dense=dense,
        keyword=keyword,
        load_terms=terms,
        reranking=reranking,
    )


def test_no_more_threads_rank_at_once_than_there_are_cores(keyword: KeywordReader) -> None:
    counting, threads = CountingDense(), 4 * usable_cores()
    with ThreadPoolExecutor(threads) as pool:
        rankings = list(pool.map(lambda _: _ranked(counting, keyword), range(5 * threads)))
    assert counting.most == usable_cores()
    assert {tuple(ranking.ids.tolist()) for ranking in rankings} == {tuple(rankings[0].ids.tolist())}


def test_a_judge_elsewhere_keeps_no_place(dense: ExactDense, keyword: KeywordReader) -> None:
    asked, may_answer = threading.Semaphore(0), threading.Event()

    def judge(ids: Sequence[int]) -> Mapping[int, float]:
        asked.release()
        assert may_answer.wait(20)
        return dict.fromkeys(ids, 1.0)

    judges = usable_cores() + 1
    with ThreadPoolExecutor(judges) as pool:
        judged = [pool.submit(_ranked, dense, keyword, Reranking(judge, 3)) for _ in range(judges)]
        try:
            assert all(asked.acquire(timeout=20) for _ in range(judges))
            assert _ranked(dense, keyword).ids[0] == 2
        finally:
            may_answer.set()
        assert all(ranking.result().ids.size for ranking in judged)


def test_who_finds_no_place_in_time_is_told(dense: ExactDense, keyword: KeywordReader) -> None:
    taken, may_leave = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        with place():
            taken.release()
            assert may_leave.wait(20)

    with ThreadPoolExecutor(usable_cores()) as pool:
        held = [pool.submit(hold) for _ in range(usable_cores())]
        try:
            assert all(taken.acquire(timeout=20) for _ in held)
            with deadlines.within(0.05), pytest.raises(DeadlineError):
                _ranked(dense, keyword)
        finally:
            may_leave.set()
        for one in held:
            one.result()
    assert _ranked(dense, keyword).ids[0] == 2


def test_what_fails_gives_its_place_back(dense: ExactDense, keyword: KeywordReader) -> None:
    for _ in range(2 * usable_cores()):
        with suppress(ValueError), place():
            raise ValueError
    with deadlines.within(5.0):
        assert _ranked(dense, keyword).ids[0] == 2


FORKED = """
import os
from contextlib import ExitStack
from ragstone import deadlines
from ragstone.embedding.cores import usable_cores
from ragstone.retrieval.places import place

with place():
    child = os.fork()
    if child == 0:
        with ExitStack() as held, deadlines.within(5.0):
            for _ in range(usable_cores()):
                held.enter_context(place())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_process_has_all_places() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKED], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
