"""uvicorn's connections, with a limit on everything that it lets wait for ever, and responses that leave in one piece.

uvicorn keeps a connection that sends half a request, or reads nothing, for as long as it is open. Here a request's head
has a time to be whole, an unread response has to go on being taken, a refused body is not read to its end, and when
there are too many connections the one that has waited longest without a request makes room.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ragstone.server.boundary import SECURITY_HEADERS
from ragstone.server.problems import problem
from ragstone.server.shedding import LoadShedding

SEND_BUFFER_BYTES = 256 * 1024  # what the kernel keeps for a reader; by itself it would take up to 4 MB
HELD_BYTES = 64 * 1024  # more is passed on at once, so that a slow reader is noticed
MIN_READ_RATE = 1024  # bytes a second that a reader has to take once its buffers are full
NEW_S = 1.0  # a client sends its request with the first packet; a busy loop reads it a little later

_REFUSED = {
    431: (
        "head_too_large",
        "The head of the request is too large.",
        "Send fewer or shorter parameters, or a body.",
    ),
    400: ("bad_request", "This is not a request of HTTP.", ""),
}
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds for a request's head, for a reader to take something, and for the rest of a refused body."""

    head_s: float = 10.0
    reader_s: float = 10.0
    refused_body_s: float = 1.0
    connections: int = 400  # twice that, the most there can be, is below the usual limit of 1024 open files


class OnePiece:
    """A transport that sends what is written in one turn of the event loop together.

    uvicorn writes the head of a response, then its body: two calls into the kernel, two packets, and a client that is
    woken for half a response.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = bytearray()

    def write_now(self, data: bytes) -> None:
        """Send `data` behind what is held: nothing more is written in this turn."""
        self._held += data
        self.flush()

    def write(self, data: bytes) -> None:
        """Send `data` with what else is written in this turn."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held += data
        if len(self._held) >= HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send it now."""
        held, self._held = self._held, bytearray()
        if held:
            self._transport.write(held)

    def write_eof(self) -> None:
        """Send what is held, and say that nothing follows."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(H11Protocol):
    """One connection, watched by two timers: one until a request's head is whole, one while the reader is slow."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    shedding: ClassVar[LoadShedding | None] = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._out = OnePiece(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._out))
        # What a request sets for itself, a deadline say, is its own. But its task has asyncio read on after a large
        # body, and begins the request that came behind: without this they would go on with what it had set.
        self._context = contextvars.copy_context()
        # Whatever is not taken at once counts as a slow reader: also the rest of a response that is complete.
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._reader_timer: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._waiting_since_s = self.loop.time()
        self._refused = False
        self._expect_head(self.limits.head_s)
        if len(self.connections) > self.limits.connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if (response := self._refusal(data)) is not None:
            self._stop_head_timer()
            self._out.write_now(response)  # h11 has no part in it: it saw no request
            self.on_response_complete()
            return
        if self._is_idle and self._head_timer is None:
            self._expect_head(self.limits.head_s)
        self._context.run(super().data_received, data)
        if not self._is_idle:
            self._stop_head_timer()

    def send_400_response(self, msg: str) -> None:
        """Say why a request is refused that h11 cannot read, and read on for a while.

        Closed at once, the connection would be reset under whoever is still sending, and the answer lost.
        """
        error = sys.exc_info()[1]  # uvicorn handles h11's error here
        too_large = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
        status = 431 if too_large else 400
        code, detail, hint = _REFUSED[status]
        headers = {"connection": "close", "cache-control": "no-store", **SECURITY_HEADERS}
        answer = problem(status, code=code, detail=detail, hint=hint, headers=headers)
        reason = HTTPStatus(status).phrase.encode()
        head = h11.Response(status_code=status, headers=answer.raw_headers, reason=reason)
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:  # the fault is in its body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write_eof()
        self._expect_head(self.limits.refused_body_s)

    def on_response_complete(self) -> None:
        self._waiting_since_s = self.loop.time()
        self._context.run(super().on_response_complete)
        if self._is_idle and self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._expect_head(self.limits.refused_body_s)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_head_timer()
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_reader_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_reader_timer()
        super().connection_lost(exc)

    @property
    def _is_idle(self) -> bool:
        """Whether no request is being served."""
        return self.cycle is None or self.cycle.response_complete

    def _refusal(self, data: bytes) -> bytes | None:
        """What to answer to `data` without parsing it; None almost always."""
        if (
            self.shedding is None
            or not self._is_idle
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return None
        between_requests = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        return self.shedding.refusal(data) if between_requests else None

    def _make_room(self) -> None:
        """Close the connection that has waited longest for a request.

        Not one that came just now, whose request may not have been read yet; but at twice the limit, whichever it is.
        """
        waiting = [other for other in self.connections if isinstance(other, Connection) and other._is_idle]
        longest = min(waiting, key=lambda other: other._waiting_since_s)
        waited_s = self.loop.time() - longest._waiting_since_s
        if waited_s > NEW_S or len(self.connections) > 2 * self.limits.connections:
            longest._give_up()

    def _expect_head(self, seconds: float) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        """Close a connection that has not sent a whole request; from now on it counts no more."""
        self._stop_head_timer()
        self.connections.discard(self)
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self.transport.write(_TIMED_OUT)
        self.transport.close()

    def _watch_reader(self) -> None:
        self._stop_reader_timer()
        left_bytes = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(self.limits.reader_s, self._check_reader, left_bytes)

    def _check_reader(self, before_bytes: int) -> None:
        self._reader_timer = None
        taken_bytes = before_bytes - self.transport.get_write_buffer_size()
        if taken_bytes < MIN_READ_RATE * self.limits.reader_s:
            self.transport.abort()  # `close` would wait until the rest has been read
        else:
            self._watch_reader()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None


def connections_with(limits: ConnectionLimits, shedding: LoadShedding | None = None) -> type[Connection]:
    """The class for uvicorn's `http=`, with these limits, and what refuses before requests are parsed."""
    return type("Connection", (Connection,), {"limits": limits, "shedding": shedding})
