"""The asynchronous client: the same flows run over asyncio's streams."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, cast

from ragstone.client import calls
from ragstone.client.blocking import RECEIVED_BYTES
from ragstone.client.heard import Heard
from ragstone.client.service import Service, ServiceClient
from ragstone.client.steps import Connect, Emit, Flow, HangUp, Pause, Read, Step, StreamEvent, T, Write

P = ParamSpec("P")


class _Wire:
    """One connection, plain or TLS, that does what a step says."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def do(self, step: Step) -> bytes:
        """The bytes of a `Read`, else none. Raises `OSError`."""
        match step:
            case Connect():
                self.hang_up()
                tls = (self._tls or ssl.create_default_context()) if step.tls else None
                async with asyncio.timeout(step.timeout_s):
                    self._streams = await asyncio.open_connection(step.host, step.port, ssl=tls)
            case Write():
                _, writer = self._open()
                writer.write(step.data)
                async with asyncio.timeout(step.timeout_s):
                    await writer.drain()
            case Read():
                reader, _ = self._open()
                async with asyncio.timeout(step.timeout_s):
                    return await reader.read(RECEIVED_BYTES)
            case Pause():
                await asyncio.sleep(step.seconds)
            case HangUp():
                self.hang_up()
        return b""

    def hang_up(self) -> None:
        """Close the connection at once: nothing that matters waits to be sent."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            raise OSError("no connection")
        return self._streams


class _Running:
    """A flow and its connection; `step` is what it waits for, None when it has ended with `result`."""

    def __init__(self, flow: Flow[Any], tls: ssl.SSLContext | None) -> None:
        self._flow = flow
        self._wire = _Wire(tls)
        self.result: Any = None

    async def next_event(self) -> StreamEvent | None:
        """Run until the flow emits something; None at its end."""
        try:
            step = next(self._flow)
            while not isinstance(step, Emit):
                try:
                    answer = await self._wire.do(step)
                except OSError as error:
                    step = self._flow.throw(error)
                else:
                    step = self._flow.send(answer)
            return step.event
        except StopIteration as end:
            self.result = end.value
            return None

    def close(self) -> None:
        self._flow.close()
        self._wire.hang_up()


async def _events(flow: Flow[None], tls: ssl.SSLContext | None) -> AsyncGenerator[StreamEvent, None]:
    running = _Running(flow, tls)
    try:
        while (event := await running.next_event()) is not None:
            yield event
    finally:
        running.close()


class AsyncAnswerStream(Heard):
    """The events of one answer, to be iterated once; leaving its `async with` block closes the connection."""

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        super().__init__()
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        return self.take(await anext(self._events))

    async def aclose(self) -> None:
        """Stop listening; the service stops answering."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _method(
    build: Callable[Concatenate[Service, P], Flow[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """A call of `calls` as a coroutine that returns its result."""

    @functools.wraps(build)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        running = _Running(build(self.service, *args, **kwargs), self._tls)
        try:
            await running.next_event()
            return cast(T, running.result)
        finally:
            running.close()

    return method


def _stream(
    build: Callable[Concatenate[Service, P], Flow[None]],
) -> Callable[Concatenate[AsyncClient, P], AsyncAnswerStream]:
    """A call of `calls` as a method that returns its events."""

    @functools.wraps(build)
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncAnswerStream:
        return AsyncAnswerStream(_events(build(self.service, *args, **kwargs), self._tls))

    return method


class AsyncClient(ServiceClient):
    """A service's calls as coroutines; arguments and errors are those of `Client`.

        client = AsyncClient("http://127.0.0.1:8000")
        print((await client.ask("When does the ferry leave?")).text)

    Cancelling the task of a call closes its connection, which stops the service's work.
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
