"""Threads for blocking work with a bound on how much may wait: full means refused at once, not queued.

Does not know what the work is. The event loop only ever submits and awaits.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ragstone import deadlines
from ragstone.server.problems import BusyError

T = TypeVar("T")


class Workers:
    """`threads` calls run at once and `waiting` more may queue; the next one is refused."""

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._name = name
        self._limit = threads + waiting
        self._slots = threading.BoundedSemaphore(self._limit)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"ragstone-{name}")

    async def run(self, call: Callable[[], T]) -> T:
        """`call()` in a thread; raises `BusyError` when every slot is taken, `DeadlineError` when the time is over.

        The slot is given back when the call ends, also if the caller stopped waiting for it. Nothing is called
        after the deadline.
        """
        self.take_slot()
        future = self.submit(call)
        future.add_done_callback(lambda _: self.give_slot_back())
        try:
            async with asyncio.timeout(left if (left := deadlines.left_s()) < math.inf else None):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            deadlines.check()
            raise  # the call's own

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A slot held for the length of a `with` block; raises `BusyError` when none is free."""
        self.take_slot()
        try:
            yield
        finally:
            self.give_slot_back()

    def take_slot(self) -> None:
        """Take one slot, to be given back exactly once; raises `BusyError` when none is free."""
        if not self._slots.acquire(blocking=False):
            raise BusyError(
                f"All {self._limit} places for {self._name} are taken.", hint="Try again in a second."
            )

    def give_slot_back(self) -> None:
        """Return a slot taken with `take_slot`."""
        self._slots.release()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """`call()` in a thread, for a caller that holds a slot; it sees the request's id and deadline."""
        return self._pool.submit(contextvars.copy_context().run, _in_time, call)

    def finish(self, call: Callable[[], None]) -> None:
        """`call()` in a thread, or here and now once there are no threads any more; it must not raise."""
        try:
            self._pool.submit(call)
        except RuntimeError:
            call()

    def close(self) -> None:
        """Take no more work; calls that run are left to end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _in_time(call: Callable[[], T]) -> T:
    deadlines.check()
    return call()
