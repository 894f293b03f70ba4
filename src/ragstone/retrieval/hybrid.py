"""From a query to the ids of the best chunks: two sources, every candidate scored by both, one ranking.

Plain functions that take everything they use as arguments. They know no store, no model and no settings, and change
nothing; timings and failures come back as data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

import numpy as np

from ragstone.errors import InputError, RagstoneError
from ragstone.graph.walk import Links, Step, Walk, walk
from ragstone.retrieval.fusion import diffused, fuse, with_signals, words_weight
from ragstone.retrieval.late_interaction import similarity, token_weights
from ragstone.retrieval.places import place
from ragstone.retrieval.reranking import Reranking, rerank
from ragstone.retrieval.signals import Scores, TextSignals, text_signals, with_expansions
from ragstone.types import Degraded, Expansion, Ids, Matrix, QueryTokens, SearchMode, Vector

# 100 from each source: pools of 50 lose .0005 mean nDCG@10 on the development sets; recall@100 needs 100.
POOL = 100
# Texts and neighbours of the best 30: 50 gain .0002 and cost .7 ms more, 20 lose .0007.
RERANK_DEPTH = 30


_Leg = tuple[Ids, Scores]  # what one source found, best first


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

    @property
    def known(self) -> float:
        """The share of the words, repeats counted, that some chunk has or something else stands for; 1 without any."""


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

    def idf_of_words(self, words: Sequence[str]) -> Scores:
        """(n,) inverse document frequency of words as they are written; 0 for what is no word."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Chunks, best first, ties by id: (n,) ids, (n,) scores, and per id each source's own score.

    Hybrid scores lie in [0, 1] and are comparable across queries and collections; dense ones are cosines,
    keyword ones BM25. `degraded` names a source that failed while the other answered. `steps` are the names that were
    followed from the query and the best chunks.
    """

    ids: Ids
    scores: Scores
    sources: Mapping[int, Mapping[str, float]]
    degraded: tuple[Degraded, ...]
    timings_ms: Mapping[str, float]
    steps: Sequence[Step] = ()


def pool_size(top_k: int) -> int:
    """How many chunks hybrid search takes from each source."""
    return max(POOL, top_k)


def search(
    query: str,
    vector: Vector | None,
    *,
    mode: SearchMode,
    top_k: int,
    dense: DenseSource,
    keyword: KeywordSource,
    load_terms: Callable[[Ids], Sequence[Sequence[str]]],
    tokens: QueryTokens | None = None,
    load_signs: Callable[[Ids], Sequence[bytes]] = lambda ids: [b""] * len(ids),
    links: Links | None = None,
    reached_only: bool = False,
    reranking: Reranking | None = None,
    allowed: Ids | None = None,
    expansions: Sequence[Expansion] = (),
) -> Ranking:
    """The best `top_k` chunks for a query.

    `vector` is the query's embedding; without one hybrid mode answers by keyword alone (the caller knows
    why and reports it) and dense mode is an `InputError`. `allowed` holds sorted document ids; `load_terms`
    gives the analysed words of chunks as the keyword index has them, in the order asked for. `tokens` are the query's,
    `load_signs` gives what is stored of chunks' tokens (empty for a chunk that has none). `links` are the graph's, to
    allowed documents, None to do without; `reached_only` leaves out what they did not lead to. `reranking` judges the
    best of a hybrid search last. `expansions` are those that `keyword` was given; texts are read by them, too. A source
    or a judge that raises a `RagstoneError` is reported in `degraded` while the others answer; if there is no other, it
    is raised. In hybrid mode as many threads rank at once as there are cores; a deadline may pass meanwhile
    (`DeadlineError`).
    """
    if top_k < 1:
        raise InputError(f"top_k is {top_k}", hint="ask for at least 1 hit")
    if mode == "dense":
        return _dense_only(vector, top_k=top_k, dense=dense, allowed=allowed)
    if mode == "keyword":
        return _keyword_only(query, top_k=top_k, keyword=keyword, allowed=allowed)
    timings: dict[str, float] = {}
    with place():
        candidates, degraded = _candidates(
            query, vector, top_k=top_k, dense=dense, keyword=keyword, allowed=allowed, timings=timings
        )
        with _timed("rerank", timings):
            similar = None if tokens is None else _late_interaction(query, tokens, keyword, load_signs)
            scores = _reranked(
                candidates, dense=dense, load_terms=load_terms, similar=similar, expansions=expansions
            )
        found = dict(zip(candidates.ids.tolist(), scores.tolist(), strict=True))
        walked = Walk(found, {}, ())
        if links is not None:
            try:
                with _timed("graph", timings):
                    walked = walk(found, query, links)
            except RagstoneError as error:
                degraded = (*degraded, Degraded("graph", str(error)))
    if reached_only:
        walked = replace(walked, scores={id_: walked.scores[id_] for id_ in walked.lifts})
    judged: Mapping[int, float] = {}
    if reranking is not None:
        try:
            with _timed("reranker", timings):
                reranked = rerank(walked.scores, reranking)
            walked, judged = replace(walked, scores=reranked.scores), reranked.judged
        except RagstoneError as error:
            degraded = (*degraded, Degraded("reranker", str(error)))
    return _ranking(walked, candidates, judged, top_k=top_k, degraded=degraded, timings=timings)


def _ranking(
    walked: Walk,
    candidates: _Candidates,
    judged: Mapping[int, float],
    *,
    top_k: int,
    degraded: tuple[Degraded, ...],
    timings: Mapping[str, float],
) -> Ranking:
    """The best of what was found or reached, each with the scores that the sources, and the judge, gave it."""
    ids = np.fromiter(walked.scores.keys(), np.int64, len(walked.scores))
    scores = np.fromiter(walked.scores.values(), np.float32, len(walked.scores))
    order = np.lexsort((ids, -scores))[:top_k]
    sources = {
        id_: {
            **candidates.own_scores(id_),
            **({"reranker": judged[id_]} if id_ in judged else {}),
            **({"graph": walked.lifts[id_]} if id_ in walked.lifts else {}),
        }
        for id_ in ids[order].tolist()
    }
    return Ranking(ids[order], scores[order], sources, degraded, timings, walked.steps)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What either source found, ascending by id, with the scores of both: cosine NaN where there is no vector,
    BM25 0 where no term matches or it could not matter. `words` and `idf` are the query's, empty when the
    keyword source failed; `words_weight` is what they count."""

    ids: Ids
    cosine: Scores
    bm25: Scores
    bm25_bound: float
    words: Sequence[str]
    idf: Scores
    words_weight: float = 1.0

    def own_scores(self, id_: int) -> dict[str, float]:
        """What each source said of a chunk; empty for one that neither found."""
        at = int(np.searchsorted(self.ids, id_))
        if at == self.ids.size or self.ids[at] != id_:
            return {}
        cosine, bm25 = float(self.cosine[at]), float(self.bm25[at])
        own = {} if math.isnan(cosine) else {"dense": cosine}
        return {**own, "keyword": bm25} if bm25 > 0 else own


