"""What the routes share: the engine, the threads that may enter it, and where the service is in its life.

Everything that ends up in the engine goes through `search` or `answer`, so limits stand in one place.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ragstone import deadlines, wire
from ragstone.engine import Ragstone
from ragstone.engine_models import OPENAI_BASE_URL
from ragstone.errors import RagstoneError
from ragstone.memory.answering import answer_with_memory
from ragstone.server.access import Caller
from ragstone.server.changes import Changes
from ragstone.server.job import Job
from ragstone.server.job_records import JobRecords
from ragstone.server.jobs import Jobs
from ragstone.server.memories import Memories
from ragstone.server.metrics import ServiceMetrics
from ragstone.server.problems import AnswerTimeoutError, StoppingError
from ragstone.server.requests import AskRequest, DocumentRequest, DocumentsRequest, SearchRequest
from ragstone.server.retrieval import Retrieval
from ragstone.server.search_lane import SearchLane
from ragstone.server.streaming import answer_events
from ragstone.server.webhooks import Webhooks
from ragstone.server.workers import Room, Workers
from ragstone.stats import Stats
from ragstone.types import Answer, AnswerDone, AnswerEvent, DocumentInfo

logger = logging.getLogger("ragstone.server")

T = TypeVar("T")

ANSWER_THREADS = 16  # answers mostly wait for a chat model, and few models serve more at once
CHAT_CHECK_S = 10.0  # a balancer asks every few seconds; the model's host need not hear of each
CHAT_CHECK_TIMEOUT_S = 1.0


class Service:
    """One engine behind HTTP; built by `create_app`, started and stopped by its lifespan."""

    def __init__(
        self,
        engine: Ragstone,
        *,
        roots: Sequence[str | Path],
        streaming: bool,
        answer_limit_s: float,
        metrics: ServiceMetrics,
        webhooks: Webhooks | None,
        search_processes: int = 0,
    ) -> None:
        self.engine = engine
        self.streaming = streaming
        self.metrics = metrics
        self._records = JobRecords(engine.settings.data_dir)
        self.jobs = Jobs(self._records)
        self.changes = Changes(engine, self.jobs, records=self._records, roots=roots, on_end=self._job_ended)
        self.memories = Memories(engine)
        self.retrieval = Retrieval(engine, self.memories)
        self._answer_limit_s = answer_limit_s
        self._webhooks = webhooks
        self.searches = SearchLane(engine, processes=search_processes, metrics=metrics)
        self._answering = Workers(Room("answers", waiting=0), threads=ANSWER_THREADS)
        self.loop = asyncio.get_running_loop()
        self._cut = asyncio.Event()
        self._warm = False
        self._warm_up_error: wire.Json | None = None
        self.stopping = asyncio.Event()  # from the moment that the service is told to stop
        self._chat_checked = (float("-inf"), "ok")  # when, and what came of it

    @property
    def warm(self) -> bool:
        """Whether the warm-up has ended, well or not."""
        return self._warm or self._warm_up_error is not None

    def unready_reason(self) -> wire.Json | None:
        """Why no request should be sent here now, as `{"code","message","hint"}`; None when ready."""
        if self.stopping.is_set():
            return {"code": "stopping", "message": "The service is shutting down.", "hint": ""}
        if self._warm_up_error is not None:
            return self._warm_up_error
        if not self._warm:
            return {"code": "starting", "message": "The model and the index are being loaded.", "hint": ""}
        return None

    async def start(self) -> None:
        """Load model and index so that the first request is not slow, then begin with what there is to do."""
        if self._webhooks is not None:
            self._webhooks.start()
        try:
            await self.changes.run(self.changes.start)  # queued already, so that the page says what will come
        except Exception:  # what was left of uploads cannot be read: the service is as good without
            logger.exception("taking up earlier work failed")
        try:
            if self.engine.settings.warm_up:
                await self.read(self.engine.warm_up)
            await self.searches.processes.start()
            self._warm = True
        except RagstoneError as error:
            logger.error("warm-up failed: %s", error)  # noqa: TRY400 - an expected error needs no traceback
            self._warm_up_error = wire.error_json(error)
        except Exception:
            logger.exception("warm-up failed")
            self._warm_up_error = {"code": "internal", "message": "Loading failed.", "hint": "See the log."}
        await self.memories.start()
        self.jobs.start()

    def stop_soon(self, *, grace_s: float) -> None:
        """Be unready at once, stop indexing, and end running answers after `grace_s`; on the loop only."""
        if not self.stopping.is_set():
            self.stopping.set()
            self.jobs.stop()
            self.loop.call_later(grace_s, self._cut.set)

    async def close(self, *, grace_s: float) -> None:
        """Take no more work and end every thread; the engine stays open (it belongs to the caller).

        A running job gets `grace_s` seconds to come to a point where it can stop.
        """
        self.stopping.set()
        self.jobs.stop()
        self._answering.close()
        self.changes.close()
        await self.searches.close()
        await self.memories.stop()
        for end in (partial(self._end_jobs, grace_s), self.retrieval.close, self.memories.close):
            await asyncio.to_thread(end)
        if self._webhooks is not None:
            await asyncio.to_thread(self._webhooks.stop)

    def _end_jobs(self, grace_s: float) -> None:
        if self.jobs.join(grace_s):  # else a job runs on, and holds its record until the process has ended
            self._records.close()

    async def read(self, call: Callable[[], T]) -> T:
        """A short call into the engine, in a thread; raises `BusyError` when too many wait."""
        return await self.searches.read(call)

    async def run_long(self, call: Callable[[Callable[[], bool]], T]) -> T:
        """A call that may take as long as an answer, in a thread; its argument says whether it should stop.

        Raises `BusyError` when all places for answers are taken, `AnswerTimeoutError`, `StoppingError`.
        """
        gone = threading.Event()
        work = asyncio.ensure_future(self._answering.run(partial(call, gone.is_set)))
        stop = asyncio.create_task(self._cut.wait())
        either: set[asyncio.Future[Any]] = {work, stop}
        try:
            limit_s = deadlines.left_s(self._answer_limit_s)
            await asyncio.wait(either, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if stop.done():
                raise StoppingError("The service is shutting down.", hint="Ask again in a moment.")
            raise AnswerTimeoutError(
                f"The answer was not ready after {self._answer_limit_s:g} s and was stopped.",
                hint="Ask for less, or use a faster chat model.",
            )
        finally:
            gone.set()
            work.cancel()
            stop.cancel()

    async def search(self, request: SearchRequest, caller: Caller) -> bytes:
        """The hits for a validated request, as JSON; by a search process, where there is one."""
        self.check(caller, *request.collection)
        return await self.searches.search(request)

    async def documents(self, request: DocumentsRequest, caller: Caller) -> list[DocumentInfo]:
        """The documents of a collection that pass the filter, all pages, by uri."""
        name = self.named(request.collection, caller)
        return await self.read(partial(self.engine.documents, filter=request.filter or None, collection=name))

    async def document(self, request: DocumentRequest, caller: Caller) -> tuple[DocumentInfo, str]:
        """A document and its whole text."""
        name = self.named(request.collection, caller)
        return await self.read(partial(self.engine.document, request.uri, collection=name))

    async def stats(self, caller: Caller, collection: str | None = None) -> Stats:
        """A collection in numbers; of others only the names that the caller may see."""
        name = self.named(collection, caller)
        stats = await self.read(partial(self.engine.stats, collection=name))
        everywhere = self.searches.figures()
        return replace(
            stats,
            collections=tuple(filter(caller.sees, stats.collections)),
            caches={**stats.caches, **everywhere.caches},
            recall=everywhere.recall.get(name),
            degraded=everywhere.degraded,
        )

    async def caches(self) -> Mapping[str, Mapping[str, int]]:
        """What is kept, by name, in numbers; of all processes together."""
        stats = await self.read(self.engine.stats)
        return {**stats.caches, **self.searches.figures().caches}

    def named(self, collection: str | None, caller: Caller) -> str:
        """The collection meant, the engine's own if none is named. Raises `NotFoundError` unless it is the caller's."""
        name = collection or self.engine.collection
        caller.check([name])
        return name

    async def existing(self, collection: str | None, caller: Caller) -> str:
        """As `named`; raises `NotFoundError` also where nothing has been put into it."""
        name = self.named(collection, caller)
        await self.read(partial(self.engine.version, [name]))
        return name

    def check(self, caller: Caller, *collections: str) -> None:
        """Raise `NotFoundError` unless all of them, or the engine's own if none is named, are the caller's."""
        caller.check(collections or [self.engine.collection])

    def answer(self, request: AskRequest, caller: Caller) -> AsyncGenerator[AnswerEvent, None]:
        """The events of an answer; leaving the generator stops it."""
        collection = self.named(request.collection, caller)
        ask = partial(
            self.engine.ask_stream,
            request.question,
            top_k=request.k,
            filter=request.filter or None,
            collections=[collection],
            history=request.turns(),
        )

        def start(cancelled: Callable[[], bool]) -> Iterator[AnswerEvent]:
            if not request.memory:
                return ask(cancelled=cancelled)
            return answer_with_memory(
                request.question,
                request.turns(),
                opened=partial(self.memories.store, collection),
                ask=lambda memories: ask(memories=memories, cancelled=cancelled),
            )

        events = answer_events(
            start,
            workers=self._answering,
            stopping=self._cut,
            limit_s=deadlines.left_s(self._answer_limit_s),
            current=caller.current,
        )
        return self._noted(events, request.question, collection)

    async def _noted(
        self, events: AsyncGenerator[AnswerEvent, None], question: str, collection: str
    ) -> AsyncGenerator[AnswerEvent, None]:
        """The events, the finished answer told to the metrics and the webhook."""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, AnswerDone):
                    self.metrics.answer(event.answer)
                    if self._webhooks is not None:
                        self._webhooks.send("answer.done", _told(event.answer, question, collection))
                yield event

    def _job_ended(self, job: Job) -> None:
        if self._webhooks is not None:
            self._webhooks.send(f"{job.kind}.{job.state}", job.snapshot())

    # -- health ------------------------------------------------------------------------------------------

    async def health(self) -> tuple[wire.Json, wire.Json | None]:
        """Each part's state in a word, and why no request should be sent here, None when it should.

        A chat model that cannot be reached is said and no reason: searching works, and so do answers without it.
        """
        there, chat = await asyncio.to_thread(lambda: (self._has_index(), self._chat_state()))
        model = "ok" if self._warm else "failed" if self._warm_up_error is not None else "loading"
        checks = {
            "model": model,
            "index": "ok" if there else "missing",
            "chat_model": chat,
            "search_processes": self.searches.processes.state,
        }
        reason = self.unready_reason()
        if reason is None and not there:
            reason = {
                "code": "index_missing",
                "message": f"There is no collection {self.engine.collection!r} yet.",
                "hint": "Make one with: ragstone index FOLDER, or send files to POST /api/documents",
            }
        return checks, reason

    def _has_index(self) -> bool:
        return self.engine.collection in self.engine.collections()

    def _chat_state(self) -> str:
        """`off`, `ok` or `unreachable`: whether somebody listens at the chat model's address."""
        settings = self.engine.settings
        if settings.chat_model is None:
            return "off"
        checked_s, state = self._chat_checked
        if time.monotonic() - checked_s >= CHAT_CHECK_S:
            parts = urlsplit(settings.chat_base_url or OPENAI_BASE_URL)
            place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            try:
                socket.create_connection(place, timeout=CHAT_CHECK_TIMEOUT_S).close()
                state = "ok"
            except OSError:
                state = "unreachable"
            self._chat_checked = (time.monotonic(), state)
        return state


def _told(answer: Answer, question: str, collection: str) -> wire.Json:
    """What a webhook says of an answer: all but the passages themselves."""
    whole = wire.answer_json(answer)
    told = {name: whole[name] for name in ("answer", "citations", "grounded", "model", "usage")}
    return {"question": question, "collection": collection, **told}
