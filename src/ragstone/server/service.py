"""What the routes share: the engine, the threads that may enter it, and where the service is in its life.

Everything that ends up in the engine goes through `search` or `answer`, so limits stand in one place.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ragstone import deadlines, wire
from ragstone.engine import Ragstone
from ragstone.errors import RagstoneError
from ragstone.server.access import Caller
from ragstone.server.indexing import BackgroundIndexing
from ragstone.server.requests import AskRequest, DocumentRequest, SearchRequest
from ragstone.server.streaming import answer_events
from ragstone.server.workers import Workers
from ragstone.stats import Stats
from ragstone.types import AnswerEvent, DocumentInfo, SearchResult

logger = logging.getLogger("ragstone.server")

T = TypeVar("T")

# A search holds a core for milliseconds: two threads a core keep the cores busy while one waits for disk.
SEARCH_THREADS = 2 * (os.cpu_count() or 1)
SEARCH_WAITING = 64
# Longer than that people notice, and a client that is refused may try another instance.
SEARCH_WAIT_S = 0.25
# One writes at a time, the store's lock sees to that; the next few wait for it, beside searches and not before them.
WRITE_THREADS = 1
WRITES_WAITING = 8
ANSWER_THREADS = 16  # answers mostly wait for a chat model, and few models serve more at once


class Service:
    """One engine behind HTTP; built by `create_app`, started and stopped by its lifespan."""

    def __init__(
        self,
        engine: Ragstone,
        *,
        indexing: BackgroundIndexing,
        streaming: bool,
        answer_limit_s: float,
    ) -> None:
        self.engine = engine
        self.indexing = indexing
        self.streaming = streaming
        self._answer_limit_s = answer_limit_s
        self._searching = Workers(
            "searches", threads=SEARCH_THREADS, waiting=SEARCH_WAITING, wait_s=SEARCH_WAIT_S
        )
        self._answering = Workers("answers", threads=ANSWER_THREADS, waiting=0)
        self._writing = Workers("writes", threads=WRITE_THREADS, waiting=WRITES_WAITING)
        self.loop = asyncio.get_running_loop()
        self._cut = asyncio.Event()
        self._warm = False
        self._warm_up_error: wire.Json | None = None
        self._stopping = False

    @property
    def warm(self) -> bool:
        """Whether the warm-up has ended, well or not."""
        return self._warm or self._warm_up_error is not None

    def unready_reason(self) -> wire.Json | None:
        """Why no request should be sent here now, as `{"code","message","hint"}`; None when ready."""
        if self._stopping:
            return {"code": "stopping", "message": "The service is shutting down.", "hint": ""}
        if self._warm_up_error is not None:
            return self._warm_up_error
        if not self._warm:
            return {"code": "starting", "message": "The model and the index are being loaded.", "hint": ""}
        return None

    async def start(self) -> None:
        """Load model and index so that the first request is not slow, then begin indexing."""
        try:
            await self.read(self.engine.warm_up)
            self._warm = True
        except RagstoneError as error:
            logger.error("warm-up failed: %s", error)  # noqa: TRY400 - an expected error needs no traceback
            self._warm_up_error = wire.error_json(error)
        except Exception:
            logger.exception("warm-up failed")
            self._warm_up_error = {"code": "internal", "message": "Loading failed.", "hint": "See the log."}
        self.indexing.start()

    def stop_soon(self, *, grace_s: float) -> None:
        """Be unready at once, stop indexing, and end running answers after `grace_s`; on the loop only."""
        if not self._stopping:
            self._stopping = True
            self.indexing.cancel()
            self.loop.call_later(grace_s, self._cut.set)

    def close(self) -> None:
        """Take no more work; the engine stays open (it belongs to the caller)."""
        self._stopping = True
        self.indexing.cancel()
        self._searching.close()
        self._answering.close()
        self._writing.close()

    async def read(self, call: Callable[[], T]) -> T:
        """A short call into the engine, in a thread; raises `BusyError` when too many wait."""
        return await self._searching.run(call)

    async def write(self, call: Callable[[], T]) -> T:
        """A call that changes the store, in the thread for those; raises `BusyError` when too many wait."""
        return await self._writing.run(call)

    async def search(self, request: SearchRequest, caller: Caller) -> SearchResult:
        """The hits for a validated request."""
        self._check(caller, *request.collection)
        return await self.read(
            partial(
                self.engine.search,
                request.q,
                top_k=request.k,
                mode=request.mode,
                filter=request.filter or None,
                collections=request.collection or None,
                graph=request.graph,
                rerank=request.rerank,
            )
        )

    async def documents(self, caller: Caller) -> list[DocumentInfo]:
        """The documents of the engine's collection, by uri."""
        self._check(caller)
        return await self.read(self.engine.documents)

    async def document(self, request: DocumentRequest, caller: Caller) -> tuple[DocumentInfo, str]:
        """A document and its whole text."""
        self._check(caller, *([request.collection] if request.collection else ()))
        return await self.read(partial(self.engine.document, request.uri, collection=request.collection))

    def progress(self, caller: Caller) -> wire.Json:
        """How far indexing is; it names documents of the engine's collection."""
        self._check(caller)
        return self.indexing.snapshot()

    async def stats(self, caller: Caller) -> Stats:
        """The engine's collection in numbers; of others only the names that the caller may see."""
        self._check(caller)
        stats = await self.read(self.engine.stats)
        return replace(stats, collections=tuple(filter(caller.sees, stats.collections)))

    def _check(self, caller: Caller, *collections: str) -> None:
        """Raise `NotFoundError` unless all of them, or the engine's own if none is named, are the caller's."""
        caller.check(collections or [self.engine.collection])

    def answer(self, request: AskRequest, caller: Caller) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer; leaving the generator stops it."""
        self._check(caller, *([request.collection] if request.collection else ()))
        start = partial(
            self.engine.ask_stream,
            request.question,
            top_k=request.k,
            filter=request.filter or None,
            collections=[request.collection] if request.collection else None,
            history=request.turns(),
        )
        return answer_events(
            lambda cancelled: start(cancelled=cancelled),
            workers=self._answering,
            stopping=self._cut,
            limit_s=deadlines.left_s(self._answer_limit_s),
            current=caller.current,
        )
