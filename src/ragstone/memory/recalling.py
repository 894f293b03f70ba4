"""Which entries fit a query: plain functions over one snapshot of the collection and the rows beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import apsw
import numpy as np
import numpy.typing as npt

from ragstone.collection import Snapshot
from ragstone.errors import InputError, StoreError
from ragstone.index.dense import DenseIndex
from ragstone.memory import entries
from ragstone.memory.entries import MemoryEntry
from ragstone.memory.fitting import Seconds, fit
from ragstone.memory.gate import Near
from ragstone.memory.statements import Statement
from ragstone.memory.tiers import Policy
from ragstone.memory.writing import words_sha256
from ragstone.retrieval import hybrid
from ragstone.types import Embedder, Ids, Memory, QueryTokens, Scores, SearchMode, TokenEmbedder, Vector

T = TypeVar("T")

MAX_LIMIT = 1_000
MAX_QUERY_CHARS = 10_000
NEAR = 24  # entries that a new one is compared with word by word: under 1 ms


@dataclass(frozen=True, slots=True)
class Recalled:
    """A found entry, `score` (higher is better) and what it is made of: each source's own score."""

    entry: MemoryEntry
    score: float
    sources: dict[str, float]

    def as_memory(self) -> Memory:
        """What an answer is given of it."""
        entry = self.entry
        return Memory(entry.id, entry.text, self.score, entry.tier, entry.source, entry.created_s)


@dataclass(frozen=True, slots=True)
class Field:
    """The entries a query may find, ascending: (n,) chunk ids, (n,) document ids, (n,) factors of their similarity,
    (n,) Unix seconds when they were said."""

    chunks: Ids
    documents: Ids
    weights: Scores
    created_s: Seconds


@dataclass(frozen=True, slots=True)
class Columns:
    """What ranks and limits every entry, (n,) each, ascending by document; kept until `changes` differs.

    `weights` is what similarity is multiplied by, `expiries_s` infinite for what never ends.
    """

    changes: int
    documents: Ids
    chunks: Ids
    importances: npt.NDArray[np.float64]
    weights: Scores
    created_s: Seconds
    expiries_s: Seconds
    tiers: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query and what is compared with the entries: its vector, and its tokens where the model gives some."""

    query: str
    mode: SearchMode
    vector: Vector | None
    tokens: QueryTokens | None


@dataclass(frozen=True, slots=True)
class Ranked:
    """Chunks, best first: (n,) ids and scores, and each source's own score by id."""

    ids: Ids
    scores: Scores
    sources: dict[int, dict[str, float]]


def check_query(query: str, limit: int) -> None:
    """Raises `InputError` for what cannot be searched."""
    if not query.strip():
        raise InputError("the query is empty", hint="write a question or some words")
    if len(query) > MAX_QUERY_CHARS:
        raise InputError(f"the query has {len(query):,} characters, the limit is {MAX_QUERY_CHARS:,}")
    if not 1 <= limit <= MAX_LIMIT:
        raise InputError(f"limit is {limit}, the range is 1 to {MAX_LIMIT:,}")


def columns(db: apsw.Connection, policy: Policy) -> Columns:
    """The columns as they stand."""
    changes, listed = entries.changes(db), entries.ranking_rows(db)
    documents, chunks, importances, superseded, created, expiries, tiers = (
        zip(*listed, strict=True) if listed else ((),) * 7
    )
    factors = np.where(np.array(superseded, bool), policy.superseded_factor, 1.0)
    return Columns(
        changes=changes,
        documents=np.array(documents, np.int64),
        chunks=np.array(chunks, np.int64),
        importances=np.array(importances, np.float64),
        weights=(np.array(importances, np.float64) * factors).astype(np.float32),
        created_s=np.array(created, np.float64),
        expiries_s=np.array([np.inf if each is None else each for each in expiries], np.float64),
        tiers=np.array(tiers, np.str_),
    )


def field(known: Columns, now_s: float, *, tier: str | None, min_importance: float) -> Field:
    """The live entries of a tier (None: of all)."""
    live = (known.expiries_s > now_s) & (known.importances >= min_importance)
    if tier is not None:
        live &= known.tiers == tier
    return Field(known.chunks[live], known.documents[live], known.weights[live], known.created_s[live])