def _candidates(
    query: str,
    vector: Vector | None,
    *,
    top_k: int,
    dense: DenseSource,
    keyword: KeywordSource,
    allowed: Ids | None,
    timings: dict[str, float],
) -> tuple[_Candidates, tuple[Degraded, ...]]:
    pool = pool_size(top_k)
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
        candidates = _scored(
            query,
            vector,
            by_dense=by_dense,
            by_keyword=by_keyword,
            dense=dense,
            keyword=keyword,
            pool=pool,
            exact=max(RERANK_DEPTH, top_k),
        )
    return candidates, tuple(Degraded(source, str(error)) for source, error in failures)


def _scored(
    query: str,
    vector: Vector | None,
    *,
    by_dense: _Leg | None,
    by_keyword: _Leg | None,
    dense: DenseSource,
    keyword: KeywordSource,
    pool: int,
    exact: int,
) -> _Candidates:
    """Both scores of every candidate that can come among the best `exact`."""
    ids = union([leg[0] for leg in (by_dense, by_keyword) if leg is not None])
    cosine = np.full(ids.size, np.nan, np.float32)
    if by_dense is not None and vector is not None:
        _fill(cosine, ids, by_dense)
        missing = np.isnan(cosine)
        cosine[missing] = dense.score(vector, ids[missing])
    if by_keyword is None:
        nothing = np.zeros(ids.size, np.float32)
        return _Candidates(ids, cosine, nothing, 0.0, (), np.empty(0, np.float32))
    weighed = keyword.weigh(query)
    weight = 1.0 if by_dense is None else words_weight(weighed.known, by_dense[1])
    bm25 = np.full(ids.size, np.nan, np.float32)
    _fill(bm25, ids, by_keyword)
    missing = np.isnan(bm25)
    # A chunk that the keyword source did not give has at most the BM25 of the last one it gave, and 0 if it gave
    # all it had. Where even that cannot lift it among the best, its BM25 is not asked for: 25 µs a chunk.
    gave_all = len(by_keyword[0]) < pool
    ceiling = 0.0 if gave_all else float(by_keyword[1][-1])
    lowest = fuse(np.where(missing, 0, bm25), cosine, bm25_bound=weighed.bound, words=weight)
    highest = fuse(np.where(missing, ceiling, bm25), cosine, bm25_bound=weighed.bound, words=weight)
    threshold = np.partition(lowest, -exact)[-exact] if ids.size > exact else -np.inf
    asked = missing & (highest >= threshold) & (not gave_all)
    bm25[missing] = 0.0
    if asked.any():
        bm25[asked] = keyword.score(query, ids[asked])
    return _Candidates(ids, cosine, bm25, weighed.bound, tuple(weighed.words), weighed.idf, weight)


