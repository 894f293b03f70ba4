"""Searches in processes of their own, so that the event loop has an interpreter to itself and searches have cores.

Each process searches one query at a time. What waits, waits here, as long as `workers.Room` allows. A search whose
process dies is tried once more on another one; when no process is there, `NoProcessError` says so at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import Path

from ragstone import deadlines, wire
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.process import resident_bytes
from ragstone.monitoring.records import Gauge
from ragstone.server.problems import SearchDiedError
from ragstone.server.requests import SearchRequest
from ragstone.server.search_frames import Found, error_from, figures_from, question
from ragstone.server.worker_process import (
    Death,
    Program,
    WorkerProcess,
    keep_running,
    settings_frame,
    unexpected_end,
)
from ragstone.server.workers import Room
from ragstone.settings import Settings
from ragstone.stats import SearchFigures, recall_gauges, together

STOP_S = 3.0  # an engine is closed in milliseconds; this is within what supervisors wait
STUCK_S = 10.0  # after its deadline a search that still runs never ends: its process is replaced
MAX_LEFT_S = 3600.0  # the most that `request_timeout_s` may be
LONGEST_PAUSE_S = 60.0  # between starts of processes that end as they start

logger = logging.getLogger("ragstone.server")


class NoProcessError(Exception):
    """There is no search process now; the caller searches in its own."""


@dataclass(eq=False)
class _Asked:
    """One search, and whoever waits for it."""

    question: wire.Json
    left_s: float  # when it came, until its deadline
    answer: asyncio.Future[Found]
    context: Context = field(default_factory=copy_context)  # the request's, for what is recorded
    tries: int = 0


@dataclass(eq=False)
class _Process:
    """A process that is ready, and the search in it."""

    worker: WorkerProcess
    asked: _Asked | None = None
    started_s: float = 0.0
    watch: asyncio.TimerHandle | None = None
    figures: SearchFigures = field(default_factory=lambda: SearchFigures({}, {}, {}))


class SearchProcesses:
    """`count` processes that search; on one event loop. `monitor` is told what searches took."""

    def __init__(
        self,
        settings: Settings,
        *,
        count: int,
        monitor: PerformanceMonitor,
        room: Room,
        stuck_s: float = STUCK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.count = count
        self._recall = settings.recall
        # Queries are embedded on the thread that searches, and documents by the service.
        settings = settings.model_copy(update={"model_threads": 1})
        self._program = Program("ragstone.server.search_worker", settings_frame(settings))
        self._monitor = monitor
        self._room = room
        self._stuck_s = stuck_s
        self._clock = clock
        self._ready: list[_Process] = []
        self._free: list[_Process] = []
        self._waiting: deque[_Asked] = deque()
        self._tried = [asyncio.Event() for _ in range(count)]
        self._keeping: list[asyncio.Task[None]] = []
        self._replaced = 0

    @property
    def ready(self) -> int:
        """How many processes can search now."""
        return len(self._ready)

    @property
    def state(self) -> str:
        """`off`, `ok`, or how many of how many are there, as `1 of 2`; also without any, searches are answered."""
        if not self.count:
            return "off"
        return "ok" if self.ready == self.count else f"{self.ready} of {self.count}"

    async def start(self) -> None:
        """Start them; returns when each is ready or has ended again."""
        self._monitor.add_gauges(self.gauges)
        self._keeping = [asyncio.create_task(self._keep(tried)) for tried in self._tried]
        await asyncio.gather(*(tried.wait() for tried in self._tried))

    async def close(self) -> None:
        """End them; no process is left."""
        self._monitor.remove_gauges(self.gauges)
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)

    def check_room(self) -> None:
        """Raise `NoProcessError`, or `BusyError` when too many wait."""
        if not self._ready:
            raise NoProcessError
        busy = len(self._ready) - len(self._free)
        self._room.check(len(self._waiting) + busy, at_once=len(self._ready))

    async def search(self, request: SearchRequest) -> Found:
        """The reply to a validated request.

        Raises `NoProcessError`, `BusyError` when too many wait, `DeadlineError`, `SearchDiedError`, and what the search
        raised.
        """
        self.check_room()
        left_s = deadlines.left_s(MAX_LEFT_S)
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        asked = _Asked(question(request, left_s=left_s), left_s, answer)
        self._waiting.append(asked)
        self._hand_out()
        try:
            async with asyncio.timeout(left_s):
                return await answer
        except TimeoutError:
            deadlines.check()
            raise
        finally:
            with suppress(ValueError):  # it runs, or is done
                self._waiting.remove(asked)

    def forget_caches(self) -> None:
        """Have each process drop its kept results before its next search."""
        for process in self._ready:
            process.worker.send({"forget": True})

    def figures(self) -> list[SearchFigures]:
        """What the searches of each process have come to."""
        return [process.figures for process in self._ready]

    # -- one process -------------------------------------------------------------------------------------

    async def _keep(self, tried: asyncio.Event) -> None:
        async def use(worker: WorkerProcess) -> None:
            tried.set()
            await self._use(worker)

        async def ended(death: Death) -> None:
            self._replaced += 1
            logger.warning("a search process ended after %.0f s with status %s", death.lived_s, death.status)
            tried.set()
            if death.early > 1:
                logger.error("%s", unexpected_end(death))
                await asyncio.sleep(min(2.0**death.early, LONGEST_PAUSE_S))

        await keep_running(self._program, use, ended=ended, grace_s=STOP_S, clock=self._clock)

    async def _use(self, worker: WorkerProcess) -> None:
        """Hand searches to a process until it ends."""
        process = _Process(worker)
        self._ready.append(process)
        self._free.append(process)
        self._hand_out()
        try:
            while True:
                await self._take_answer(process)
        finally:
            self._lost(process)

    async def _take_answer(self, process: _Process) -> None:
        found = await process.worker.receive()
        done = found["done"]
        body = await process.worker.receive_body() if "hits" in done else b""
        process.figures = figures_from(found["figures"])
        asked, process.asked = process.asked, None
        if asked is None or process.watch is None:
            raise EOFError("an answer to nothing")
        process.watch.cancel()
        self._room.note(self._clock() - process.started_s)
        self._free.append(process)
        self._hand_out()
        for entry in found["observed"]:
            asked.context.run(self._note, *entry)
        if not asked.answer.done():
            _settle(asked.answer, done, body)

    def _hand_out(self) -> None:
        """Give what waits to the processes that are free, first come, first served."""
        while self._free and self._waiting:
            asked = self._waiting.popleft()
            if asked.answer.done():  # nobody waits for it any more
                continue
            process = self._free.pop()
            process.asked, process.started_s = asked, self._clock()
            asked.tries += 1
            process.worker.send(asked.question)
            loop = asked.answer.get_loop()
            process.watch = loop.call_later(asked.left_s + self._stuck_s, _end_stuck, process.worker)

    def _lost(self, process: _Process) -> None:
        """Take a process out that has ended, and see to what it was at."""
        self._ready.remove(process)
        if process.watch is not None:
            process.watch.cancel()
        if process.asked is None:
            self._free.remove(process)
        elif not process.asked.answer.done():
            self._try_again(process.asked)
        if not self._ready:
            for asked in self._waiting:
                if not asked.answer.done():
                    asked.answer.set_exception(NoProcessError())
            self._waiting.clear()

    def _try_again(self, asked: _Asked) -> None:
        if self._ready and asked.tries < 2:
            self._waiting.appendleft(asked)
            self._hand_out()
        else:
            asked.answer.set_exception(
                SearchDiedError("The process that searched for this ended.", hint="Try again in a second.")
            )

    # -- figures -----------------------------------------------------------------------------------------

    def _note(self, operation: str, took_ms: float | None = None, stages_ms: wire.Json | None = None) -> None:
        if took_ms is None:
            self._monitor.record_error(operation)
        else:
            self._monitor.observe(operation, took_ms, stages_ms)

    def gauges(self) -> Iterable[Gauge]:
        """How many there are, their memory, and the recall that they watched."""
        ready = list(self._ready)
        sizes = [resident_bytes(Path(f"/proc/{process.worker.process.pid}/statm")) for process in ready]
        yield Gauge("ragstone_search_processes", self.count, "Search processes that are to be there.")
        yield Gauge("ragstone_search_processes_ready", len(ready), "Search processes that can search.")
        yield Gauge(
            "ragstone_search_processes_ended_total",
            self._replaced,
            "Search processes that ended unasked.",
            kind="counter",
        )
        yield Gauge(
            "ragstone_search_processes_resident_bytes",
            sum(filter(None, sizes)),
            "Memory of the search processes in RAM; what they share counts in each.",
        )
        yield from recall_gauges(together([process.figures for process in ready]).recall, wanted=self._recall)


def _end_stuck(worker: WorkerProcess) -> None:
    logger.error("a search did not end after its deadline: its process is killed")
    worker.kill()


def _settle(answer: asyncio.Future[Found], done: wire.Json, body: bytes) -> None:
    if "hits" in done:
        answer.set_result(Found(body, done["hits"], done["top_score"]))
    elif "error" in done:
        answer.set_exception(error_from(done["error"]))
    else:
        answer.set_exception(RuntimeError(done["unexpected"]))
