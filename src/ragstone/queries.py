"""A query, and what it comes to in one collection before anything is ranked: its words and its embedding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ragstone.collection import Collection, Snapshot
from ragstone.errors import InputError, MismatchError, RagstoneError, StoreError
from ragstone.expansions import ExpandedText, expanded_text, expansions_of
from ragstone.retrieval.hybrid import KeywordSource
from ragstone.store.catalog import Identity
from ragstone.store.keyword_reader import WeighedQuery
from ragstone.texts import unit_rows
from ragstone.types import (
    Degraded,
    Embedder,
    Expansion,
    Ids,
    QueryTokens,
    Scores,
    SearchMode,
    TokenEmbedder,
    Vector,
)
from ragstone.vocabulary.synonyms import Synonyms

GraphUse = Literal["off", "on", "only"]

MAX_QUERY_CHARS = 10_000  # a query is a question or a passage, not a document
MAX_TOP_K = 1_000
# Keyword searches beside the embedding of their queries: 2 to 4 ms each, so that a few threads serve many callers.
# Reading texts and names ahead as well gains nothing on two cores that share their units (LAB, "Looking ahead").
_AHEAD = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ragstone-keyword")


@dataclass(frozen=True, slots=True)
class Query:
    """A checked query; `vector`, where given, stands in for its embedding; `recall` 1.0 is exact.

    `graph`: whether a hybrid search also walks the graph of names; `only`: whether it gives nothing else. `rerank`: how
    many of a hybrid search's best the reranker judges, 0: there is none, or it is not wanted. `acronyms`: whether those
    that texts define are looked up.
    """

    text: str
    top_k: int
    mode: SearchMode
    filter: str | None
    vector: npt.ArrayLike | None
    recall: float
    graph: GraphUse
    rerank: int
    acronyms: bool = True

    @classmethod
    def checked(
        cls,
        text: str,
        *,
        top_k: int,
        mode: SearchMode,
        filter: str | None,  # noqa: A002  - the word users know
        vector: npt.ArrayLike | None,
        recall: float,
        graph: GraphUse,
        rerank: int = 0,
        acronyms: bool = True,
    ) -> Query:
        """Raises `InputError` that names what is out of range."""
        if not text.strip():
            raise InputError("the query is empty", hint="write a question or some words")
        if len(text) > MAX_QUERY_CHARS:
            raise InputError(f"the query has {len(text):,} characters, the limit is {MAX_QUERY_CHARS:,}")
        if not 1 <= top_k <= MAX_TOP_K:
            raise InputError(f"top_k is {top_k}, the range is 1 to {MAX_TOP_K:,}")
        if mode not in {"hybrid", "dense", "keyword"}:
            raise InputError(f"no mode {mode!r}", hint="one of hybrid, dense, keyword")
        if not 0 < recall <= 1:
            raise InputError(f"recall is {recall}, the range is above 0 up to 1.0 (exact)")
        return cls(
            text, top_k, mode, filter, vector, recall, graph, rerank if mode == "hybrid" else 0, acronyms
        )


@dataclass(frozen=True, slots=True)
class Words:
    """What the words of a query come to, without its embedding."""

    keyword: KeywordSource
    expansions: Sequence[Expansion]


@dataclass(frozen=True, slots=True)
class Lookup:
    """One query against one state of a collection; only documents of ascending `allowed`."""

    collection: Collection
    snapshot: Snapshot
    query: Query
    synonyms: Synonyms
    allowed: Ids | None

    def words(self, timings: dict[str, float]) -> Words:
        """What a search by words or by meaning alone has to know."""
        with timed(timings, "expand"):
            expansions = self._expansions()
        keyword = self.snapshot.keyword
        if keyword is None:
            return Words(_BeingRebuilt(), expansions)
        return Words(keyword.expanded(expansions) if expansions else keyword, expansions)

    def search_ahead(self, words: Words, *, pool: int) -> KeywordSource:
        """The keyword source, which is finding its best `pool` chunks: in a thread, beside the model and the search by
        vector, which leave the interpreter to others while they compute."""
        found = _AHEAD.submit(words.keyword.search, self.query.text, top_k=pool, allowed=self.allowed)
        return _SearchedAhead(words.keyword, found)

    def _expansions(self) -> list[Expansion]:
        """The words added to a query; a search by meaning alone asks for none."""
        query = self.query
        if query.mode == "dense":
            return []
        if not (query.acronyms and self.snapshot.has_acronyms):
            return expansions_of(None, query.text, self.synonyms) if self.synonyms else []
        with self.collection.catalog.reading() as db:
            return expansions_of(db, query.text, self.synonyms)


class _SearchedAhead:
    """A keyword source that has been asked one thing already."""

    def __init__(self, keyword: KeywordSource, found: Future[tuple[Ids, Scores]]) -> None:
        self._found = found
        self.score = keyword.score
        self.weigh = keyword.weigh
        self.idf_of_words = keyword.idf_of_words

    def search(self, query: str, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        """What is found, once it is; the arguments are those given then."""
        return self._found.result()


class _BeingRebuilt:
    """The keyword source of a collection whose index is just being built: it fails, and the dense source answers."""

    def search(self, query: str, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        """Always a `StoreError`."""
        raise StoreError("the keyword index is being rebuilt")

    def score(self, query: str, ids: Ids) -> Scores:
        """Nothing matches."""
        return np.zeros(len(ids), np.float32)

    def weigh(self, query: str) -> WeighedQuery:
        """No term can match."""
        return WeighedQuery((), np.empty(0, np.float32), 0.0)

    def idf_of_words(self, words: Sequence[str]) -> Scores:
        """No word is known."""
        return np.zeros(len(words), np.float32)


@dataclass(frozen=True, slots=True)
class Meaning:
    """A query as its model understands it; no `vector` where nothing can be asked, no `tokens` where none are given."""

    vector: Vector | None
    tokens: QueryTokens | None = None


def meaning(
    snapshot: Snapshot,
    query: Query,
    expansions: Sequence[Expansion],
    embedding: Callable[[], Embedder],
    degraded: list[Degraded],
) -> Meaning:
    """The query embedded, the added words behind their own: the model reads both at once, and its tokens of the query
    are those of the query's own words (LAB, "One embedding for a query and its acronyms").

    Without a vector where the mode needs none, or none can be had and keywords can do.
    """
    identity = snapshot.identity
    if query.mode == "keyword" or identity is None:
        return Meaning(None)
    if query.vector is not None:
        return Meaning(_given(query.vector, identity))
    try:
        embedder = embedding()
        if embedder.model_id == identity.model_id:
            return _embedded(embedder, expanded_text(query.text, expansions), query.mode)
        reason = f"its vectors were made by {identity.model_id}, the model set is {embedder.model_id}"
        error: RagstoneError = MismatchError(
            f"this collection cannot be searched by meaning: {reason}",
            hint="set that model, pass the query's vector, or search by keyword",
        )
    except RagstoneError as failure:
        error = failure
    if query.mode == "dense":
        raise error
    degraded.append(Degraded("dense", error.message))
    return Meaning(None)


def _given(vector: npt.ArrayLike, identity: Identity) -> Vector:
    """The caller's own vector, at unit length."""
    rows = unit_rows(np.asarray(vector, dtype=np.float32)[None], 1)
    if rows.shape[1] != identity.dim:
        raise MismatchError(
            f"the query's vector has {rows.shape[1]} dimensions, the collection {identity.dim}",
            hint="embed the query with the model that made the collection's vectors",
        )
    row: Vector = rows[0]
    return row


def _embedded(embedder: Embedder, asked: ExpandedText, mode: SearchMode) -> Meaning:
    vector = embedder.embed_query(asked.text)
    if mode != "hybrid" or not isinstance(embedder, TokenEmbedder):
        return Meaning(vector)
    tokens = asked.tokens_of_query(embedder.query_tokens(asked.text))
    return Meaning(vector, tokens if len(tokens.spans) else None)


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    timings[stage] = (time.perf_counter() - started_s) * 1e3
