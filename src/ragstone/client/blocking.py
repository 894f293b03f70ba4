"""The blocking client: flows run over a socket."""

from __future__ import annotations

import functools
import socket
import ssl
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, cast

from ragstone.client import calls
from ragstone.client.heard import Heard
from ragstone.client.service import Service, ServiceClient
from ragstone.client.steps import Connect, Emit, Flow, HangUp, Pause, Read, Step, StreamEvent, T, Write

P = ParamSpec("P")

RECEIVED_BYTES = 64 << 10


class _Wire:
    """One socket, plain or TLS, that does what a step says."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._socket: socket.socket | None = None

    def do(self, step: Step) -> bytes:
        """The bytes of a `Read`, else none. Raises `OSError`."""
        match step:
            case Connect():
                self.hang_up()
                self._connect(step)
            case Write():
                self._within(step.timeout_s).sendall(step.data)
            case Read():
                return self._within(step.timeout_s).recv(RECEIVED_BYTES)
            case Pause():
                time.sleep(step.seconds)
            case HangUp():
                self.hang_up()
        return b""

    def hang_up(self) -> None:
        """Close the connection; the service sees it at once."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self, step: Connect) -> None:
        self._socket = socket.create_connection((step.host, step.port), max(step.timeout_s, 0.001))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if step.tls:
            context = self._tls or ssl.create_default_context()
            self._socket = context.wrap_socket(self._socket, server_hostname=step.host)

    def _within(self, seconds: float) -> socket.socket:
        if self._socket is None:
            raise OSError("no connection")
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(seconds)
        return self._socket


def _events(flow: Flow[T], tls: ssl.SSLContext | None) -> Generator[StreamEvent, None, T]:
    """Run a flow; yields what it emits and returns its result."""
    wire = _Wire(tls)
    try:
        step = next(flow)
        while True:
            if isinstance(step, Emit):
                yield step.event
                step = next(flow)
                continue
            try:
                answer = wire.do(step)
            except OSError as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        return cast(T, end.value)
    finally:
        flow.close()
        wire.hang_up()


class AnswerStream(Heard):
    """The events of one answer, to be iterated once; leaving its `with` block closes the connection."""

    def __init__(self, events: Generator[StreamEvent, None, None]) -> None:
        super().__init__()
        self._events = events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        return self.take(next(self._events))

    def close(self) -> None:
        """Stop listening; the service stops answering."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _method(build: Callable[Concatenate[Service, P], Flow[T]]) -> Callable[Concatenate[Client, P], T]:
    """A call of `calls` as a method that returns its result."""

    @functools.wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        running = _events(build(self.service, *args, **kwargs), self._tls)
        while True:
            try:
                next(running)
            except StopIteration as end:
                return cast(T, end.value)

    return method


def _stream(
    build: Callable[Concatenate[Service, P], Flow[None]],
) -> Callable[Concatenate[Client, P], AnswerStream]:
    """A call of `calls` as a method that returns its events."""

    @functools.wraps(build)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> AnswerStream:
        return AnswerStream(_events(build(self.service, *args, **kwargs), self._tls))

    return method


class Client(ServiceClient):
    """A service's calls, blocking. Holds no connection, so it needs no closing and threads may share it.

        client = Client("http://127.0.0.1:8000")
        print(client.ask("When does the ferry leave?").text)

    `timeout_s` bounds each attempt of a call, and the silence between two arrivals of a stream; `retries` more are made
    for what is safe to repeat. `tls` replaces the system's trusted certificates. Raises `InputError` for an address or
    key that cannot be one.
    """

    search = _method(calls.search)
    ask = _method(calls.ask)
    ask_stream = _stream(calls.ask_stream)
    stats = _method(calls.stats)
    ready = _method(calls.ready)
    documents = _method(calls.documents)
    document = _method(calls.document)
    add = _method(calls.add)
    upload = _method(calls.upload)
    index = _method(calls.index)
    delete = _method(calls.delete)
    job = _method(calls.job)
    wait_for_job = _method(calls.wait_for_job)
    cancel_job = _method(calls.cancel_job)
