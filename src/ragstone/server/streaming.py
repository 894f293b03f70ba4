"""Answers as they are made: a blocking iterator of events pulled through threads, sent as server-sent events.

An answer ends in one of four ways, each told to the client: its last event, an error, the time limit, or
the service stopping. When the client goes away the iterator is cancelled and closed, which ends the model
call. One event is pulled at a time, so a slow reader slows the model down instead of filling memory.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ragstone import wire
from ragstone.server.problems import AnswerTimeoutError, RevokedError, StoppingError, error_event
from ragstone.server.workers import Workers
from ragstone.types import Answer, AnswerDone, AnswerEvent

logger = logging.getLogger("ragstone.server")

SEND_TIMEOUT_S = 10.0  # a reader that takes nothing for this long is cut off (RELIABILITY 27)

LOOK_AT_KEY_S = 0.25  # while nothing happens on a stream; a look is one `stat`

StartAnswer = Callable[[Callable[[], bool]], Iterator[AnswerEvent]]
"""Starts an answer; its argument says whether the client has gone (polled by the model call)."""


async def answer_events(
    start: StartAnswer,
    *,
    workers: Workers,
    stopping: asyncio.Event,
    limit_s: float,
    current: Callable[[], bool] = lambda: True,
) -> AsyncGenerator[AnswerEvent, None]:
    """The events of one answer, the last of which is `AnswerDone`.

    Holds one of `workers`' slots until the iterator has closed. Raises `BusyError` when there is none,
    `AnswerTimeoutError` after `limit_s` seconds, `StoppingError` once `stopping` is set, `RevokedError` when the
    caller's key is not `current` any more, and whatever the answer raises. Leaving the generator early cancels the
    answer.
    """
    workers.take_slot()
    answer = _RunningAnswer(start, workers)
    ends_at = asyncio.get_running_loop().time() + limit_s
    stop = asyncio.create_task(stopping.wait())
    pull: asyncio.Future[AnswerEvent | None] | None = None
    try:
        while True:
            pull = asyncio.wrap_future(answer.pull())
            either: set[asyncio.Future[Any]] = {pull, stop}
            while not (pull.done() or stop.done()) and current():
                left_s = ends_at - asyncio.get_running_loop().time()
                if left_s <= 0:
                    break
                await asyncio.wait(
                    either, timeout=min(left_s, LOOK_AT_KEY_S), return_when=asyncio.FIRST_COMPLETED
                )
            if not current():
                raise RevokedError("The key is not valid any more.", hint="Ask for another one.")
            if pull.done():
                event = pull.result()
                if event is None:
                    raise RuntimeError("an answer ended without its last event")
                yield event
                if isinstance(event, AnswerDone):
                    return
            elif stop.done():
                raise StoppingError("The service is shutting down.", hint="Ask again in a moment.")
            else:
                raise AnswerTimeoutError(
                    f"The answer was not ready after {limit_s:g} s and was stopped.",
                    hint="Ask for less, or use a faster chat model.",
                )
    finally:
        stop.cancel()
        answer.end()
        if pull is not None:
            pull.cancel()  # nobody will look at how an abandoned pull ends


class _RunningAnswer:
    """An answer's iterator, touched by one thread at a time, closed exactly once."""

    def __init__(self, start: StartAnswer, workers: Workers) -> None:
        self._start = start
        self._workers = workers
        self._cancelled = threading.Event()
        self._events: Iterator[AnswerEvent] | None = None
        self._pulling: Future[AnswerEvent | None] | None = None

    def pull(self) -> Future[AnswerEvent | None]:
        """The next event, None after the last."""
        self._pulling = self._workers.submit(self._next)
        return self._pulling

    def end(self) -> None:
        """Stop the answer; the thread that is in it, if any, leaves first. Returns at once."""
        self._cancelled.set()
        if self._pulling is None:
            self._workers.give_slot_back()
        else:
            # A generator cannot be closed while a thread runs in it, so that thread's end closes it.
            self._pulling.add_done_callback(lambda _: self._workers.finish(self._close))

    def _next(self) -> AnswerEvent | None:
        if self._events is None:
            self._events = self._start(self._cancelled.is_set)
        return next(self._events, None)

    def _close(self) -> None:
        try:
            close = getattr(self._events, "close", None)  # a plain iterator has nothing to close
            if close is not None:
                close()
        except Exception:
            logger.exception("closing an answer failed")
        finally:
            self._workers.give_slot_back()


async def whole_answer(events: AsyncGenerator[AnswerEvent, None], request: Request) -> Answer | None:
    """The finished answer, or None when the client left before it was there (and it was stopped)."""
    collect = asyncio.create_task(_last_answer(events))
    gone = asyncio.create_task(until_disconnect(request.receive))
    await first_of(collect, gone)
    return None if collect.cancelled() else collect.result()


async def _last_answer(events: AsyncGenerator[AnswerEvent, None]) -> Answer:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, AnswerDone):
                return event.answer
    raise RuntimeError("an answer ended without its last event")


class EventStream(Response):
    """Server-sent events, each a frame, as they come; an error among them becomes the last one."""

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        *,
        error_frame: Callable[[Exception], bytes] = lambda error: frame("error", error_event(error)),
    ) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]  # the length is not known; uvicorn sends chunks
        self.headers["x-accel-buffering"] = "no"  # a reverse proxy must not collect the stream
        self._frames = frames
        self._error_frame = error_frame

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        write = asyncio.create_task(self._write(send))
        gone = asyncio.create_task(until_disconnect(receive))
        await first_of(write, gone)
        if not write.cancelled():
            write.result()

    async def _write(self, send: Send) -> None:
        try:
            async with aclosing(self._frames):
                async for part in self._frames:
                    await _send_part(send, part)
        except (OSError, TimeoutError):
            return  # the reader is gone or takes nothing: there is nobody left to tell
        except Exception as error:  # noqa: BLE001 - told to the client and, if unexpected, logged
            await _send_part(send, self._error_frame(error))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def answer_frames(
    first: AnswerEvent, rest: AsyncGenerator[AnswerEvent, None]
) -> AsyncGenerator[bytes, None]:
    """An answer's events in their wire form, the last one `done`."""
    async with aclosing(rest):
        for named in wire.answer_events_json(first):
            yield frame(*named)
        async for event in rest:
            for named in wire.answer_events_json(event):
                yield frame(*named)


KEEP_ALIVE = b": still here\n\n"  # a comment, which clients pass over


def frame(name: str, data: wire.Json) -> bytes:
    """One server-sent event; JSON holds no raw line break, so one `data:` line is enough."""
    return b"event: " + name.encode("ascii") + b"\ndata: " + wire.encode(data) + b"\n\n"


async def _send_part(send: Send, part: bytes) -> None:
    # Not `wait_for`: in Python 3.11 it loses a cancellation that comes as the call inside it ends, and then
    # the stream of a client that has left would go on.
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": part, "more_body": True})


async def until_disconnect(receive: Receive) -> None:
    """Return when the client has left; what else it sends is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def first_of(work: asyncio.Task[Any], gone: asyncio.Task[None]) -> None:
    """Wait for the work or for the client to leave; cancel the other and wait until it has left too."""
    both: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()  # does nothing to a finished task
        gone.cancel()
        await asyncio.wait(both)
