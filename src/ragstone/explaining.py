"""Why a document is, or is not, among the hits of a query: what each way of searching makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ragstone.engine import Ragstone
from ragstone.errors import InputError, RagstoneError
from ragstone.store.votes import Vote
from ragstone.types import Degraded, DocumentInfo, Hit, SearchMode, SearchResult

DEPTH = 1_000  # hits looked through in each mode; what is not among them has no rank
SINGLE_MODES: tuple[SearchMode, ...] = ("dense", "keyword")
ABOVE = 5  # named of what stands above: enough to see what kind of text won

Reason: TypeAlias = Literal["found", "below", "filtered", "not_reached"]
StageName: TypeAlias = Literal["sources", "graph", "reranker"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a document's best chunk stands in one mode: its rank from 1 and score, None beyond the first `DEPTH`.

    `first_score` is that of the first hit, None where there is none.
    """

    mode: SearchMode
    rank: int | None
    score: float | None
    chunk_id: int | None
    first_score: float | None


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the chunk stood in hybrid mode when the search went no further; None beyond the first `DEPTH`.

    `sources`: meaning and words fused, then compared by words near each other, token by token and with its neighbours;
    `graph`: names followed as well; `reranker`: judged by the model as well. Votes count in each.
    """

    name: StageName
    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Above:
    """A hit that stands before the document in hybrid mode."""

    rank: int
    uri: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """`reason` in hybrid mode: `found` among the first `top_k`, `below` them, `filtered` out, or `not_reached` by any
    mode; `because` says so in a sentence. `best` is the chunk that stands highest, with what each source gives it.

    `stages` are those that took part, in order, for that chunk; none without one. `names` were followed to it, `votes`
    are those on it. `expansions` are the words added to the query, `degraded` is what the search went without. `above`
    are the first hits before it.
    """

    reason: Reason
    because: str
    document: DocumentInfo
    standings: tuple[Standing, ...]
    best: Hit | None
    stages: tuple[Stage, ...]
    names: tuple[str, ...]
    votes: tuple[Vote, ...]
    expansions: tuple[str, ...]
    above: tuple[Above, ...]
    degraded: tuple[Degraded, ...]


@dataclass(frozen=True, slots=True)
class _Searches:
    """One query in single modes and, in hybrid mode, up to each stage, `DEPTH` deep; `shown` is what a user sees."""

    shown: SearchResult
    whole: SearchResult
    modes: Mapping[SearchMode, Sequence[Hit]]
    stages: Mapping[StageName, Sequence[Hit]]
    unfiltered: Sequence[Hit]
    votes: Sequence[Vote]


def explain(
    engine: Ragstone,
    query: str,
    uri: str,
    *,
    top_k: int = 10,
    filter: str | None = None,  # noqa: A002  - the word users know
    collection: str | None = None,
) -> Explanation:
    """Look for the document `uri` in what a query finds, in every mode, without the filter too.

    Costs five to seven searches. Raises `NotFoundError` for an unknown document, and the errors of `search`.
    """
    document, _ = engine.document(uri, collection=collection)
    return _explained(document, _searches(engine, query, top_k, filter, collection), top_k)


def explain_hits(
    engine: Ragstone,
    query: str,
    *,
    top_k: int = 10,
    filter: str | None = None,  # noqa: A002  - the word users know
    collection: str | None = None,
) -> tuple[Explanation, ...]:
    """The same for each document among the first `top_k` hits, best first, at the price of one. Raises as `search`."""
    searches = _searches(engine, query, top_k, filter, collection)
    uris = dict.fromkeys(hit.uri for hit in searches.shown.hits)
    found = (engine.document(uri, collection=collection)[0] for uri in uris)
    return tuple(_explained(document, searches, top_k) for document in found)


def _searches(
    engine: Ragstone, query: str, top_k: int, filter_text: str | None, collection: str | None
) -> _Searches:
    if not 1 <= top_k <= DEPTH:
        raise InputError(f"top_k is {top_k}", hint=f"from 1 to {DEPTH}")
    names = [collection or engine.collection]

    def search(
        mode: SearchMode = "hybrid",
        *,
        depth: int = DEPTH,
        within: str | None = filter_text,
        graph: bool | None = None,
        rerank: bool | None = None,
    ) -> SearchResult:
        return engine.search(
            query, top_k=depth, mode=mode, filter=within, collections=names, graph=graph, rerank=rerank
        )

    shown, whole = search(depth=top_k), search()
    modes: dict[SearchMode, Sequence[Hit]] = {}
    for mode in SINGLE_MODES:
        try:
            modes[mode] = search(mode).hits
        except RagstoneError:
            if mode not in {missing.source for missing in whole.degraded}:
                raise
            modes[mode] = ()  # why is in `degraded`
    stages: dict[StageName, Sequence[Hit]] = {"sources": search(graph=False, rerank=False).hits}
    judged = any("reranker" in hit.sources for hit in whole.hits)
    if engine.settings.graph:
        stages["graph"] = search(rerank=False).hits if judged else whole.hits
    if judged:
        stages["reranker"] = whole.hits
    unfiltered = search(within=None).hits if filter_text else ()
    return _Searches(shown, whole, modes, stages, unfiltered, engine.votes(collection=names[0]))


def _explained(document: DocumentInfo, searches: _Searches, top_k: int) -> Explanation:
    uri = document.uri
    shown = _standing("hybrid", searches.shown.hits, uri)
    # A search for more hits weighs more candidates and may order them otherwise: what a user sees is what counts.
    hits = searches.whole.hits if shown.rank is None else searches.shown.hits
    hybrid = _standing("hybrid", hits, uri)
    best = None if hybrid.rank is None else hits[hybrid.rank - 1]
    before = hits[:ABOVE] if hybrid.rank is None else hits[: min(ABOVE, hybrid.rank - 1)]
    reason, because = _reason(shown.rank, hybrid.rank, searches.unfiltered, uri, top_k)
    return Explanation(
        reason,
        because,
        document,
        standings=(hybrid, *(_standing(mode, searches.modes[mode], uri) for mode in SINGLE_MODES)),
        best=best,
        stages=() if best is None else tuple(_stage(n, hits, best.id) for n, hits in searches.stages.items()),
        names=tuple(name.name for name in searches.whole.names if best and best.id in name.chunk_ids),
        votes=tuple(vote for vote in searches.votes if best and vote.chunk_id == best.id),
        expansions=tuple(expansion.added for expansion in searches.whole.expansions),
        above=tuple(Above(place, hit.uri, hit.title, hit.score) for place, hit in enumerate(before, start=1)),
        degraded=searches.whole.degraded,
    )


def _reason(
    shown: int | None, rank: int | None, unfiltered: Sequence[Hit], uri: str, top_k: int
) -> tuple[Reason, str]:
    if shown is not None:
        return "found", f"It is hit {shown}."
    if rank is not None:
        return "below", f"Looking {DEPTH:,} hits deep, it is hit {rank}; {top_k} were asked for."
    if _standing("hybrid", unfiltered, uri).rank is not None:
        return "filtered", "The filter leaves it out; without the filter it is found."
    missed = "neither its words nor its meaning come near the query"
    return "not_reached", f"It is not among the first {DEPTH:,} hits: {missed}."


def _standing(mode: SearchMode, hits: Sequence[Hit], uri: str) -> Standing:
    first_score = hits[0].score if hits else None
    for rank, hit in enumerate(hits, start=1):
        if hit.uri == uri:
            return Standing(mode, rank, hit.score, hit.id, first_score)
    return Standing(mode, None, None, None, first_score)


def _stage(name: StageName, hits: Sequence[Hit], chunk_id: int) -> Stage:
    for rank, hit in enumerate(hits, start=1):
        if hit.id == chunk_id:
            return Stage(name, rank, hit.score)
    return Stage(name, None, None)
