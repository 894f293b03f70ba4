"""What a request may say: every string, list and number has a limit, and unknown names are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragstone.types import SearchMode, Turn

MAX_QUESTION_CHARACTERS = 1000
MAX_FILTER_CHARACTERS = 1000  # a few dozen terms
MAX_URI_CHARACTERS = 4096  # PATH_MAX
MAX_ANSWER_K = 10
MAX_SEARCH_K = 100
MAX_TURNS = 40  # more than a model's context holds; the body limit cuts earlier if turns are long
MAX_TURN_CHARACTERS = 16_000  # about 4000 tokens, half of the default context
MAX_COLLECTIONS = 16
MAX_DOCUMENTS = 1000  # about 300 KB of JSON

Question = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARACTERS)
]
Filter = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_FILTER_CHARACTERS)]
CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URI_CHARACTERS)]


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TurnModel(RequestModel):
    """One earlier turn of the conversation."""

    role: Literal["user", "assistant"]
    text: Annotated[str, StringConstraints(max_length=MAX_TURN_CHARACTERS)]


class AskRequest(RequestModel):
    """The body of `POST /api/ask` and `/api/ask/stream`; `k` left out is the engine's default.

    With `memory` the answer also uses what is remembered beside the collection.
    """

    question: Question
    k: Annotated[int, Field(ge=1, le=MAX_ANSWER_K)] | None = None
    filter: Filter | None = None
    collection: CollectionName | None = None
    history: Annotated[tuple[TurnModel, ...], Field(max_length=MAX_TURNS)] = ()
    memory: Annotated[bool, Field(strict=True)] = False

    def turns(self) -> tuple[Turn, ...]:
        """The conversation so far, oldest first."""
        return tuple(Turn(role=turn.role, text=turn.text) for turn in self.history)


class SearchRequest(RequestModel):
    """The query string of `GET /api/search`; `collection` may be given several times."""

    q: Question
    k: Annotated[int, Field(ge=1, le=MAX_SEARCH_K)] = 10
    mode: SearchMode = "hybrid"
    filter: Filter | None = None
    graph: bool | None = None  # as set, if not given
    rerank: bool | None = None
    collection: Annotated[tuple[CollectionName, ...], Field(max_length=MAX_COLLECTIONS)] = ()


class DocumentsRequest(RequestModel):
    """The query string of `GET /api/documents`."""

    offset: Annotated[int, Field(ge=0, le=2**31)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_DOCUMENTS)] = 100
    filter: Filter | None = None
    collection: CollectionName | None = None


class DocumentRequest(RequestModel):
    """The query string of `GET /api/document`: text around `start` when the document is a large one."""

    uri: Uri
    start: Annotated[int, Field(ge=0, le=2**40)] = 0
    collection: CollectionName | None = None  # a hit's own