def by_meaning(dense: DenseIndex, vector: Vector, among: Field, limit: int) -> Ranked:
    """The best by cosine × weight, exact over all of `among`, ties by age."""
    ids, cosines = dense.search(vector, top_k=len(among.chunks), allowed=among.documents)
    scores = cosines * among.weights[np.searchsorted(among.chunks, ids)]
    best = np.lexsort((ids, -scores))[:limit]
    sources = {int(ids[i]): {"dense": float(cosines[i])} for i in best}
    return Ranked(ids[best], scores[best], sources)


def asked(query: str, mode: SearchMode, embedder: Embedder) -> Asked:
    """A query with what its mode compares."""
    if mode == "keyword":
        return Asked(query, mode, None, None)
    vector = embedder.embed_query(query)
    tokens = (
        embedder.query_tokens(query) if mode == "hybrid" and isinstance(embedder, TokenEmbedder) else None
    )
    return Asked(query, mode, vector, tokens if tokens is not None and len(tokens.spans) else None)


def by_search(
    snapshot: Snapshot,
    asked: Asked,
    among: Field,
    limit: int,
    *,
    load_signs: Callable[[Ids], Sequence[bytes]],
) -> Ranked:
    """The best by the score of a search × weight, among the best 100 (or `limit`) of each source.

    Raises `StoreError` while what the mode searches is being rebuilt.
    """
    pool = max(hybrid.POOL, limit)
    if asked.vector is None or asked.mode != "hybrid":
        ids, scores, sources = _by_one_source(snapshot, asked, among, pool)
    else:
        found = fit(
            asked.query,
            asked.vector,
            asked.tokens,
            dense=built(snapshot.dense),
            keyword=built(snapshot.keyword),
            load_terms=snapshot.terms,
            load_signs=load_signs,
            chunks=among.chunks,
            documents=among.documents,
            said_s=among.created_s,
            pool=pool,
        )
        ids, scores = found.ids, found.scores
        sources = {
            id_: {name: score for name, score in (("dense", cosine), ("keyword", bm25)) if score > 0}
            for id_, cosine, bm25 in zip(
                ids.tolist(), found.cosines.tolist(), found.bm25.tolist(), strict=True
            )
        }
    scores = scores * among.weights[np.searchsorted(among.chunks, ids)]
    best = np.lexsort((ids, -scores))[:limit]
    return Ranked(ids[best], scores[best], sources)


def _by_one_source(
    snapshot: Snapshot, asked: Asked, among: Field, pool: int
) -> tuple[Ids, Scores, dict[int, dict[str, float]]]:
    """The best by cosine or by BM25: (n,) ids, (n,) scores, and the same by id and source."""
    if asked.vector is None:
        name = "keyword"
        ids, scores = built(snapshot.keyword).search(asked.query, top_k=pool, allowed=among.documents)
    else:
        name = "dense"
        ids, scores = built(snapshot.dense).search(asked.vector, top_k=pool, allowed=among.documents)
    return (
        ids,
        scores,
        {id_: {name: score} for id_, score in zip(ids.tolist(), scores.tolist(), strict=True)},
    )


def built(index: T | None) -> T:
    """An index of a memory that holds something. Raises `StoreError` while it is being rebuilt."""
    if index is None:
        raise StoreError("an index of the memory is being rebuilt", hint="try again in a moment")
    return index


def recalled(ranked: Ranked, found: dict[int, MemoryEntry]) -> list[Recalled]:
    """The ranking with its entries; those removed meanwhile are left out."""
    return [
        Recalled(found[id_], score, ranked.sources[id_])
        for id_, score in zip(ranked.ids.tolist(), ranked.scores.tolist(), strict=True)
        if id_ in found
    ]


def near(
    db: apsw.Connection, dense: DenseIndex | None, statement: Statement, vector: Vector, now_s: float
) -> Sequence[Near]:
    """The live entries most like a text: those of the very same words first, then by cosine."""
    if dense is None:
        return []
    ids, cosines = dense.search(vector, top_k=NEAR, allowed=None)
    same = entries.by_words(db, words_sha256(statement), now_s)
    found = entries.by_chunks(db, ids.tolist(), now_s)
    known = {entry.chunk_id for entry in same}
    return [Near(entry, Statement(entry.text), 1.0) for entry in same] + [
        Near(found[id_], Statement(found[id_].text), cosine)
        for id_, cosine in zip(ids.tolist(), cosines.tolist(), strict=True)
        if id_ in found and id_ not in known
    ]
