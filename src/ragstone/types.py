"""The nouns that travel between packages: documents, chunks, hits, answers. Data only, no behaviour.

Knows numpy and the standard library, nothing else of ragstone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float32]  # (dim,)
Matrix: TypeAlias = npt.NDArray[np.float32]  # (n, dim), C-contiguous
HalfMatrix: TypeAlias = npt.NDArray[np.float16]  # (n, dim), C-contiguous
StoredMatrix: TypeAlias = (
    npt.NDArray[np.float16] | npt.NDArray[np.float32]
)  # (n, dim), as a collection keeps them
Scores: TypeAlias = npt.NDArray[np.float32]  # (n,), higher is better
TokenSigns: TypeAlias = npt.NDArray[np.uint64]  # (tokens, 3): the signs of 192 numbers each
Precision: TypeAlias = Literal["float16", "float32"]  # of stored vectors
Ids: TypeAlias = npt.NDArray[np.int64]  # (n,) chunk or document ids, > 0, never reused

MetadataValue: TypeAlias = str | int | float | bool
Metadata: TypeAlias = Mapping[str, MetadataValue]

SearchMode: TypeAlias = Literal["hybrid", "dense", "keyword"]


class BlockKind(StrEnum):
    """What a stretch of a document's text is; the chunker prefers to cut between blocks."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    LIST = "list"
    CODE = "code"
    TABLE_ROW = "table_row"
    CUE = "cue"


@dataclass(frozen=True, slots=True)
class Block:
    """One structural stretch `text[start:end]` of a document, `start < end`, in characters.

    `level` is the heading level 1–6 (0 for everything else); `page` the 1-based PDF page, slide or
    sheet, None where the format has none; `time_s` a subtitle cue's start in seconds, None elsewhere.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    page: int | None = None
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A file's text and structure, as its reader saw it.

    `blocks` ascend, do not overlap, and only white space lies between them. All offsets anywhere in
    ragstone (chunks, hits, citations) are characters into `text`. `format` is the reader's name
    (`markdown`, `pdf`, …). `metadata` holds what the file says about itself (`author`, `date`, …).
    """

    text: str
    blocks: tuple[Block, ...]
    title: str
    format: str
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document that is embedded and found as one: `document.text[start:end]`.

    Chunks of a document ascend and do not overlap; only white space lies between and around them.
    `headings` is the path of headings above it, outermost first, without the document's title.
    `page` and `time_s` are those of its first block (a chunk never spans two pages). `tokens` counts
    what the model will see: `embedding_text`, special tokens included.
    """

    start: int
    end: int
    headings: tuple[str, ...]
    page: int | None
    time_s: float | None
    tokens: int
    embedding_text: str


class Embedder(Protocol):
    """Turns texts into unit vectors. Thread-safe; deterministic up to batch composition.

    Implementations: ONNX sentence encoders on this machine, OpenAI-compatible HTTP endpoints.
    """

    @property
    def model_id(self) -> str:
        """Name and revision or content hash; two embedders with equal ids give comparable vectors."""

    @property
    def dim(self) -> int:
        """Length of each vector."""

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens and document prefix included; the rest is cut off."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as the model would see it as a document, special tokens included."""

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token of `text`, ascending, special tokens left out, never cut off."""

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit rows in the order of `texts`."""

    def embed_query(self, text: str) -> Vector:
        """(dim,) float32 unit vector; does not depend on anything but `text`."""

    def close(self) -> None:
        """Release threads and sessions; further calls raise `ModelError`."""


@dataclass(frozen=True, slots=True)
class QueryTokens:
    """A query token by token: `signs` (n, 3) uint64 of their vectors, and the n character `spans` they stand for."""

    signs: TokenSigns
    spans: Sequence[tuple[int, int]]


@runtime_checkable
class TokenEmbedder(Embedder, Protocol):
    """An embedder that also says what each token means in its place (see `retrieval.late_interaction`)."""

    def embed_documents_and_tokens(self, texts: Sequence[str]) -> tuple[Matrix, list[bytes]]:
        """`embed_documents`, and for each text the signs of its token vectors: (tokens, 3) little-endian uint64."""

    def query_tokens(self, text: str) -> QueryTokens:
        """The tokens of a query. Costs nothing beside `embed_query` of the same text."""


