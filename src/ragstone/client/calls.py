"""The calls of the HTTP interface: what each sends and what its answer means.

Each is a flow, run by `Client` and `AsyncClient` under the same name and with the same arguments; `service` is theirs.
"""

from __future__ import annotations

import json
import mimetypes
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ragstone.client import decoding
from ragstone.client.attempts import attempts
from ragstone.client.exchange import Call, json_of
from ragstone.client.service import Service
from ragstone.client.steps import Flow
from ragstone.client.streams import answer_events
from ragstone.errors import InputError
from ragstone.types import Answer, Metadata, SearchMode, SearchResult, Turn


def search(
    service: Service,
    query: str,
    *,
    top_k: int | None = None,
    mode: SearchMode = "hybrid",
    filter: str | None = None,  # noqa: A002 - the interface's name
    collections: Sequence[str] = (),
    graph: bool | None = None,
) -> Flow[SearchResult]:
    """The best passages, best first; see `Ragstone.search`. Raises `ClientError` and `ServiceError`."""
    asked = [("q", query), ("mode", mode), *(("collection", name) for name in collections)]
    if top_k is not None:
        asked.append(("k", str(top_k)))
    if filter is not None:
        asked.append(("filter", filter))
    if graph is not None:
        asked.append(("graph", str(graph).lower()))
    return decoding.search_result((yield from _json(service, Call("GET", "/api/search", asked))))


def ask(
    service: Service,
    question: str,
    *,
    top_k: int | None = None,
    filter: str | None = None,  # noqa: A002 - the interface's name
    collection: str | None = None,
    history: Sequence[Turn] = (),
) -> Flow[Answer]:
    """The answer with checked citations; see `Ragstone.ask`. Raises `ClientError` and `ServiceError`."""
    call = Call("POST", "/api/ask", body=_question(question, top_k, filter, collection, history))
    return decoding.answer((yield from _json(service, call)))


def ask_stream(
    service: Service,
    question: str,
    *,
    top_k: int | None = None,
    filter: str | None = None,  # noqa: A002 - the interface's name
    collection: str | None = None,
    history: Sequence[Turn] = (),
) -> Flow[None]:
    """The answer while it is made: `AnswerSource`s, `AnswerToken`s, then `AnswerDone` with the whole.

    Leaving the stream closes the connection, which stops the service's work. A connection that breaks before the
    first token is made again; after it `ClientError` (`stream_cut`) is raised.
    """
    body = _question(question, top_k, filter, collection, history)
    return answer_events(service, Call("POST", "/api/ask/stream", body=body))


def stats(service: Service) -> Flow[Mapping[str, Any]]:
    """Counts, sizes, model and latencies, as `GET /api/stats` gives them."""
    found: Mapping[str, Any] = yield from _json(service, Call("GET", "/api/stats"))
    return found


def ready(service: Service) -> Flow[bool]:
    """Whether requests should be sent now; asked once. Raises `ClientError` where nothing answers."""
    found = yield from json_of(service, Call("GET", "/health/ready"), accepted=frozenset({503}))
    return bool(found["status"] == "ok")


def documents(service: Service, *, offset: int = 0, limit: int = 100) -> Flow[decoding.DocumentPage]:
    """A page of the indexed documents, of at most `limit` ≤ 1,000."""
    asked = [("offset", str(offset)), ("limit", str(limit))]
    return decoding.document_page((yield from _json(service, Call("GET", "/api/documents", asked))))


def document(
    service: Service, uri: str, *, start: int = 0, collection: str | None = None
) -> Flow[decoding.DocumentText]:
    """A document's text; of a large one the 400,000 characters around `start`."""
    asked = [("uri", uri), ("start", str(start)), *([("collection", collection)] if collection else [])]
    return decoding.document_text((yield from _json(service, Call("GET", "/api/document", asked))))


def add(
    service: Service,
    texts: Sequence[str],
    *,
    uris: Sequence[str] | None = None,
    metadata: Sequence[Metadata] | None = None,
    collection: str | None = None,
) -> Flow[Any]:
    """Add texts as documents; see `Ragstone.add`. A uri that exists gets the new text. What the service says about it.

    Repeated after a lost connection only with `uris`: without them a text would be added twice.
    """
    members = {"texts": list(texts), "uris": uris, "metadata": metadata, "collection": collection}
    body = _encoded({name: value for name, value in members.items() if value is not None})
    return (yield from _json(service, Call("POST", "/api/documents", body=body, idempotent=uris is not None)))


def upload(
    service: Service, name: str, content: bytes, *, collection: str | None = None
) -> Flow[decoding.Job]:
    """Send a file to be indexed under `name`; the job that does it. Not repeated after a lost connection."""
    if not name or any(character in name for character in '"\r\n\0'):
        raise InputError(f"not a file name: {name!r}", hint="a name without quotes and line breaks")
    body, content_type = _multipart(name, content, collection)
    call = Call("POST", "/api/documents", body=body, content_type=content_type, idempotent=False)
    return decoding.job((yield from _json(service, call)))


def delete(service: Service, uri: str, *, collection: str | None = None) -> Flow[Any]:
    """Remove a document; what the service says about it. Repeated after a lost connection."""
    asked = [("uri", uri), *([("collection", collection)] if collection else [])]
    return (yield from _json(service, Call("DELETE", "/api/documents", asked)))


def job(service: Service, job_id: str) -> Flow[decoding.Job]:
    """How far a job is."""
    return decoding.job((yield from _json(service, Call("GET", f"/api/jobs/{quote(job_id, safe='')}"))))


def _json(service: Service, call: Call) -> Flow[Any]:
    return (yield from attempts(service, lambda: json_of(service, call), idempotent=call.idempotent))


def _question(
    question: str,
    top_k: int | None,
    asked_filter: str | None,
    collection: str | None,
    history: Sequence[Turn],
) -> bytes:
    members = {
        "question": question,
        "k": top_k,
        "filter": asked_filter,
        "collection": collection,
        "history": [{"role": turn.role, "text": turn.text} for turn in history] or None,
    }
    return _encoded({name: value for name, value in members.items() if value is not None})


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False).encode("ascii")


def _multipart(name: str, content: bytes, collection: str | None) -> tuple[bytes, str]:
    """A form with one file, and its content type (RFC 7578)."""
    boundary = secrets.token_hex(16)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n".encode(),
        content,
        b"\r\n",
    ]
    if collection is not None:
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="collection"\r\n\r\n{collection}\r\n'.encode()
        )
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"