def _late_interaction(
    query: str, tokens: QueryTokens, keyword: KeywordSource, load_signs: Callable[[Ids], Sequence[bytes]]
) -> Callable[[Ids], Scores | None]:
    """How alike chunks and query are token by token; None where nothing is known of any of the chunks."""

    def similar(ids: Ids) -> Scores | None:
        signs = load_signs(ids)
        if not any(signs):
            return None
        weights = token_weights(query, tokens.spans, keyword.idf_of_words)
        return similarity(tokens, weights, signs) if weights.any() else None

    return similar


def _reranked(
    candidates: _Candidates,
    *,
    dense: DenseSource,
    load_terms: Callable[[Ids], Sequence[Sequence[str]]],
    similar: Callable[[Ids], Scores | None] | None,
    expansions: Sequence[Expansion],
) -> Scores:
    """(n,) in [0, 1]: fused scores; for the best of them what their texts and neighbours say as well."""
    weight = candidates.words_weight
    fused = fuse(candidates.bm25, candidates.cosine, bm25_bound=candidates.bm25_bound, words=weight)
    best = np.lexsort((candidates.ids, -fused))[:RERANK_DEPTH]

    def spread(of_best: Scores) -> Scores:
        """(n,) with 0 for all but the best."""
        whole = np.zeros(fused.size, np.float32)
        whole[best] = of_best
        return whole

    found = TextSignals(np.zeros(best.size, np.float32), np.zeros(best.size, np.float32))
    alike = None
    if candidates.words:
        texts = load_terms(candidates.ids[best])
        found = text_signals(texts, words=candidates.words, idf=candidates.idf)
        if expansions:
            found = with_expansions(
                found, texts, words=candidates.words, idf=candidates.idf, expansions=expansions
            )
        alike = similar(candidates.ids[best]) if similar is not None else None
    signals = TextSignals(
        weight * spread(found.coverage),
        weight * spread(found.order),
        None if alike is None else spread(alike),
    )
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


def union(legs: Sequence[Ids]) -> Ids:
    """The ids of all legs, ascending, each once. `np.unique`, called first, loads 7 ms of NumPy that we never use."""
    ids = np.sort(np.concatenate(legs))
    first = np.ones(ids.size, bool)
    first[1:] = ids[1:] != ids[:-1]
    return ids[first]


def _fill(scores: Scores, ids: Ids, leg: _Leg) -> None:
    """Put the leg's own scores in the places of its chunks among the ascending `ids`."""
    found, values = leg
    scores[np.searchsorted(ids, found)] = values


@contextmanager
def _timed(stage: str, timings: dict[str, float]) -> Iterator[None]:
    start = perf_counter()
    try:
        yield
    finally:
        timings[stage] = (perf_counter() - start) * 1e3