class Reranker(Protocol):
    """Judges how well passages answer a query, reading both at once. Thread-safe.

    Implementations: ONNX cross-encoders on this machine, `/rerank` HTTP endpoints.
    """

    @property
    def model_id(self) -> str:
        """What judges, for people; two rerankers of one id judge alike."""

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """(n,) finite float32 in the order of `texts`, on any scale of the model's own; higher is better."""

    def close(self) -> None:
        """Release threads and sessions; further calls raise `ModelError`."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One found chunk. `score` is higher for better, in [0, 1] for hybrid mode.

    `text == document_text(uri)[start:end]`. `sources` maps each source that scored it (`dense`, `keyword`) to its own
    score, `graph` to the share of the way to 1 that names raised it by, and `reranker` to that model's judgement.
    `page` is 1-based, None where there are no pages; `time_s` is seconds into the recording for subtitles, else None.
    """

    id: int
    uri: str
    title: str
    text: str
    score: float
    start: int
    end: int
    page: int | None
    time_s: float | None
    headings: tuple[str, ...]
    sources: Mapping[str, float]
    metadata: Metadata
    collection: str


@dataclass(frozen=True, slots=True)
class Degraded:
    """A source that did not take part in an answer and why, so that nothing is missing in silence."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class FollowedName:
    """A name of documents that a search followed, as written in the query or, with `from_chunk`, in that passage.

    `weight` in [0, 1] is higher for rarer names; `chunk_ids` are those of the documents that bear it.
    """

    name: str
    weight: float
    from_chunk: int | None
    chunk_ids: tuple[int, ...]
    collection: str


@dataclass(frozen=True, slots=True)
class Expansion:
    """Words of a query as written there, and what may stand in a text for them.

    `origin`: whether the texts of the collection define it, or the user's table lists it. `terms` and `added_terms` are
    both as the keyword index sees them; `weight` in [0, 1] is what the added words count beside the query's own.
    """

    written: str
    added: str
    origin: Literal["collection", "synonyms"]
    terms: tuple[str, ...]
    added_terms: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first (ties by id, ascending), and what it took; `timings_ms` is per stage.

    `names` are those that the graph followed, the query's first; `expansions` are the words added to the query.
    """

    hits: tuple[Hit, ...]
    degraded: tuple[Degraded, ...]
    timings_ms: Mapping[str, float]
    names: tuple[FollowedName, ...] = ()
    expansions: tuple[Expansion, ...] = ()


@dataclass(frozen=True, slots=True)
class Citation:
    """A checked source of an answer: `document_text(uri)[start:end] == quote`, always.

    `n` is the number in the answer's text (`[1]`), 1-based.
    """

    n: int
    uri: str
    title: str
    page: int | None
    time_s: float | None
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a chat model counted for one answer; zeros for extractive answers."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """A statement that is remembered beside the documents and fits a question; `score` is higher for better.

    `source` says who stated it, `created_s` (Unix seconds) when. It is never cited: only documents are.
    """

    id: str
    text: str
    score: float
    tier: str
    source: str
    created_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with checked citations.

    `grounded` is False when the documents do not hold the answer (`citations` is empty then, and `text` says so, unless
    `memories` hold it). `memories` are those that fit the question, best first: a chat model was given them beside the
    documents. `model` is the chat model's name, or `extractive`.
    """

    text: str
    citations: tuple[Citation, ...]
    grounded: bool
    model: str
    hits: tuple[Hit, ...]
    degraded: tuple[Degraded, ...]
    usage: Usage
    timings_ms: Mapping[str, float]
    memories: tuple[Memory, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier turn of a conversation, oldest first in a list of them."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """A file that could not be indexed; `code` as in `errors.DocumentError`."""

    path: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one run of indexing did.

    Counts are documents, except `chunks` (rows written) and `embedded` (vectors computed). `degraded` says what could
    not take part: `names` where a chat model was to find them and failed.
    """

    indexed: int
    unchanged: int
    removed: int
    failed: tuple[FailedDocument, ...]
    chunks: int
    embedded: int
    seconds: float
    degraded: tuple[Degraded, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """One moment of an indexing run; `done` of `total` in `stage`'s unit, `total` 0 while unknown.

    Stages in order: `scan` and `read` count files, `embed` counts chunks, `seal` counts segments,
    `names` documents that a chat model was asked about.
    `uri` names the document that has just become durable and keyword-searchable (stage `read`), else None.
    """

    stage: Literal["scan", "read", "embed", "seal", "names"]
    done: int
    total: int
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document as listed. `size_bytes` is the source file's; times are Unix seconds."""

    id: int
    uri: str
    title: str
    format: str
    size_bytes: int
    modified_s: float
    indexed_s: float
    chunks: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class AnswerSources:
    """First event of an answer: the hits it may cite; `hits[n - 1]` is source `n`."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A piece of the answer's text, in order."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerDone:
    """Last event of an answer: the whole, with checked citations. Its text is final: a citation that
    failed its check is gone from it although a token showed it."""

    answer: Answer


AnswerEvent: TypeAlias = AnswerSources | AnswerToken | AnswerDone
