"""Where searches run: in a search process while there is one, else in threads; what waits for either is bounded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TypeVar

from ragstone.engine import Ragstone
from ragstone.server.metrics import ServiceMetrics
from ragstone.server.requests import SearchRequest
from ragstone.server.search_frames import Found, arguments
from ragstone.server.search_processes import NoProcessError, SearchProcesses
from ragstone.server.workers import Room, Workers
from ragstone.stats import SearchFigures, together

T = TypeVar("T")

# A search keeps a core busy for milliseconds, and its words are looked up in a thread beside: more at once only take
# the interpreter from each other (LAB, "The service under load, once more").
THREADS = os.cpu_count() or 1
WAITING = 64
# Longer than that people notice, and a client that is refused may try another instance.
WAIT_S = 0.25
# While more come than can be served, nobody is helped by a long wait: as many as keep the processes busy however late
# this one hands them out.
STANDING_TURNS = 5


class SearchLane:
    """The searches of a service, and its other short calls into the engine. On one event loop."""

    def __init__(self, engine: Ragstone, *, processes: int, metrics: ServiceMetrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._threads = Workers(_room(), threads=THREADS)
        self.processes = SearchProcesses(
            engine.settings,
            count=processes,
            monitor=engine.monitor,
            room=_room(),
        )

    async def search(self, request: SearchRequest) -> bytes:
        """The reply to a validated request, as JSON. Raises as `SearchProcesses.search`, and `BusyError`."""
        try:
            found = await self.processes.search(request)
        except NoProcessError:
            found = await self.read(lambda: Found.of(self._engine.search(**arguments(request))))
        self._metrics.search(request.mode, hits=found.hits, top_score=found.top_score)
        return found.body

    async def read(self, call: Callable[[], T]) -> T:
        """A short call into the engine, in a thread; raises `BusyError` when too many wait."""
        return await self._threads.run(call)

    def check_room(self) -> None:
        """Raise `BusyError` when a search that came now would be refused."""
        try:
            self.processes.check_room()
        except NoProcessError:
            self._threads.check_room()

    def figures(self) -> SearchFigures:
        """What searches have come to, here and in all processes."""
        return together([self._engine.search_figures(), *self.processes.figures()])

    def forget_caches(self) -> None:
        """Drop what is kept, also in the shared cache. Raises `StoreError` when that is away; called in a thread."""
        self._loop.call_soon_threadsafe(self.processes.forget_caches)
        self._engine.forget_caches()

    async def close(self) -> None:
        """Take no more work, and end the processes."""
        self._threads.close()
        await self.processes.close()


def _room() -> Room:
    return Room("searches", waiting=WAITING, wait_s=WAIT_S, standing_turns=STANDING_TURNS)
