"""One query against one collection: its embedding, its filter, the ranking, the text of the few hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ragstone import deadlines
from ragstone.collection import Collection, Snapshot
from ragstone.errors import InputError, MismatchError, NotFoundError, RagstoneError, StoreError
from ragstone.expansions import expanded_text, expansions_of
from ragstone.graph.walk import Step
from ragstone.index.recall_keeper import RecallKeeper
from ragstone.retrieval import hybrid
from ragstone.retrieval.hybrid import KeywordSource, Ranking
from ragstone.retrieval.reranking import Reranking
from ragstone.retrieval.votes import REACH, voted
from ragstone.store import documents, vectors, votes
from ragstone.store.keyword_reader import WeighedQuery
from ragstone.texts import unit_rows
from ragstone.types import (
    Degraded,
    Embedder,
    Expansion,
    FollowedName,
    Hit,
    Ids,
    QueryTokens,
    Reranker,
    Scores,
    SearchMode,
    SearchResult,
    TokenEmbedder,
    Vector,
)
from ragstone.vocabulary.synonyms import NO_SYNONYMS, Synonyms

GraphUse = Literal["off", "on", "only"]

MAX_QUERY_CHARS = 10_000  # a query is a question or a passage, not a document
MAX_TOP_K = 1_000
# Keyword searches beside the embedding of their queries: 2 to 4 ms each, so that a few threads serve many callers.
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


def search_collection(
    collection: Collection,
    query: Query,
    embedding: Callable[[], Embedder],
    recall_keeper: RecallKeeper,
    reranker: Callable[[], Reranker],
    *,
    synonyms: Synonyms = NO_SYNONYMS,
) -> SearchResult:
    """The best chunks of one collection, best first. `embedding` and `reranker` give the models, loaded where they are
    needed; `recall_keeper` watches the searches by vector; `synonyms` are the user's.

    Raises `StoreError` while the keyword index is being rebuilt and no vector can do instead, `MismatchError` for a
    vector of another dimension and, in dense mode, another model.
    """
    timings: dict[str, float] = {}
    with _timed(timings, "open"):
        snapshot = collection.snapshot()
    if snapshot.dense is None:
        return SearchResult((), snapshot.degraded, timings)  # nothing has been written yet
    with _timed(timings, "expand"):
        expansions = _expansions(collection, snapshot, query, synonyms)
    keyword: KeywordSource = _BeingRebuilt()
    if snapshot.keyword is not None:
        keyword = snapshot.keyword.expanded(expansions) if expansions else snapshot.keyword
    unused = {"graph"} if query.graph == "off" else set[str]()
    unused |= set() if query.acronyms else {"acronyms"}
    degraded = [entry for entry in snapshot.degraded if entry.source not in unused]
    with _timed(timings, "filter"):
        allowed = _allowed(collection, query.filter)
    # Votes can lift what lies below the last hit asked for.
    reach = query.top_k + (REACH if len(snapshot.votes) else 0)
    if query.mode == "hybrid":
        keyword = _SearchedAhead(keyword, query.text, hybrid.pool_size(reach), allowed)
    with _timed(timings, "embed"):
        vector = _query_vector(snapshot, query, embedding, degraded)
        meant = _with_expansions(vector, query, expansions, embedding, degraded)
    deadlines.check()  # a model elsewhere can take seconds; what comes after takes milliseconds
    dense = snapshot.dense.at_recall(recall_keeper.asked(query.recall))
    ranking = hybrid.search(
        query.text,
        meant,
        mode=query.mode,
        top_k=reach,
        dense=dense,
        keyword=keyword,
        load_terms=snapshot.terms,
        tokens=_query_tokens(query, embedding) if query.mode == "hybrid" and vector is not None else None,
        load_signs=lambda ids: _token_signs(collection, ids),
        links=snapshot.graph.within(allowed) if query.graph != "off" and snapshot.graph is not None else None,
        reached_only=query.graph == "only",
        reranking=_reranking(collection, query, reranker) if query.rerank else None,
        allowed=allowed,
        expansions=expansions,
    )
    if len(snapshot.votes):
        most = np.inf if query.mode == "keyword" else 1.0
        ranking = voted(ranking, snapshot.votes, query.text, vector, top_k=query.top_k, most=most)
    if meant is not None:
        recall_keeper.offer(dense, meant)
    with _timed(timings, "load"):
        hits = _hits(collection, ranking)
    missing = dict.fromkeys((*degraded, *ranking.degraded))
    names = tuple(_name(step, collection.name) for step in ranking.steps)
    return SearchResult(hits, tuple(missing), {**timings, **ranking.timings_ms}, names, tuple(expansions))


def _expansions(
    collection: Collection, snapshot: Snapshot, query: Query, synonyms: Synonyms
) -> list[Expansion]:
    """The words added to a query; a search by meaning alone asks for none."""
    if query.mode == "dense":
        return []
    if not (query.acronyms and snapshot.has_acronyms):
        return expansions_of(None, query.text, synonyms) if synonyms else []
    with collection.catalog.reading() as db:
        return expansions_of(db, query.text, synonyms)


def _name(step: Step, collection: str) -> FollowedName:
    link = step.link
    return FollowedName(link.written, link.weight, step.from_chunk, tuple(link.chunk_ids), collection)


def vote(
    collection: Collection, query: str, chunk_id: int, value: float, embedding: Callable[[], Embedder]
) -> int:
    """Store what somebody said of a chunk as an answer to a query; the vote's id.

    Raises `InputError`, `NotFoundError` for a chunk that is not there; nothing is changed then.
    """
    if not -1 <= value <= 1 or value == 0:
        raise InputError(f"a vote of {value}", hint="from -1 (wrong) to 1 (right), and not 0")
    asked = Query.checked(query, top_k=1, mode="hybrid", filter=None, vector=None, recall=1.0, graph="off")
    vector = _query_vector(collection.snapshot(), asked, embedding, [])
    with collection.catalog.transaction() as db:
        if not documents.keyword_entries(db, [chunk_id]):
            raise NotFoundError(
                f"no chunk {chunk_id} in {collection.name}", hint="a hit's id; it changes when its text does"
            )
        return votes.put(db, chunk_id, query, vector, value)


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


class _SearchedAhead:
    """A keyword source whose answer to one query is fetched while the query is being embedded."""

    def __init__(self, keyword: KeywordSource, query: str, top_k: int, allowed: Ids | None) -> None:
        self._found = _AHEAD.submit(keyword.search, query, top_k=top_k, allowed=allowed)
        self.score = keyword.score
        self.weigh = keyword.weigh
        self.idf_of_words = keyword.idf_of_words

    def search(self, query: str, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        """What was asked for when this was made; the arguments are the same."""
        return self._found.result()


def _query_vector(
    snapshot: Snapshot, query: Query, embedding: Callable[[], Embedder], degraded: list[Degraded]
) -> Vector | None:
    """The query's embedding; None where the mode needs none, or none can be had and keywords can do."""
    identity = snapshot.identity
    if query.mode == "keyword" or identity is None:
        return None
    if query.vector is not None:
        rows = unit_rows(np.asarray(query.vector, dtype=np.float32)[None], 1)
        if rows.shape[1] != identity.dim:
            raise MismatchError(
                f"the query's vector has {rows.shape[1]} dimensions, the collection {identity.dim}",
                hint="embed the query with the model that made the collection's vectors",
            )
        row: Vector = rows[0]
        return row
    try:
        embedder = embedding()
        if embedder.model_id == identity.model_id:
            return embedder.embed_query(query.text)
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
    return None


