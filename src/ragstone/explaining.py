"""Why a document is, or is not, among the hits of a query: what each way of searching makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.types import DocumentInfo, Hit, SearchMode

DEPTH = 1_000  # hits looked through in each mode; what is not among them has no rank
MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "keyword")

Reason: TypeAlias = Literal["found", "below", "filtered", "not_reached"]


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
class Explanation:
    """`reason` in hybrid mode: `found` among the first `top_k`, `below` them, `filtered` out, or `not_reached` by any
    mode; `because` says so in a sentence. `best` is the chunk that stands highest, with what each source gives it."""

    reason: Reason
    because: str
    document: DocumentInfo
    standings: tuple[Standing, ...]
    best: Hit | None


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

    Costs three or four searches. Raises `NotFoundError` for an unknown document, and the errors of `search`.
    """
    if not 1 <= top_k <= DEPTH:
        raise InputError(f"top_k is {top_k}", hint=f"from 1 to {DEPTH}")
    document, _ = engine.document(uri, collection=collection)
    names = [collection or engine.collection]

    def hits(mode: SearchMode, filtered_by: str | None) -> Sequence[Hit]:
        return engine.search(query, top_k=DEPTH, mode=mode, filter=filtered_by, collections=names).hits

    found = {mode: hits(mode, filter) for mode in MODES}
    standings = tuple(_standing(mode, found[mode], uri) for mode in MODES)
    hybrid = standings[0]
    best = None if hybrid.rank is None else found["hybrid"][hybrid.rank - 1]
    if hybrid.rank is not None and hybrid.rank <= top_k:
        return Explanation("found", f"It is hit {hybrid.rank}.", document, standings, best)
    if hybrid.rank is not None:
        because = f"It is hit {hybrid.rank}, and {top_k} were asked for."
        return Explanation("below", because, document, standings, best)
    if filter and _standing("hybrid", hits("hybrid", None), uri).rank is not None:
        because = "The filter leaves it out; without the filter it is found."
        return Explanation("filtered", because, document, standings, None)
    because = (
        f"It is not among the first {DEPTH:,} hits: neither its words nor its meaning come near the query."
    )
    return Explanation("not_reached", because, document, standings, None)


def _standing(mode: SearchMode, hits: Sequence[Hit], uri: str) -> Standing:
    first_score = hits[0].score if hits else None
    for rank, hit in enumerate(hits, start=1):
        if hit.uri == uri:
            return Standing(mode, rank, hit.score, hit.id, first_score)
    return Standing(mode, None, None, None, first_score)
