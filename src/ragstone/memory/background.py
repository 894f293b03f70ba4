"""Something done again and again in an event loop, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ragstone.errors import InputError

STOP_WAIT_S = 0.8  # a pass at work may finish; then its task is left, and `stop` returns within a second

logger = logging.getLogger("ragstone.memory")


class Repeating:
    """Awaits `work()` every `interval` seconds. A failure is counted and logged, and the next turn comes."""

    def __init__(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.errors = 0

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._task is not None

    async def start(self, interval: float) -> None:
        """Begin; the first turn comes after one interval. A running one goes on with the new interval."""
        if not interval > 0:
            raise InputError(f"interval is {interval} s, it must be above 0")
        await self.stop()
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run(interval, self._stopping), name=self._name)

    async def stop(self) -> None:
        """End it; returns within a second, whatever the interval. Stopping twice does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        done, _ = await asyncio.wait({task}, timeout=STOP_WAIT_S)
        if not done:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self, interval: float, stopping: asyncio.Event) -> None:
        while True:
            try:
                await asyncio.wait_for(stopping.wait(), timeout=interval)
                return
            except TimeoutError:
                pass
            try:
                await self._work()
            except Exception:
                self.errors += 1
                logger.warning("%s failed; it goes on", self._name, exc_info=True)
