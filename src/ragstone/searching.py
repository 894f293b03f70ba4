"""One query against one collection: its embedding, its filter, the ranking, the text of the few hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ragstone import deadlines
from ragstone.collection import Collection
from ragstone.errors import InputError, NotFoundError
from ragstone.graph.walk import Step
from ragstone.index.recall_keeper import RecallKeeper
from ragstone.queries import Lookup, Query, meaning, timed
from ragstone.retrieval import hybrid
from ragstone.retrieval.hybrid import Ranking
from ragstone.retrieval.reranking import Reranking
from ragstone.retrieval.votes import REACH, voted
from ragstone.store import documents, vectors, votes
from ragstone.types import (
    Embedder,
    FollowedName,
    Hit,
    Ids,
    Reranker,
    SearchResult,
)
from ragstone.vocabulary.synonyms import NO_SYNONYMS, Synonyms


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
    with timed(timings, "open"):
        snapshot = collection.snapshot()
    if snapshot.dense is None:
        return SearchResult((), snapshot.degraded, timings)  # nothing has been written yet
    unused = {"graph"} if query.graph == "off" else set[str]()
    unused |= set() if query.acronyms else {"acronyms"}
    degraded = [entry for entry in snapshot.degraded if entry.source not in unused]
    with timed(timings, "filter"):
        allowed = _allowed(collection, query.filter)
    # Votes can lift what lies below the last hit asked for.
    reach = query.top_k + (REACH if len(snapshot.votes) else 0)
    lookup = Lookup(collection, snapshot, query, synonyms, allowed)
    words = lookup.words(timings)
    keyword = words.keyword
    if query.mode == "hybrid":
        keyword = lookup.search_ahead(words, pool=hybrid.pool_size(reach))
    with timed(timings, "embed"):
        asked = meaning(snapshot, query, words.expansions, embedding, degraded)
    deadlines.check()  # a model elsewhere can take seconds; what comes after takes milliseconds
    dense = snapshot.dense.at_recall(recall_keeper.asked(query.recall))
    ranking = hybrid.search(
        query.text,
        asked.vector,
        mode=query.mode,
        top_k=reach,
        dense=dense,
        keyword=keyword,
        load_terms=snapshot.terms,
        tokens=asked.tokens,
        load_signs=lambda ids: _token_signs(collection, ids),
        links=snapshot.graph.within(allowed) if query.graph != "off" and snapshot.graph is not None else None,
        reached_only=query.graph == "only",
        reranking=_reranking(collection, query, reranker) if query.rerank else None,
        allowed=allowed,
        expansions=words.expansions,
    )
    if len(snapshot.votes):
        most = np.inf if query.mode == "keyword" else 1.0
        ranking = voted(ranking, snapshot.votes, query.text, asked.vector, top_k=query.top_k, most=most)
    if asked.vector is not None:
        recall_keeper.offer(dense, asked.vector)
    with timed(timings, "load"):
        hits = _hits(collection, ranking)
    missing = dict.fromkeys((*degraded, *ranking.degraded))
    names = tuple(_name(step, collection.name) for step in ranking.steps)
    return SearchResult(
        hits, tuple(missing), {**timings, **ranking.timings_ms}, names, tuple(words.expansions)
    )


def _name(step: Step, collection: str) -> FollowedName:
    link = step.link
    return FollowedName(link.written, link.weight, step.from_chunk, tuple(link.chunk_ids), collection)


def vote(
    collection: Collection,
    query: Query,
    chunk_id: int,
    value: float,
    embedding: Callable[[], Embedder],
    *,
    synonyms: Synonyms = NO_SYNONYMS,
) -> int:
    """Store what somebody said of a chunk as an answer to a query; the vote's id.

    Raises `InputError`, `NotFoundError` for a chunk that is not there; nothing is changed then.
    """
    if not -1 <= value <= 1 or value == 0:
        raise InputError(f"a vote of {value}", hint="from -1 (wrong) to 1 (right), and not 0")
    snapshot = collection.snapshot()
    words = Lookup(collection, snapshot, query, synonyms, None).words({})
    vector = meaning(snapshot, query, words.expansions, embedding, []).vector
    with collection.catalog.transaction() as db:
        if not documents.keyword_entries(db, [chunk_id]):
            raise NotFoundError(
                f"no chunk {chunk_id} in {collection.name}", hint="a hit's id; it changes when its text does"
            )
        return votes.put(db, chunk_id, query.text, vector, value)


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
    with collection.catalog.reading_once() as db:
        return documents.hits(
            db, ranking.ids.tolist(), ranking.scores.tolist(), ranking.sources, collection=collection.name
        )
