"""What a request that changes or examines something may say; like `requests`, every part of it has a limit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator

from ragstone.index_tuning import Wish
from ragstone.server.requests import CollectionName, Filter, Question, RequestModel, Uri

MAX_TEXTS = 1_000
MAX_TEXT_CHARACTERS = 1_000_000  # the body ends earlier
TEXTS_BODY_BYTES = 1024 * 1024  # read and checked on the event loop, in 10 ms; larger ones are uploads
MAX_PATHS = 16
MAX_DELETED = 100  # in one query string
MAX_METADATA = 64
MAX_STATEMENT_CHARACTERS = 10_000  # `memory.store.MAX_CHARS`
MAX_IDS = 100  # in one query string
MAX_BUDGET_S = 600.0
ROW_ID_MAX = 2**53 - 1  # what JSON numbers hold exactly everywhere

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
Tier = Literal["working", "short_term", "long_term", "episodic", "semantic"]
MemoryId = Annotated[str, StringConstraints(pattern=r"^m[0-9]{1,18}$")]
RowId = Annotated[int, Field(ge=0, le=ROW_ID_MAX)]
Flag = Annotated[bool, Field(strict=True)]  # JSON's own true and false
Recall = Annotated[float, Field(gt=0, le=1)]
Megabytes = Annotated[float, Field(gt=0, le=1e7)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=100)]
MetadataText = Annotated[str, StringConstraints(max_length=10_000)]
MetadataNumber = Annotated[float, Field(ge=-1e300, le=1e300)]
MetadataWhole = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
MetadataValue = Annotated[bool, Field(strict=True)] | MetadataWhole | MetadataNumber | MetadataText


class InCollection(RequestModel):
    """A query string or body that may name a collection; left out, it is the service's own."""

    collection: CollectionName | None = None


class UploadRequest(InCollection):
    """The query string of `POST /api/documents`; the body holds the files."""


class TextModel(RequestModel):
    """One text to add. Without `uri` it gets one from its content; with one, it replaces the document of that name."""

    text: Text
    uri: Uri | None = None
    title: Annotated[str, StringConstraints(max_length=300)] = ""
    metadata: Annotated[
        dict[MetadataKey, MetadataValue], Field(default_factory=dict, max_length=MAX_METADATA)
    ]

    @field_validator("text", "uri", "title")
    @classmethod
    def _whole_characters(cls, value: str | None) -> str | None:
        if value is not None and any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("holds half a character (a lone surrogate)")
        return value


class TextsRequest(InCollection):
    """The body of `POST /api/texts`."""

    texts: Annotated[tuple[TextModel, ...], Field(min_length=1, max_length=MAX_TEXTS)]


class DeleteRequest(InCollection):
    """The query string of `DELETE /api/documents`."""

    uri: Annotated[tuple[Uri, ...], Field(min_length=1, max_length=MAX_DELETED)]


class IndexRequest(InCollection):
    """The body of `POST /api/index`; without paths, all those that the service was started with."""

    paths: Annotated[tuple[Uri, ...], Field(max_length=MAX_PATHS)] = ()


class DropRequest(RequestModel):
    """The query string of `DELETE /api/collections/{name}`: its name once more, so that it is meant."""

    confirm: CollectionName


class MemoryRequest(InCollection):
    """The body of `POST /api/memory`."""

    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_STATEMENT_CHARACTERS)
    ]
    tier: Tier = "long_term"
    importance: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.5
    source: Annotated[str, StringConstraints(min_length=1, max_length=100)] = "user"
    tags: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=100)], ...], Field(max_length=16)
    ] = ()


class MemorySearchRequest(InCollection):
    """The query string of `GET /api/memory/search`."""

    q: Question
    k: Annotated[int, Field(ge=1, le=100)] = 10
    tier: Tier | None = None


class MemoryListRequest(InCollection):
    """The query string of `GET /api/memory` and `GET /api/memory/audit`, oldest first."""

    offset: Annotated[int, Field(ge=0, le=2**31)] = 0
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class ForgetRequest(InCollection):
    """The query string of `DELETE /api/memory`."""

    id: Annotated[tuple[MemoryId, ...], Field(min_length=1, max_length=MAX_IDS)]


class FeedbackRequest(InCollection):
    """The body of `POST /api/feedback`: a hit's id, and 1 for right, -1 for wrong, or anything between but 0."""

    query: Question
    id: RowId
    value: Annotated[float, Field(ge=-1, le=1, strict=True)] = 1.0


class UndoRequest(InCollection):
    """The query string of `DELETE /api/feedback`: votes by their ids, or all of them."""

    id: Annotated[tuple[RowId, ...], Field(max_length=MAX_IDS)] = ()
    all: bool = False


class TuneRequest(InCollection):
    """The body of `POST /api/tune`: what the index is to reach, and whether to switch to the best at once."""

    recall: Recall = 0.95
    p95_ms: Annotated[float, Field(gt=0, le=60_000)] | None = None
    memory_mb: Megabytes | None = None
    objective: Literal["latency", "memory", "recall"] = "latency"
    budget_s: Annotated[float, Field(ge=1, le=MAX_BUDGET_S)] = 60.0
    apply: Flag = False

    def wish(self) -> Wish:
        """As the tuner has it."""
        return Wish(self.recall, self.p95_ms, self.memory_mb, self.objective, self.budget_s)


class RecommendRequest(InCollection):
    """The query string of `GET /api/recommend`; without `vectors`, for the collection's size."""

    vectors: Annotated[int, Field(ge=0, le=10**10)] | None = None
    dim: Annotated[int, Field(ge=1, le=65_536)] = 384
    memory_mb: Megabytes | None = None
    recall: Recall = 0.95


class ExplainRequest(InCollection):
    """The query string of `GET /api/explain`."""

    q: Question
    uri: Uri
    k: Annotated[int, Field(ge=1, le=100)] = 10
    filter: Filter | None = None


class RetrieveRequest(RequestModel):
    """The body of `POST /api/retrieve`: a question, or facts as nested as they come."""

    facts: Question | dict[str, JsonValue]
    other_facts: dict[str, JsonValue] | None = None
    theme: Annotated[str, StringConstraints(max_length=100)] = ""
    locale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,4}$")] = "en"
