"""Threads for blocking work with a bound on how much may wait, and how long: full means refused at once, not queued.

Does not know what the work is. The event loop only ever submits and awaits.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from ragstone import deadlines
from ragstone.server.problems import BusyError

T = TypeVar("T")

RECENT = 0.1  # weight of the last call in what calls usually take: the last twenty count


class Room:
    """Who may wait: `waiting` calls beyond those that run, and none that would wait longer than `wait_s`, going by what
    calls have taken of late. As many as run may always wait, so that one slow call does not close the lane.

    Where there has been a queue for longer than `wait_s`, calls come faster than they end, and to let many wait only
    makes everybody late: no more than `standing_turns` calls behind each that runs are let in then, until nobody has
    been refused for `wait_s`. (After Nichols and Jacobson, "Controlling queue delay", 2012: a queue that empties is a
    burst, one that stands is too much.) Who uses it sees that one thread does at a time.
    """

    def __init__(
        self,
        name: str,
        *,
        waiting: int,
        wait_s: float = math.inf,
        standing_turns: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._waiting = waiting
        self._wait_s = wait_s
        self._standing_turns = standing_turns
        self._clock = clock
        self._usual_s = 0.0
        self._free_s = clock()  # when a call last came while none waited
        self._refused_s = -math.inf  # when one was last refused
        self._stands = False

    def check(self, taken: int, *, at_once: int) -> None:
        """Raise `BusyError` if another call may not come to `taken` that are there, of which `at_once` can run."""
        now_s = self._clock()
        if taken <= at_once:  # nobody waits
            self._free_s = now_s
        if taken >= at_once and not self._has_room(taken, at_once, now_s):
            self._refused_s = now_s
            raise BusyError(f"All places for {self.name} are taken ({taken}).", hint="Try again in a second.")

    def _has_room(self, taken: int, at_once: int, now_s: float) -> bool:
        turns = (taken - at_once + 1) / at_once  # until one of them has ended
        refused_of_late = self._stands and now_s - self._refused_s <= self._wait_s
        self._stands = refused_of_late or now_s - self._free_s > self._wait_s
        in_time = taken < 2 * at_once or turns * self._usual_s <= self._wait_s
        short = not self._stands or turns <= self._standing_turns
        return taken < at_once + self._waiting and in_time and short

    def note(self, taken_s: float) -> None:
        """What a call has taken, without its wait."""
        self._usual_s += (taken_s - self._usual_s) * RECENT


class Workers:
    """`threads` calls run at once, and others wait as `room` allows; the next one is refused."""

    def __init__(self, room: Room, *, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._room = room
        self._clock = clock
        self._lock = threading.Lock()
        self._taken = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"ragstone-{room.name}")

    @property
    def taken(self) -> int:
        """How many slots are taken."""
        return self._taken

    async def run(self, call: Callable[[], T]) -> T:
        """`call()` in a thread; raises `BusyError` when too many are there, `DeadlineError` when the time is over.

        The slot is given back when the call ends, also if the caller stopped waiting for it. Nothing is called
        after the deadline.
        """
        self.take_slot()
        future = self.submit(partial(self._timed, call))
        future.add_done_callback(lambda _: self.give_slot_back())
        try:
            async with asyncio.timeout(left if (left := deadlines.left_s()) < math.inf else None):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            deadlines.check()
            raise  # the call's own

    def check_room(self) -> None:
        """Raise `BusyError` when no slot is free now."""
        with self._lock:
            self._room.check(self._taken, at_once=self._threads)

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
        with self._lock:
            self._room.check(self._taken, at_once=self._threads)
            self._taken += 1

    def give_slot_back(self) -> None:
        """Return a slot taken with `take_slot`."""
        with self._lock:
            self._taken -= 1

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """`call()` in a thread, for a caller that holds a slot; it sees the request's id and deadline."""
        return self._pool.submit(contextvars.copy_context().run, _in_time, call)

    def finish(self, call: Callable[[], None]) -> None:
        """`call()` in a thread, or here and now once there are no threads any more; it must not raise."""
        try:
            self._pool.submit(call)
        except RuntimeError:
            call()

    def close(self, *, wait: bool = False) -> None:
        """Take no more work; calls that run are left to end by themselves, or waited for."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _timed(self, call: Callable[[], T]) -> T:
        started_s = self._clock()
        try:
            return call()
        finally:
            taken_s = self._clock() - started_s
            with self._lock:
                self._room.note(taken_s)


def _in_time(call: Callable[[], T]) -> T:
    deadlines.check()
    return call()
