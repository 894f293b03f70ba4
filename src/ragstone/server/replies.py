"""What the routes answer, for the description of the interface; a test holds real answers to it.

The JSON itself is made by `wire`: these models are never filled in service.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Rank = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
UnixSeconds = float
Milliseconds = dict[str, float]
Scores = dict[str, float | None]
Metadata = dict[str, str | int | float | bool | None]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class Reply(BaseModel):
    """A JSON object with these members and no others."""

    model_config = ConfigDict(extra="forbid")


class FieldError(Reply):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """Why a request failed, as RFC 9457 has it; `code` is a stable word for programs, `hint` what to do next."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "code": "not_found",
                "detail": "no collection 'papers'",
                "hint": "list them with: GET /api/collections",
            }
        }
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str
    errors: list[FieldError] = []


class Degraded(Reply):
    """A source that could not take part, and why."""

    source: str
    reason: str


class Hit(Reply):
    """A passage; `text` is characters `start` to `end` of its document."""

    id: int
    uri: str
    title: str
    text: str
    score: float | None
    page: int | None
    start: Count
    end: Count
    time_s: float | None
    headings: list[str]
    sources: Scores
    metadata: Metadata
    collection: str


class Expansion(Reply):
    """Words of the query, and what was searched for besides."""

    written: str
    added: str
    origin: Literal["collection", "synonyms"]


class Found(Reply):
    """The best passages, best first."""

    hits: list[Hit]
    expansions: list[Expansion]
    degraded: list[Degraded]
    timings_ms: Milliseconds


class Citation(Reply):
    """What `[n]` in the answer quotes."""

    n: Rank
    uri: str
    title: str
    page: int | None
    time_s: float | None
    start: Count
    end: Count
    quote: str


class Usage(Reply):
    """Tokens as the chat model counted them."""

    prompt_tokens: Count
    completion_tokens: Count


class UsedMemory(Reply):
    """A statement that is remembered and fits the question; it is never cited."""

    id: str
    text: str
    score: float | None
    tier: str
    source: str
    created_s: UnixSeconds


class Answered(Reply):
    """An answer with checked citations; not `grounded` when the documents do not hold it.

    `memories` are there where the question asked for `memory`, best first.
    """

    answer: str
    citations: list[Citation]
    grounded: bool
    hits: list[Hit]
    degraded: list[Degraded]
    timings_ms: Milliseconds
    model: str | None
    usage: Usage
    memories: list[UsedMemory]


class Document(Reply):
    """An indexed document."""

    id: int
    uri: str
    title: str
    format: str
    size_bytes: Count
    modified_s: UnixSeconds | None
    indexed_s: UnixSeconds | None
    chunks: Count
    metadata: Metadata


class Documents(Reply):
    """One page of the list, by uri; `next_offset` is null on the last."""

    documents: list[Document]
    total: Count
    next_offset: int | None


class DocumentText(Reply):
    """A document, and its text from character `offset` of `length`."""

    document: Document
    text: str
    offset: Count
    length: Count


class Uris(Reply):
    """The uris of what was added, in the order given."""

    uris: list[str]


class Removed(Reply):
    """How many there were."""

    removed: Count


class Progress(Reply):
    """How far a job is, in the unit of its leading stage: files, chunks, settings."""

    stage: str | None
    done: Count
    total: Count
    per_second: float | None
    seconds_left: float | None
    uri: str | None


class Error(Reply):
    """Why something failed."""

    code: str
    message: str
    hint: str


class Job(Reply):
    """Long work: `result` is there once it is done, `error` once it has failed."""

    id: str
    kind: Literal["index", "upload", "tune", "apply", "rollback"]
    collection: str
    label: str
    state: JobState
    created_s: UnixSeconds
    started_s: UnixSeconds | None
    ended_s: UnixSeconds | None
    progress: Progress
    result: dict[str, Any] | None
    error: Error | None


class JobList(Reply):
    """The latest jobs, newest first."""

    jobs: list[Job]


class Failure(Reply):
    """A file that could not be read."""

    path: str
    code: str
    message: str


class IndexProgress(Progress):
    """The latest indexing of folders or uploads; `idle` when there was none."""

    state: Literal["idle", "running", "done", "failed", "cancelled"]
    failed: Count
    failures: list[Failure]
    report: dict[str, Any] | None
    error: Error | None


class Latency(Reply):
    """Milliseconds of the last calls of one kind."""

    count: Count
    p50: float
    p90: float
    p95: float
    p99: float


class Plan(Reply):
    """How an index is built."""

    index_type: str
    parameters: dict[str, int]


class Measured(Reply):
    """What a tuning job found: the best index for what was wished, and those that none beats in all."""

    job: str
    ended_s: UnixSeconds
    recall: float
    best: dict[str, Any]
    front: list[dict[str, Any]]


class Tuning(Reply):
    """The plan that was applied, null where the size decides, and the latest measurement, null without one."""

    applied: Plan | None
    measured: Measured | None


class Stats(Reply):
    """A collection in numbers, and what this process has measured."""

    collection: str
    collections: list[str]
    documents: Count
    chunks: Count
    unembedded: Count
    pending: Count
    segments: Count
    tombstones: Count
    graph_nodes: Count
    graph_edges: Count
    bytes: Count
    model: str | None
    dim: int | None
    index_types: list[str]
    recall: dict[str, float] | None
    latencies_ms: dict[str, Latency]
    caches: dict[str, dict[str, int]]
    degraded: dict[str, Count]
    tuning: Tuning


class Collection(Reply):
    """A collection and what is in it."""

    name: str
    documents: Count
    chunks: Count
    unembedded: Count
    bytes: Count
    model: str | None


class Collections(Reply):
    """The collections, by name; memories are not among them."""

    collections: list[Collection]


class Caches(Reply):
    """Each cache in numbers."""

    caches: dict[str, dict[str, int]]


class Health(Reply):
    """Whether requests should be sent here, each part's state, and what is wrong."""

    status: Literal["ok", "starting", "unready"]
    checks: dict[str, str] = {}
    code: str = ""
    message: str = ""
    hint: str = ""
