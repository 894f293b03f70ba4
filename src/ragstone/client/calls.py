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
from ragstone.client.errors import ClientError
from ragstone.client.exchange import Call, json_of
from ragstone.client.service import Service
from ragstone.client.steps import Flow, Pause
from ragstone.client.streams import answer_events
from ragstone.errors import InputError
from ragstone.types import Answer, Metadata, SearchMode, SearchResult, Turn

FIRST_POLL_S = 0.1  # a text of a page is indexed in that time
LONGEST_POLL_S = 2.0


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
    memory: bool = False,
) -> Flow[Answer]:
    """The answer with checked citations; see `Ragstone.ask`. With `memory` it uses what is remembered.

    Raises `ClientError` and `ServiceError`.
    """
    call = Call(
        "POST", "/api/ask", body=_question(question, top_k, filter, collection, history, memory=memory)
    )
    return decoding.answer((yield from _json(service, call)))


def ask_stream(
    service: Service,
    question: str,
    *,
    top_k: int | None = None,
    filter: str | None = None,  # noqa: A002 - the interface's name
    collection: str | None = None,
    history: Sequence[Turn] = (),
    memory: bool = False,
) -> Flow[None]:
    """The answer while it is made: `AnswerSource`s, `AnswerToken`s, then `AnswerDone` with the whole.

    Leaving the stream closes the connection, which stops the service's work. A connection that breaks before the
    first token is made again; after it `ClientError` (`stream_cut`) is raised.
    """
    body = _question(question, top_k, filter, collection, history, memory=memory)
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
    asked = [("uri", uri), ("start", str(start)), *_in(collection)]
    return decoding.document_text((yield from _json(service, Call("GET", "/api/document", asked))))


def add(
    service: Service,
    texts: Sequence[str],
    *,
    uris: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    metadata: Sequence[Metadata] | None = None,
    collection: str | None = None,
) -> Flow[tuple[str, ...]]:
    """Add texts as documents; their uris, in order. Searchable when it returns; see `Ragstone.add`.

    A text replaces the one with the same uri, which without `uris` is made of its content: sent twice, it is added
    once.
    """
    for name, listed in {"uris": uris, "titles": titles, "metadata": metadata}.items():
        if listed is not None and len(listed) != len(texts):
            raise InputError(f"{len(texts)} texts and {len(listed)} {name}", hint="give one for each text")
    given: list[dict[str, Any]] = [{"text": text} for text in texts]
    for member, values in {"uri": uris, "title": titles, "metadata": metadata}.items():
        for entry, value in zip(given, values or (), strict=False):
            entry[member] = value
    body = _encoded({"texts": given, **({"collection": collection} if collection else {})})
    found = yield from _json(service, Call("POST", "/api/texts", body=body))
    with decoding.refused():
        return tuple(str(uri) for uri in found["uris"])


def upload(
    service: Service, name: str, content: bytes, *, collection: str | None = None
) -> Flow[decoding.Job]:
    """Send a file; the job that makes it the document `upload:<name>`. Not repeated after a lost connection."""
    if not name or any(character in name for character in '"\r\n\0'):
        raise InputError(f"not a file name: {name!r}", hint="a name without quotes and line breaks")
    body, content_type = _multipart(name, content)
    call = Call(
        "POST",
        "/api/documents",
        _in(collection),
        body=body,
        content_type=content_type,
        idempotent=False,
    )
    return decoding.job((yield from _json(service, call)))


def index(
    service: Service, paths: Sequence[str] = (), *, collection: str | None = None
) -> Flow[decoding.Job]:
    """Index folders of the service's own machine, all that it was started with if none is named; the job that does it.

    Not repeated after a lost connection.
    """
    body = _encoded({"paths": list(paths), **({"collection": collection} if collection else {})})
    call = Call("POST", "/api/index", body=body, idempotent=False)
    return decoding.job((yield from _json(service, call)))


def delete(service: Service, uris: Sequence[str], *, collection: str | None = None) -> Flow[int]:
    """Remove documents; how many. All or, where one is unknown, none.

    Where an answer was lost on its way, the repeated call says that they are unknown.
    """
    asked = [*(("uri", uri) for uri in uris), *_in(collection)]
    found = yield from _json(service, Call("DELETE", "/api/documents", asked))
    with decoding.refused():
        return int(found["removed"])


def job(service: Service, job_id: str) -> Flow[decoding.Job]:
    """How far a job is."""
    return decoding.job((yield from _json(service, Call("GET", _job_path(job_id)))))


def wait_for_job(service: Service, job_id: str, *, timeout_s: float = 600.0) -> Flow[decoding.Job]:
    """A job once it has ended, well or not; asked at growing intervals. Raises `ClientError` after `timeout_s`."""
    ends_s = service.clock() + timeout_s
    wait_s = FIRST_POLL_S
    while not (found := (yield from job(service, job_id))).ended:
        if service.clock() + wait_s > ends_s:
            raise ClientError(f"job {job_id} has not ended after {timeout_s:g} s", code="timeout")
        yield Pause(wait_s)
        wait_s = min(2 * wait_s, LONGEST_POLL_S)
    return found


def cancel_job(service: Service, job_id: str) -> Flow[decoding.Job]:
    """Stop a job at its next document; what was acknowledged is kept, and one that has ended stays as it is."""
    return decoding.job((yield from _json(service, Call("DELETE", _job_path(job_id)))))


def _job_path(job_id: str) -> str:
    return f"/api/jobs/{quote(job_id, safe='')}"


def _in(collection: str | None) -> list[tuple[str, str]]:
    return [("collection", collection)] if collection else []


def _json(service: Service, call: Call) -> Flow[Any]:
    return (yield from attempts(service, lambda: json_of(service, call), idempotent=call.idempotent))


def _question(
    question: str,
    top_k: int | None,
    asked_filter: str | None,
    collection: str | None,
    history: Sequence[Turn],
    *,
    memory: bool,
) -> bytes:
    members = {
        "question": question,
        "k": top_k,
        "filter": asked_filter,
        "collection": collection,
        "history": [{"role": turn.role, "text": turn.text} for turn in history] or None,
        "memory": memory or None,
    }
    return _encoded({name: value for name, value in members.items() if value is not None})


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False).encode("ascii")


def _multipart(name: str, content: bytes) -> tuple[bytes, str]:
    """A form with one file, and its content type (RFC 7578)."""
    boundary = secrets.token_hex(16)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    return (
        head.encode() + content + f"\r\n--{boundary}--\r\n".encode(),
        f"multipart/form-data; boundary={boundary}",
    )
