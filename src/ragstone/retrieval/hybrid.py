"""From a query to the ids of the best chunks: two sources, every candidate scored by both, one ranking.

Plain functions that take everything they use as arguments. They know no store, no model and no settings, and change
nothing; timings and failures come back as data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Protocol

import numpy as np

from ragstone.errors import InputError, RagstoneError
from ragstone.retrieval.fusion import diffused, fuse, with_signals
from ragstone.retrieval.signals import Scores, TextSignals, text_signals
from ragstone.store.analysis import analyse
from ragstone.types import Degraded, Ids, Matrix, SearchMode, Vector

# 100 from each source: pools of 50 lose .0005 mean nDCG@10 on the development sets; recall@100 needs 100.
POOL = 100
# Texts and neighbours of the best 30: 50 gain .0002 and cost .7 ms more, 20 lose .0007.
RERANK_DEPTH = 30


class WeighedTerms(Protocol):
    """A query as the keyword index sees it."""

    @property
    def words(self) -> Sequence[str]:
        """Analysed words, in order, repeats kept."""

    @property
    def idf(self) -> Scores:
        """(n,) inverse document frequency of each word."""

    @property
    def bound(self) -> float:
        """The highest BM25 that any chunk could reach; 0 when no term can match."""


class DenseSource(Protocol):
    """Cosine search over chunk vectors."""

    def search(self, vector: Vector, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        """Chunk ids and cosines, best first, ties by id; `allowed` holds sorted document ids."""

    def score(self, vector: Vector, ids: Ids) -> Scores:
        """Cosine (n,) of the given chunks; NaN where a chunk has no vector yet."""

    def vectors(self, ids: Ids) -> Matrix:
        """(n, dim) unit vectors of the given chunks; rows of NaN where a chunk has no vector yet."""


class KeywordSource(Protocol):
    """BM25 search over chunk texts."""

    def search(self, query: str, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        """Chunk ids and BM25 > 0, best first, ties by id; `allowed` holds sorted document ids."""

    def score(self, query: str, ids: Ids) -> Scores:
        """BM25 (n,) of the given chunks; 0 where no term matches."""

    def weigh(self, query: str) -> WeighedTerms:
        """The terms of a query and what they can add to a score."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Chunks, best first, ties by id: (n,) ids, (n,) scores, and per id each source's own score.

    Hybrid scores lie in [0, 1] and are comparable across queries and collections; dense ones are cosines,
    keyword ones BM25. `degraded` names a source that failed while the other answered.
    """

    ids: Ids
    scores: Scores
    sources: Mapping[int, Mapping[str, float]]
    degraded: tuple[Degraded, ...]
    timings_ms: Mapping[str, float]


def search(
    query: str,
    vector: Vector | None,
    *,
    mode: SearchMode,
    top_k: int,
    dense: DenseSource,
    keyword: KeywordSource,
    load_texts: Callable[[Ids], Sequence[str]],
    allowed: Ids | None = None,
) -> Ranking:
    """The best `top_k` chunks for a query.

    `vector` is the query's embedding; without one hybrid mode answers by keyword alone (the caller knows
    why and reports it) and dense mode is an `InputError`. `allowed` holds sorted document ids; `load_texts`
    gives the texts of chunks as the keyword index has them, in the order asked for. A source that raises a
    `RagstoneError` is reported in `degraded` while the other answers; if there is no other, it is raised.
    """
    if top_k < 1:
        raise InputError(f"top_k is {top_k}", hint="ask for at least 1 hit")
    if mode == "dense":
        return _dense_only(vector, top_k=top_k, dense=dense, allowed=allowed)
    if mode == "keyword":
        return _keyword_only(query, top_k=top_k, keyword=keyword, allowed=allowed)
    timings: dict[str, float] = {}
    candidates, degraded = _candidates(
        query, vector, pool=max(POOL, top_k), dense=dense, keyword=keyword, allowed=allowed, timings=timings
    )
    with _timed("rerank", timings):
        scores = _reranked(candidates, dense=dense, load_texts=load_texts)
    ids = candidates.ids
    order = np.lexsort((ids, -scores))[:top_k]
    return Ranking(
        ids=ids[order],
        scores=scores[order],
        sources={
            int(ids[i]): _own_scores(float(candidates.cosine[i]), float(candidates.bm25[i])) for i in order
        },
        degraded=degraded,
        timings_ms=timings,
    )


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What either source found, ascending by id, with the scores of both: NaN where there is no vector, 0 where
    no term matches. `words` and `idf` are the query's, empty when the keyword source failed."""

    ids: Ids
    cosine: Scores
    bm25: Scores
    bm25_bound: float
    words: Sequence[str]
    idf: Scores


