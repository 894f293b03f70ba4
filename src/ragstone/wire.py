"""The JSON forms of ragstone's records: what `--json` prints and the service sends, in one place.

Plain functions from a record to a `dict`. The names are those of DESIGN ("Command line") and other tools
rely on them: keys may be added, never renamed. Does not know who prints them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias
from urllib.parse import quote

from ragstone.errors import RagstoneError
from ragstone.types import (
    Answer,
    AnswerDone,
    AnswerEvent,
    AnswerSources,
    AnswerToken,
    Citation,
    Degraded,
    DocumentInfo,
    FailedDocument,
    Hit,
    IndexReport,
    Memory,
    Metadata,
    SearchResult,
)

Json: TypeAlias = dict[str, Any]

SCORE_DIGITS = 6  # float32 scores carry about 7 significant digits; more is noise on the wire
TIMING_DIGITS = 3  # microseconds


def encode(value: object) -> bytes:
    """UTF-8 JSON of `value` on one line.

    A lone surrogate (a file name that is not UTF-8) becomes its JSON escape: in JSON text it can only
    stand inside a string, where `backslashreplace` writes exactly that escape. Raises `ValueError` for
    NaN and infinities, which are not JSON; the functions of this module never hand one on.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def plain_json(value: object) -> Any:
    """`value` as JSON types, field by field: for records whose wire form is their own (stats, reports).

    Raises `TypeError` for anything but dataclasses, mappings, sequences, sets, enums, paths and scalars.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Enum):
        return plain_json(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray):
        return [plain_json(item) for item in value]
    raise TypeError(f"no JSON form for {type(value).__name__}")


def hit_json(hit: Hit) -> Json:
    """One hit: `{"id","uri","title","text","score","page","start","end","sources",…}`."""
    return {
        "id": int(hit.id),
        "uri": hit.uri,
        "title": hit.title,
        "text": hit.text,
        "score": _rounded(hit.score, SCORE_DIGITS),
        "page": hit.page,
        "start": int(hit.start),
        "end": int(hit.end),
        "time_s": hit.time_s,
        "headings": list(hit.headings),
        "sources": {name: _rounded(score, SCORE_DIGITS) for name, score in hit.sources.items()},
        "metadata": _metadata_json(hit.metadata),
        "collection": hit.collection,
    }


def search_json(result: SearchResult) -> Json:
    """`{"hits","degraded","timings_ms","expansions":[{"written","added","origin"}]}`."""
    return {
        "hits": [hit_json(hit) for hit in result.hits],
        "expansions": [
            {"written": found.written, "added": found.added, "origin": found.origin}
            for found in result.expansions
        ],
        "degraded": _degraded_json(result.degraded),
        "timings_ms": _timings_json(result.timings_ms),
    }


def citation_json(citation: Citation) -> Json:
    """One citation: `{"n","uri","title","page","time_s","start","end","quote"}`."""
    return {
        "n": citation.n,
        "uri": citation.uri,
        "title": citation.title,
        "page": citation.page,
        "time_s": citation.time_s,
        "start": int(citation.start),
        "end": int(citation.end),
        "quote": citation.quote,
    }


def answer_json(answer: Answer) -> Json:
    """`{"answer","citations","grounded","hits","degraded","timings_ms","model","usage","memories"}`."""
    return {
        "answer": answer.text,
        "citations": [citation_json(citation) for citation in answer.citations],
        "grounded": answer.grounded,
        "hits": [hit_json(hit) for hit in answer.hits],
        "degraded": _degraded_json(answer.degraded),
        "timings_ms": _timings_json(answer.timings_ms),
        "model": answer.model,
        "usage": {
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
        },
        "memories": memories_json(answer.memories),
    }


def memories_json(memories: Sequence[Memory]) -> list[Json]:
    """The memories of an answer: `[{"id","text","score","tier","source","created_s"}]`."""
    return [{**plain_json(memory), "score": _rounded(memory.score, SCORE_DIGITS)} for memory in memories]


def answer_events_json(event: AnswerEvent) -> list[tuple[str, Json]]:
    """The streamed form of one event as (name, data) pairs: one `source` per hit, a `token`, or `done`.

    `source` data is a hit with its number `n`; `token` is `{"text"}`; `done` is `answer_json`.
    """
    match event:
        case AnswerSources(hits=hits):
            return [("source", {"n": n, **hit_json(hit)}) for n, hit in enumerate(hits, start=1)]
        case AnswerToken(text=text):
            return [("token", {"text": text})]
        case AnswerDone(answer=answer):
            return [("done", answer_json(answer))]


def failed_json(failed: FailedDocument) -> Json:
    """`{"path","code","message"}`."""
    return {"path": failed.path, "code": failed.code, "message": failed.message}


def index_json(report: IndexReport) -> Json:
    """`{"documents":{"indexed","unchanged","removed","failed"},"chunks","embedded","seconds","degraded"}`."""
    return {
        "documents": {
            "indexed": report.indexed,
            "unchanged": report.unchanged,
            "removed": report.removed,
            "failed": [failed_json(failed) for failed in report.failed],
        },
        "chunks": report.chunks,
        "embedded": report.embedded,
        "seconds": _rounded(report.seconds, TIMING_DIGITS),
        "degraded": _degraded_json(report.degraded),
    }


def document_json(document: DocumentInfo) -> Json:
    """`{"id","uri","title","format","size_bytes","modified_s","indexed_s","chunks","metadata"}`."""
    return {
        "id": int(document.id),
        "uri": document.uri,
        "title": document.title,
        "format": document.format,
        "size_bytes": document.size_bytes,
        "modified_s": _finite(document.modified_s),
        "indexed_s": _finite(document.indexed_s),
        "chunks": document.chunks,
        "metadata": _metadata_json(document.metadata),
    }


def memory_json(entry: object) -> Json:
    """A memory's entry field by field, without the numbers that only its catalog uses."""
    fields = plain_json(entry)
    return {name: value for name, value in fields.items() if name not in {"document_id", "chunk_id"}}


def link(uri: str, page: int | None = None) -> str:
    """A document's uri as an address that a reader's programs open: paths become `file://…`, others stay."""
    if not uri.startswith("/"):
        return uri
    path = quote(uri, safe="/", errors="surrogateescape")  # a file name need not be UTF-8
    return f"file://{path}" + ("" if page is None else f"#page={page}")


def error_json(error: RagstoneError) -> Json:
    """`{"code","message","hint"}`: what an error says, for programs."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _degraded_json(degraded: Sequence[Degraded]) -> list[Json]:
    return [{"source": part.source, "reason": part.reason} for part in degraded]


def _timings_json(timings_ms: Mapping[str, float]) -> Json:
    return {stage: _rounded(value, TIMING_DIGITS) for stage, value in timings_ms.items()}


def _metadata_json(metadata: Metadata) -> Json:
    return {key: _finite(value) if isinstance(value, float) else value for key, value in metadata.items()}


def _rounded(value: float, digits: int) -> float | None:
    finite = _finite(value)
    return None if finite is None else round(finite, digits)


def _finite(value: float) -> float | None:
    """NaN and infinities (a spreadsheet's cell, a broken score) have no JSON form; None says so."""
    return float(value) if math.isfinite(value) else None
