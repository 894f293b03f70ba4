"""Answers of the routes beside documents and jobs, like `replies`: memory, feedback, tuning, explain, retrieve."""

from __future__ import annotations

from typing import Any, Literal

from ragstone.server.replies import Count, Degraded, Document, Hit, Rank, Reply, Scores, UnixSeconds


class Memory(Reply):
    """A statement that is remembered."""

    id: str
    text: str
    tier: str
    importance: float
    created_s: UnixSeconds
    last_accessed_s: UnixSeconds
    access_count: Count
    expires_s: UnixSeconds | None
    source: str
    tags: list[str]
    superseded_by: str | None
    loop: bool
    refreshed: Count


class FoundMemory(Memory):
    """A memory that fits a query; `score` is higher for better."""

    score: float
    sources: Scores


class Memories(Reply):
    """One page of memories, oldest first."""

    memories: list[Memory]
    total: Count
    next_offset: int | None


class FoundMemories(Reply):
    """What fits, best first."""

    memories: list[FoundMemory]


class Stored(Reply):
    """What became of a statement; `id` is null when it was refused."""

    id: str | None
    outcome: str
    because: str
    superseded: list[str]
    evicted: list[str]


class AuditedMemory(Memory):
    """A memory, why it is kept, and what is wrong with it."""

    relevance: float
    because: str
    duplicate_of: str | None
    repeats: str | None
    expiring: bool


class Audit(Reply):
    """One page of the audit, and counts over all of it."""

    counts: dict[str, int]
    memories: list[AuditedMemory]
    total: Count
    next_offset: int | None


class Promotion(Reply):
    """A memory that went a tier up."""

    id: str
    from_tier: str
    to_tier: str


class Consolidated(Reply):
    """What one pass did."""

    expired: Count
    promoted: list[Promotion]
    no_room: Count
    seconds: float


class Vote(Reply):
    """What somebody said of a hit."""

    id: int
    chunk_id: int
    query: str
    value: float
    given_s: UnixSeconds


class Votes(Reply):
    """All votes, oldest first."""

    votes: list[Vote]


class VoteGiven(Reply):
    """The vote's id, to take it back by."""

    vote: int


class Recommendation(Reply):
    """The index that suits a size, and why."""

    index_type: str
    parameters: dict[str, int]
    vectors: Count
    dim: Count
    reasons: list[str]
    bytes_per_vector: float
    memory_bytes: Count
    build_s: float
    latency_ms: float


class Standing(Reply):
    """Where a document's best passage stands in one mode; null where it is not among the first 1,000."""

    mode: str
    rank: Rank | None
    score: float | None
    chunk_id: int | None
    first_score: float | None


class Stage(Reply):
    """Where the passage stood when the search went no further than this stage."""

    name: Literal["sources", "graph", "reranker"]
    rank: Rank | None
    score: float | None


class Above(Reply):
    """A hit that stands before the document."""

    rank: Rank
    uri: str
    title: str
    score: float


class Explanation(Reply):
    """Why a document is, or is not, among the hits."""

    reason: Literal["found", "below", "filtered", "not_reached"]
    because: str
    document: Document
    standings: list[Standing]
    best: Hit | None
    stages: list[Stage]
    names: list[str]
    votes: list[Vote]
    expansions: list[str]
    above: list[Above]
    degraded: list[Degraded]


class Retrieved(Reply):
    """The documented keys, each source's state, and everything merged."""

    graph_nodes: list[dict[str, Any]]
    graph_context: str
    graph_rules: list[str]
    corpus_quotes: list[dict[str, Any]]
    persona_context: dict[str, list[dict[str, Any]]]
    domain_knowledge: list[dict[str, Any]]
    cross_analysis: str
    prefetch_time_ms: float
    sources: dict[str, dict[str, Any]]
    merged: list[dict[str, Any]]
    degraded: list[Degraded]
    kept: bool
