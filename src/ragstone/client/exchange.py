"""One request and its response: HTTP/1.1 by h11, as a flow. One connection for each, so that none can be stale.

Knows no route. Redirects are not followed: the key would go along.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ragstone.client.errors import ClientError, ServiceError
from ragstone.client.service import CONNECT_TIMEOUT_S, Service
from ragstone.client.steps import Connect, Flow, HangUp, Read, Write
from ragstone.errors import RagstoneError
from ragstone.version import __version__

try:
    import h11
except ModuleNotFoundError as error:
    raise RagstoneError(
        "the client needs a package that is not installed: h11",
        hint="install it with: pip install 'ragstone[client]'",
        code="extra_missing",
    ) from error

BODY_BYTES_MAX = 64 << 20  # a window of a document's text is 400 KB, a page of 1,000 documents about as much
ERROR_BODY_BYTES_MAX = 64 << 10  # a problem document is a few hundred bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `idempotent`: sending it twice does what sending it once does, so a lost one may be repeated."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    content_type: str = "application/json"
    idempotent: bool = True


@dataclass(slots=True)
class Reply:
    """A response whose headers are here; its body comes piece by piece."""

    status: int
    headers: Mapping[str, str]
    _connection: h11.Connection
    _left_s: Callable[[], float]

    def piece(self) -> Flow[bytes]:
        """The next bytes of the body; none at its end. Raises `ClientError`."""
        while True:
            event = yield from _next_event(self._connection, self._left_s)
            if isinstance(event, h11.EndOfMessage):
                return b""
            if isinstance(event, h11.Data) and event.data:
                return bytes(event.data)

    def body(self, *, limit_bytes: int = BODY_BYTES_MAX) -> Flow[bytes]:
        """The whole body. Raises `ClientError`, also for more than `limit_bytes`."""
        parts: list[bytes] = []
        left_bytes = limit_bytes
        while piece := (yield from self.piece()):
            left_bytes -= len(piece)
            if left_bytes < 0:
                raise ClientError(f"the response is longer than {limit_bytes:,} bytes", code="protocol")
            parts.append(piece)
        return b"".join(parts)


def request(service: Service, call: Call, left_s: Callable[[], float]) -> Flow[Reply]:
    """The response to a call, whatever its status; `left_s` says how long each wait may still be.

    Raises `ClientError`.
    """
    try:
        timeout_s = min(CONNECT_TIMEOUT_S, left_s())
        yield Connect(service.host, service.port, service.tls, timeout_s)
    except OSError as error:
        raise ClientError(
            f"no service answers at {service.origin}: {_reason(error)}",
            hint="start one with `ragstone serve`, or correct the address",
            code="unreachable",
        ) from error
    connection = h11.Connection(h11.CLIENT)
    message = _message(connection, service, call)
    refused_early = (BrokenPipeError, ConnectionResetError)  # the answer, if there is one, says why
    with suppress(*refused_early), _translated(passing=refused_early):
        yield Write(message, left_s())
    while True:
        event = yield from _next_event(connection, left_s)
        if isinstance(event, h11.Response):
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            return Reply(event.status_code, headers, connection, left_s)


def json_of(service: Service, call: Call, *, accepted: frozenset[int] = frozenset()) -> Flow[Any]:
    """The JSON that a call is answered with, in `service.timeout_s` seconds.

    Raises `ClientError`, and `ServiceError` for every status but those of success and the `accepted` ones.
    """
    ends_s = service.clock() + service.timeout_s
    reply = yield from request(service, call, lambda: ends_s - service.clock())
    if not 200 <= reply.status < 300 and reply.status not in accepted:
        raise (yield from problem(reply))
    body = yield from reply.body()
    yield HangUp()
    try:
        return json.loads(body) if body else None
    except ValueError as error:
        raise ClientError(
            f"what {service.origin} sent is not JSON", hint="is it a ragstone service?", code="protocol"
        ) from error


def problem(reply: Reply) -> Flow[ServiceError]:
    """The error that a response of another status than expected stands for."""
    members: dict[str, Any] = {}
    body = b""
    with suppress(ClientError):  # the status is known: a lost text changes nothing
        body = yield from reply.body(limit_bytes=ERROR_BODY_BYTES_MAX)
    with suppress(ValueError):
        found = json.loads(body)
        members = found if isinstance(found, dict) else {}
    hint = str(members.get("hint") or "")
    if 300 <= reply.status < 400:
        hint = f"give the address itself: {reply.headers.get('location', 'none is named')}"
    return ServiceError(
        str(members.get("detail") or f"the service answered with status {reply.status}"),
        hint=hint,
        code=str(members.get("code") or "service"),
        status=reply.status,
        request_id=str(members.get("request_id") or reply.headers.get("x-request-id", "")),
        retry_after_s=_seconds(reply.headers.get("retry-after", "")),
    )


def _message(connection: h11.Connection, service: Service, call: Call) -> bytes:
    query = f"?{urlencode(call.query)}" if call.query else ""
    headers = [
        ("Host", service.authority),
        ("User-Agent", f"ragstone/{__version__}"),
        ("Accept", "application/json, text/event-stream"),
        ("Connection", "close"),
    ]
    if service.key:
        headers.append(("Authorization", f"Bearer {service.key}"))
    if call.body is not None:
        headers += [("Content-Type", call.content_type), ("Content-Length", str(len(call.body)))]
    start = h11.Request(method=call.method, target=service.base_path + call.path + query, headers=headers)
    parts = [connection.send(start)]
    if call.body:
        parts.append(connection.send(h11.Data(data=call.body)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


def _next_event(connection: h11.Connection, left_s: Callable[[], float]) -> Flow[h11.Event]:
    at_end = False
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            if at_end:
                raise _cut() from error
            raise ClientError(f"what arrived is not HTTP: {error}", code="protocol") from error
        if event is h11.NEED_DATA:
            with _translated():
                data = yield Read(left_s())
            at_end = not data
            connection.receive_data(data)
        elif isinstance(event, h11.Event):
            return event
        else:
            raise _cut()


@contextmanager
def _translated(*, passing: tuple[type[OSError], ...] = ()) -> Iterator[None]:
    """What a socket raises, as `ClientError`."""
    try:
        yield
    except passing:
        raise
    except TimeoutError as error:
        raise ClientError(
            "the service did not answer in time", hint="allow more time with timeout_s", code="timeout"
        ) from error
    except OSError as error:
        raise _cut(_reason(error)) from error


def _cut(reason: str = "it closed early") -> ClientError:
    return ClientError(f"the connection broke: {reason}", hint="try again", code="cut")


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _seconds(text: str) -> float | None:
    """Of a Retry-After header; None for a date, which our service does not send."""
    return float(text) if text.isascii() and text.isdigit() else None