def _candidates(
    query: str,
    vector: Vector | None,
    *,
    pool: int,
    dense: DenseSource,
    keyword: KeywordSource,
    allowed: Ids | None,
    timings: dict[str, float],
) -> tuple[_Candidates, tuple[Degraded, ...]]:
    failures: list[tuple[str, RagstoneError]] = []
    by_dense = by_keyword = None
    try:
        with _timed("dense", timings):
            by_dense = None if vector is None else dense.search(vector, top_k=pool, allowed=allowed)
    except RagstoneError as error:
        failures.append(("dense", error))
    try:
        with _timed("keyword", timings):
            by_keyword = keyword.search(query, top_k=pool, allowed=allowed)
    except RagstoneError as error:
        failures.append(("keyword", error))
        if by_dense is None:
            raise
    with _timed("score", timings):
        ids = np.unique(np.concatenate([leg[0] for leg in (by_dense, by_keyword) if leg is not None]))
        cosine, bm25 = np.full(ids.size, np.nan, np.float32), np.zeros(ids.size, np.float32)
        bound, words, idf = 0.0, tuple[str, ...](), np.empty(0, np.float32)
        if by_dense is not None and vector is not None:
            cosine = _completed(ids, by_dense, partial(dense.score, vector))
        if by_keyword is not None:
            bm25 = _completed(ids, by_keyword, partial(keyword.score, query))
            weighed = keyword.weigh(query)
            bound, words, idf = weighed.bound, tuple(weighed.words), weighed.idf
    degraded = tuple(Degraded(source, str(error)) for source, error in failures)
    return _Candidates(ids, cosine, bm25, bound, words, idf), degraded


def _reranked(
    candidates: _Candidates, *, dense: DenseSource, load_texts: Callable[[Ids], Sequence[str]]
) -> Scores:
    """(n,) in [0, 1]: fused scores; for the best of them what their texts and neighbours say as well."""
    fused = fuse(candidates.bm25, candidates.cosine, bm25_bound=candidates.bm25_bound)
    none = np.zeros(fused.size, np.float32)
    best = np.lexsort((candidates.ids, -fused))[:RERANK_DEPTH]
    signals = TextSignals(none.copy(), none.copy())
    if candidates.words:
        texts = [analyse(text) for text in load_texts(candidates.ids[best])]
        found = text_signals(texts, words=candidates.words, idf=candidates.idf)
        signals.coverage[best], signals.order[best] = found.coverage, found.order
    scores = with_signals(fused, signals)
    if not np.isnan(candidates.cosine[best]).all():
        scores[best] = diffused(scores[best], dense.vectors(candidates.ids[best]))
    return scores


def _dense_only(vector: Vector | None, *, top_k: int, dense: DenseSource, allowed: Ids | None) -> Ranking:
    if vector is None:
        raise InputError("dense search needs the query's vector", hint="search by keyword instead")
    timings: dict[str, float] = {}
    with _timed("dense", timings):
        ids, scores = dense.search(vector, top_k=top_k, allowed=allowed)
    sources = {int(i): {"dense": float(score)} for i, score in zip(ids, scores, strict=True)}
    return Ranking(ids=ids, scores=scores, sources=sources, degraded=(), timings_ms=timings)


def _keyword_only(query: str, *, top_k: int, keyword: KeywordSource, allowed: Ids | None) -> Ranking:
    timings: dict[str, float] = {}
    with _timed("keyword", timings):
        ids, scores = keyword.search(query, top_k=top_k, allowed=allowed)
    sources = {int(i): {"keyword": float(score)} for i, score in zip(ids, scores, strict=True)}
    return Ranking(ids=ids, scores=scores, sources=sources, degraded=(), timings_ms=timings)


def _completed(ids: Ids, leg: tuple[Ids, Scores], score: Callable[[Ids], Scores]) -> Scores:
    """(n,) the leg's score of each of the ascending `ids`, asked for where the leg did not find it."""
    found, values = leg
    missing = np.ones(ids.size, bool)
    places = np.searchsorted(ids, found)
    missing[places] = False
    scores = np.empty(ids.size, np.float32)
    scores[places] = values
    if missing.any():
        scores[missing] = score(ids[missing])
    return scores


def _own_scores(cosine: float, bm25: float) -> dict[str, float]:
    own = {} if math.isnan(cosine) else {"dense": cosine}
    return {**own, "keyword": bm25} if bm25 > 0 else own


@contextmanager
def _timed(stage: str, timings: dict[str, float]) -> Iterator[None]:
    start = perf_counter()
    try:
        yield
    finally:
        timings[stage] = (perf_counter() - start) * 1e3
