"""The JSON forms of `wire`, read back into the records they were made from. Members that came later are passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from ragstone.client.errors import ClientError
from ragstone.types import Answer, Citation, Degraded, DocumentInfo, Hit, Memory, SearchResult, Usage

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Some of the indexed documents of `total`; `next_offset` is None on the last page."""

    documents: tuple[DocumentInfo, ...]
    total: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document's `text` from character `offset` on, of `length`; small documents are whole."""

    document: DocumentInfo
    text: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Job:
    """Work that the service does in the background.

    `state` is `queued` or `running`, then `done`, `failed` or `cancelled`. `members` is all that the service says about
    it, `progress`, `result` and `error` among that.
    """

    id: str
    state: str
    members: Json

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in {"done", "failed", "cancelled"}


@contextmanager
def refused() -> Iterator[None]:
    """A member that is missing or of another kind is a `ClientError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ClientError(
            f"the service's answer has another form than expected: {type(error).__name__} {error}",
            hint="are client and service of the same version?",
            code="protocol",
        ) from error


def hit(data: Json) -> Hit:
    """Of `wire.hit_json`. A score that is not finite travels as null and is read as NaN."""
    return Hit(
        id=int(data["id"]),
        uri=data["uri"],
        title=data["title"],
        text=data["text"],
        score=_number(data["score"]),
        start=int(data["start"]),
        end=int(data["end"]),
        page=data["page"],
        time_s=data["time_s"],
        headings=tuple(data["headings"]),
        sources={name: _number(score) for name, score in data["sources"].items()},
        metadata=dict(data["metadata"]),
        collection=data["collection"],
    )


def search_result(data: Json) -> SearchResult:
    """Of `wire.search_json`."""
    with refused():
        return SearchResult(
            hits=tuple(map(hit, data["hits"])),
            degraded=_degraded(data),
            timings_ms=dict(data["timings_ms"]),
        )


def answer(data: Json) -> Answer:
    """Of `wire.answer_json`."""
    with refused():
        return Answer(
            text=data["answer"],
            citations=tuple(map(_citation, data["citations"])),
            grounded=bool(data["grounded"]),
            model=data["model"],
            hits=tuple(map(hit, data["hits"])),
            degraded=_degraded(data),
            usage=Usage(int(data["usage"]["prompt_tokens"]), int(data["usage"]["completion_tokens"])),
            timings_ms=dict(data["timings_ms"]),
            memories=tuple(map(_memory, data["memories"])),
        )


def document_page(data: Json) -> DocumentPage:
    """Of `GET /api/documents`."""
    with refused():
        return DocumentPage(
            documents=tuple(map(_document, data["documents"])),
            total=int(data["total"]),
            next_offset=data["next_offset"],
        )


def document_text(data: Json) -> DocumentText:
    """Of `GET /api/document`."""
    with refused():
        return DocumentText(
            _document(data["document"]), data["text"], int(data["offset"]), int(data["length"])
        )


def job(data: Json) -> Job:
    """Of `GET /api/jobs/{id}`, and of what begins one."""
    with refused():
        return Job(str(data["id"]), str(data["state"]), dict(data))


def _document(data: Json) -> DocumentInfo:
    return DocumentInfo(
        id=int(data["id"]),
        uri=data["uri"],
        title=data["title"],
        format=data["format"],
        size_bytes=int(data["size_bytes"]),
        modified_s=_number(data["modified_s"]),
        indexed_s=_number(data["indexed_s"]),
        chunks=int(data["chunks"]),
        metadata=dict(data["metadata"]),
    )


def _memory(data: Json) -> Memory:
    return Memory(
        id=data["id"],
        text=data["text"],
        score=_number(data["score"]),
        tier=data["tier"],
        source=data["source"],
        created_s=float(data["created_s"]),
    )


def _citation(data: Json) -> Citation:
    return Citation(
        n=int(data["n"]),
        uri=data["uri"],
        title=data["title"],
        page=data["page"],
        time_s=data["time_s"],
        start=int(data["start"]),
        end=int(data["end"]),
        quote=data["quote"],
    )


def _degraded(data: Json) -> tuple[Degraded, ...]:
    return tuple(Degraded(part["source"], part["reason"]) for part in data["degraded"])


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
