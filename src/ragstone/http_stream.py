"""One HTTP exchange that can be given up at any moment: connect, send, read lines.

Every wait is a short poll, so a cancelled or overdue exchange ends within `POLL_S` whether the server refuses,
hangs, or drips a byte a second; a blocking client can be closed only between bytes. Knows nothing of models.
The standard library does the HTTP; this adds the patience. One connection per exchange: the handshake is
small beside a model's first token, and no idle connection can go stale.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import json
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from ragstone.errors import CancelledError, InputError, ModelError

# 50 ms: a stop is noticed well inside the promised second, at 20 wake-ups a second while waiting.
POLL_S = 0.05
# A line of server-sent events holds one delta; 1 MiB is thousands of times the longest seen.
LINE_BYTES_MAX = 1 << 20
# Error bodies are read for their message only.
ERROR_BODY_BYTES_MAX = 16 << 10

Cancelled = Callable[[], bool]


@dataclass(slots=True)
class Patience:
    """How long an exchange may still take. Times are `time.monotonic()` seconds.

    `read_timeout_s` bounds the silence between two arrivals of bytes, `deadline` the whole.
    """

    deadline: float
    read_timeout_s: float
    cancelled: Cancelled | None

    def check(self, since: float, *, limit_s: float, waiting_for: str) -> None:
        """Raise if the caller stopped, the deadline passed, or `limit_s` went by since `since`."""
        now = time.monotonic()
        if self.cancelled is not None and self.cancelled():
            raise CancelledError(f"stopped while waiting for {waiting_for}")
        if now >= self.deadline:
            raise ModelError(
                f"the deadline passed while waiting for {waiting_for}",
                hint="allow more time or ask for a shorter answer",
                code="model_timeout",
            )
        if now - since >= limit_s:
            raise ModelError(
                f"no sign of {waiting_for} for {limit_s:g} s",
                hint="check that the model server is up and not overloaded",
                code="model_timeout",
            )

    def sleep(self, seconds: float, *, waiting_for: str) -> None:
        """Wait `seconds`, waking for the caller's stop and the deadline."""
        start = time.monotonic()
        while (left := seconds - (time.monotonic() - start)) > 0:
            self.check(start, limit_s=float("inf"), waiting_for=waiting_for)
            time.sleep(min(POLL_S, left))


class PatientSocket:
    """A non-blocking socket, plain or TLS, that looks blocking to `http.client` but keeps asking `Patience`."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._socket = sock
        self._patience = patience

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        """What `http.client.HTTPResponse` reads from."""
        return io.BufferedReader(_Arrivals(self))

    def receive_into(self, buffer: memoryview) -> int:
        """Bytes received, 0 at the end of the stream."""
        received: int = self._retry(
            lambda: self._socket.recv_into(buffer), select.POLLIN, "the model server to answer"
        )
        return received

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        view = memoryview(data)
        while view:
            sent = self._retry(
                functools.partial(self._socket.send, view),
                select.POLLOUT,
                "the model server to take the question",
            )
            view = view[sent:]

    def start_tls(self, host: str, context: ssl.SSLContext) -> None:
        """Encrypt from here on; raises `ssl.SSLError` if the certificate does not hold."""
        wrapped = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._socket = wrapped
        self._retry(wrapped.do_handshake, select.POLLIN, "the TLS handshake")

    def close(self) -> None:
        """Nothing: `http.client` closes its end after the headers, while the body is still to be read."""

    def hang_up(self) -> None:
        """Close the connection; the server sees it at once."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _retry(self, operation: Callable[[], Any], events: int, waiting_for: str) -> Any:
        since = time.monotonic()
        while True:
            wanted = events
            try:
                return operation()
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except BlockingIOError:
                pass
            self._patience.check(since, limit_s=self._patience.read_timeout_s, waiting_for=waiting_for)
            _wait(self._socket, wanted)


class _Arrivals(io.RawIOBase):
    """The reading end of a `PatientSocket` as a raw stream."""

    def __init__(self, source: PatientSocket) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.receive_into(memoryview(buffer))


@contextmanager
def post(
    url: str, body: bytes, headers: Mapping[str, str], *, connect_timeout_s: float, patience: Patience
) -> Iterator[http.client.HTTPResponse]:
    """The response to a POST once its headers are here; the connection is closed on leaving the block.

    Raises `ModelError` (`model_unreachable`, `model_cut`, `model_timeout`) and `CancelledError`.
    """
    target = urlsplit(url)
    if target.scheme not in {"http", "https"} or not target.hostname:
        raise InputError(f"not an http(s) address: {url}", hint="for example http://127.0.0.1:11434/v1")
    port = target.port or (443 if target.scheme == "https" else 80)
    place = f"{target.scheme}://{target.hostname}:{port}"
    patient: PatientSocket | None = None
    try:
        try:
            patient = PatientSocket(_connect(target.hostname, port, connect_timeout_s, patience), patience)
            if target.scheme == "https":
                patient.start_tls(target.hostname, ssl.create_default_context())
        except OSError as error:
            raise _failed(f"cannot reach the model server at {place}", error, "model_unreachable") from error
        connection = http.client.HTTPConnection(target.hostname, port)
        connection.sock = cast(socket.socket, patient)
        path = target.path + (f"?{target.query}" if target.query else "")
        try:
            connection.request("POST", path or "/", body=body, headers=dict(headers))
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise _failed(f"the model server at {place} hung up", error, "model_cut") from error
        yield response
    finally:
        if patient is not None:
            patient.hang_up()


def lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Lines of the body without their ends. Raises `ModelError` if the connection breaks or a line is endless."""
    while True:
        try:
            line = response.readline(LINE_BYTES_MAX)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(
                f"the model server broke off its answer: {type(error).__name__}",
                hint="ask again; look at the model server's log",
                code="model_cut",
            ) from error
        if not line:
            return
        if len(line) >= LINE_BYTES_MAX:
            raise ModelError(
                f"the model server sent a line of more than {LINE_BYTES_MAX} bytes",
                hint="check that the address is an OpenAI-compatible endpoint",
                code="model_protocol",
            )
        yield line.rstrip(b"\r\n")


def read_body(response: http.client.HTTPResponse, *, limit: int) -> bytes:
    """At most `limit` bytes of the body; what arrived before a break counts."""
    try:
        return response.read(limit)
    except http.client.IncompleteRead as error:
        return error.partial[:limit]
    except OSError:  # the status is already known: a lost error text changes nothing for the caller
        return b""


def error_text(body: bytes) -> str:
    """The server's own message, one line of at most 300 characters."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        inner = value.get("error", value)
        text = str(inner.get("message", inner) if isinstance(inner, dict) else inner)
    return " ".join(text.split())[:300]


def _connect(host: str, port: int, timeout_s: float, patience: Patience) -> socket.socket:
    """A connected non-blocking socket; each address of `host` is tried in turn. Raises `OSError`."""
    failure: OSError | None = None
    since = time.monotonic()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0)  # never blocks
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(BlockingIOError):
                sock.connect(address)
            while not _wait(sock, select.POLLOUT):
                patience.check(since, limit_s=timeout_s, waiting_for=f"a connection to {host}:{port}")
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, os.strerror(code))
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError(f"no address for {host}")


def _wait(sock: socket.socket, events: int) -> bool:
    """Whether something happened on the socket within one poll."""
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(POLL_S * 1000))


def _failed(what: str, error: Exception, code: str) -> ModelError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ModelError(f"{what}: {reason}", hint="start it, or correct the model's address", code=code)