def _with_expansions(
    vector: Vector | None,
    query: Query,
    expansions: Sequence[Expansion],
    embedding: Callable[[], Embedder],
    degraded: list[Degraded],
) -> Vector | None:
    """The query's embedding, drawn halfway to that of the query with the added words behind their own; another
    millisecond or two for the few queries that have some."""
    if vector is None or query.vector is not None or not expansions:
        return vector
    try:
        both = vector + embedding().embed_query(expanded_text(query.text, expansions))
    except RagstoneError as error:  # a model elsewhere that answered just now
        degraded.append(Degraded("expansions", error.message))
        return vector
    drawn: Vector = both / np.linalg.norm(both)
    return drawn


def _query_tokens(query: Query, embedding: Callable[[], Embedder]) -> QueryTokens | None:
    """What late interaction compares; none for a vector of the caller's own, or a model that gives none."""
    embedder = embedding() if query.vector is None else None
    if not isinstance(embedder, TokenEmbedder):
        return None
    tokens = embedder.query_tokens(query.text)
    return tokens if len(tokens.spans) else None


def _reranking(collection: Collection, query: Query, reranker: Callable[[], Reranker]) -> Reranking:
    """The reranker's judgement of chunks, each read with its document's title above it."""

    def judge(ids: Sequence[int]) -> dict[int, float]:
        with collection.catalog.reading() as db:
            texts = documents.titled_texts(db, ids)
        passages = [f"{title}\n{text}" if title else text for title, text in texts.values()]
        return dict(zip(texts, reranker().score(query.text, passages).tolist(), strict=True))

    return Reranking(judge, query.rerank)


def _token_signs(collection: Collection, ids: Ids) -> list[bytes]:
    with collection.catalog.reading() as db:
        return vectors.token_signs(db, ids.tolist())


def _allowed(collection: Collection, filter_text: str | None) -> Ids | None:
    if not filter_text or not filter_text.strip():
        return None
    with collection.catalog.reading() as db:
        return documents.allowed_documents(db, filter_text)


def _hits(collection: Collection, ranking: Ranking) -> tuple[Hit, ...]:
    """Those of the ranking that have not been deleted since the snapshot."""
    with collection.catalog.reading() as db:
        return documents.hits(
            db, ranking.ids.tolist(), ranking.scores.tolist(), ranking.sources, collection=collection.name
        )


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    timings[stage] = (time.perf_counter() - started_s) * 1e3
