"""What tools take and give: every string, list and number has a limit, and the schemas that clients see come from here.

Field descriptions are read by a model that decides which tool to call.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ragstone.types import Citation, Hit, MetadataValue, SearchMode
from ragstone.wire import link

MAX_QUESTION_CHARACTERS = 1000  # as over HTTP
MAX_FILTER_CHARACTERS = 1000
MAX_URI_CHARACTERS = 4096  # PATH_MAX
MAX_HITS = 20
MAX_HIT_CHARACTERS = 4000  # a chunk has at most 512 tokens, about 2,500 characters; tables may have more
FETCHED_CHARACTERS = 20_000  # about 5,000 tokens: a page of results a model can still think about
MAX_FETCHED_CHARACTERS = 100_000
MAX_LISTED = 200
MAX_MEMORIES = 20
MAX_MEMORY_CHARACTERS = 10_000  # the store's own limit
MAX_ADDED_CHARACTERS = 500_000  # one tool call; files are indexed by `ragstone index`

Question = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUESTION_CHARACTERS)
]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URI_CHARACTERS)]
FilterText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=MAX_FILTER_CHARACTERS),
    Field(description="Only such documents, e.g. `type:pdf path:guides/** date>=2024`; empty for all."),
]
CollectionName = Annotated[
    str,
    StringConstraints(max_length=64),
    Field(description="A name from list_collections; empty for the usual one."),
]
Tier = Literal["working", "short_term", "long_term", "episodic", "semantic"]


class Arguments(BaseModel):
    """What a tool is called with."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Result(BaseModel):
    """What a tool gives back."""

    model_config = ConfigDict(frozen=True)


class NoArguments(Arguments):
    """Nothing."""


class SearchArguments(Arguments):
    """Of `search`."""

    query: Annotated[Question, Field(description="A question or some words.")]
    k: Annotated[int, Field(ge=1, le=MAX_HITS, description="Most passages to return.")] = 8
    mode: Annotated[SearchMode, Field(description="hybrid unless only meaning or only words count.")] = (
        "hybrid"
    )
    filter: FilterText = ""
    collection: CollectionName = ""


class AskArguments(Arguments):
    """Of `ask`."""

    question: Question
    k: Annotated[int, Field(ge=1, le=10, description="Most passages to answer from.")] = 4
    filter: FilterText = ""
    collection: CollectionName = ""
    memory: Annotated[bool, Field(description="Use what is remembered for the user as well.")] = False


class FetchArguments(Arguments):
    """Of `fetch`."""

    id: Annotated[Uri, Field(description="A document's id, as search and list_documents give it.")]
    collection: CollectionName = ""
    start: Annotated[int, Field(ge=0, le=1 << 40, description="First character to return.")] = 0
    length: Annotated[
        int, Field(ge=1, le=MAX_FETCHED_CHARACTERS, description="Most characters to return.")
    ] = FETCHED_CHARACTERS


class ListArguments(Arguments):
    """Of `list_documents`."""

    filter: FilterText = ""
    collection: CollectionName = ""
    offset: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = 50


class MemorySearchArguments(Arguments):
    """Of `memory_search`."""

    query: Question
    k: Annotated[int, Field(ge=1, le=MAX_MEMORIES)] = 5


class MemoryAddArguments(Arguments):
    """Of `memory_add`."""

    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_MEMORY_CHARACTERS)
    ]
    importance: Annotated[float, Field(ge=0, le=1)] = 0.5
    tier: Tier = "long_term"


class AddArguments(Arguments):
    """Of `add_document`."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ADDED_CHARACTERS)]
    title: Annotated[str, StringConstraints(max_length=1000)] = ""
    id: Annotated[
        Annotated[str, StringConstraints(max_length=MAX_URI_CHARACTERS)],
        Field(description="A document with this id is replaced; empty: named after the text."),
    ] = ""


class DeleteArguments(Arguments):
    """Of `delete_document`."""

    id: Uri


class Passage(Result):
    """A passage found: characters `start` to `end` of document `id`."""

    id: str
    title: str
    url: str
    text: str
    score: float
    page: int | None
    start: int
    end: int
    collection: str


class SearchAnswer(Result):
    """Of `search`: best first; `degraded` names what could not take part."""

    results: list[Passage]
    degraded: list[str]


class Quote(Result):
    """A citation: `[n]` in the answer is this quote, word for word."""

    n: int
    id: str
    title: str
    url: str
    page: int | None
    start: int
    end: int
    quote: str


class AskAnswer(Result):
    """Of `ask`; not `grounded`: the documents do not hold the answer. `memories` are what was used beside them."""

    answer: str
    grounded: bool
    citations: list[Quote]
    memories: list[str]
    degraded: list[str]


class FetchAnswer(Result):
    """Of `fetch`: characters `start` to `end` of `length`; `next_start` goes on, null at the end."""

    id: str
    title: str
    url: str
    text: str
    start: int
    end: int
    length: int
    next_start: int | None
    metadata: dict[str, MetadataValue | None]


class Listed(Result):
    """A document without its text."""

    id: str
    title: str
    format: str
    size_bytes: int


class ListAnswer(Result):
    """Of `list_documents`, by id; `next_offset` is null on the last page."""

    documents: list[Listed]
    total: int
    next_offset: int | None


class CollectionsAnswer(Result):
    """Of `list_collections`; `usual` is meant where none is named."""

    collections: list[str]
    usual: str


class Memory(Result):
    """Something remembered."""

    id: str
    text: str
    score: float
    tier: str
    source: str
    superseded_by: str | None


class MemoriesAnswer(Result):
    """Of `memory_search`, best first."""

    memories: list[Memory]


class RememberedAnswer(Result):
    """Of `memory_add`: what became of the statement and why."""

    outcome: str
    because: str
    id: str | None


class AddedAnswer(Result):
    """Of `add_document`."""

    id: str


class DeletedAnswer(Result):
    """Of `delete_document`."""

    deleted: int


def passage(hit: Hit) -> Passage:
    """A hit, cut to what a result may hold."""
    text = hit.text[:MAX_HIT_CHARACTERS]
    return Passage(
        id=hit.uri,
        title=hit.title,
        url=link(hit.uri, hit.page),
        text=text,
        score=hit.score,
        page=hit.page,
        start=hit.start,
        end=hit.end - (len(hit.text) - len(text)),
        collection=hit.collection,
    )


def quote(citation: Citation) -> Quote:
    """A citation."""
    return Quote(
        n=citation.n,
        id=citation.uri,
        title=citation.title,
        url=link(citation.uri, citation.page),
        page=citation.page,
        start=citation.start,
        end=citation.end,
        quote=citation.quote,
    )
