"""Calls that may hang, many at once: each ends by its deadline, and none can hold up the others or the process.

Plans are coroutines; they run on one event loop in a thread of the runner's own, so that a program needs no loop to
wait for one, may have any number of them, and may wait inside a running one. All state of lanes belongs to that loop's
thread: there is nothing to lock. What may block runs in `threads.Threads`, never on the loop.

A call has a lane, by name. What keeps one lane from hurting the rest:

- a deadline. A call that passes it is left to itself and gives its place back at once;
- at most `LEFT_BEHIND_MAX` such calls. Then the lane is refused until one of them returns, so there are never more than
  `workers` + `LEFT_BEHIND_MAX` × lanes threads;
- a share of the workers, so that a slow lane under load leaves room for others;
- a circuit breaker.

Knows nothing of what is called.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from ragstone.errors import CancelledError, InputError, RagstoneError
from ragstone.parallel.breaker import Breaker
from ragstone.parallel.threads import Threads

T = TypeVar("T")
Status: TypeAlias = Literal["ok", "failed", "late", "refused"]

LEFT_BEHIND_MAX = 4
FAILURES = 5
RECOVERY_S = 30.0
CLOSE_GRACE_S = 1.0

logger = logging.getLogger("ragstone.parallel")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How a call ended. `value` is there when `status` is ok, `error` says why in words when it is not.

    `failed` raised; `late` had not returned by its deadline; `refused` was never begun. `took_ms` is the call's own
    time, without waiting for a worker; 0 when refused.
    """

    status: Status
    value: T | None
    took_ms: float
    error: str


@dataclass(frozen=True, slots=True)
class _Returned(Generic[T]):
    """What a thread brings back. The error travels as a value: a future cannot carry `StopIteration`."""

    value: T | None
    error: BaseException | None
    took_ms: float


@dataclass(slots=True)
class _Lane:
    breaker: Breaker
    places: asyncio.Semaphore
    left_behind: set[asyncio.Future[_Returned[Any]]] = field(default_factory=set)

    def refusal(self) -> str:
        """Why no call may begin now; empty when one may."""
        if len(self.left_behind) >= LEFT_BEHIND_MAX:
            return f"{len(self.left_behind)} earlier calls have not come back"
        if self.breaker.refuses:
            return (
                f"{self.breaker.failures} failures in a row; asked again in {self.breaker.retry_in_s:.0f} s"
            )
        return ""


class Runner:
    """Runs plans and their calls. `close` it when done. Thread-safe but for `call`."""

    def __init__(
        self,
        lanes: Iterable[str],
        *,
        workers: int,
        share: int | None = None,
        failures: int = FAILURES,
        recovery_s: float = RECOVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most `workers` calls are at work at once, those left behind apart, and `share` of one lane (half of the
        workers if not given). A lane's breaker opens at `failures` in a row for `recovery_s` seconds, by `clock`."""
        names = list(lanes)
        share = max(1, workers // 2) if share is None else share
        self._places = asyncio.Semaphore(workers)
        self._lanes = {
            name: _Lane(
                Breaker(failures=failures, recovery_s=recovery_s, clock=clock), asyncio.Semaphore(share)
            )
            for name in names
        }
        self._threads = Threads("ragstone-source", keep=workers)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._closed = False
        self._starting = threading.Lock()

    def start(self, plan: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a plan on the runner's loop; cancelling the future cancels it. Raises `InputError` after `close`."""
        with self._starting:
            if self._closed:
                raise InputError("this retriever is closed", hint="open another one")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop_thread = threading.Thread(
                    target=self._loop.run_forever, name="ragstone-parallel", daemon=True
                )
                self._loop_thread.start()
            return asyncio.run_coroutine_threadsafe(plan(), self._loop)

    def wait(self, future: Future[T]) -> T:
        """What a started plan returns or raises, from any thread with or without a loop of its own.

        Raises `CancelledError` when the runner is closed meanwhile, `InputError` on the runner's own loop, which would
        wait for itself.
        """
        if threading.current_thread() is self._loop_thread:
            future.cancel()
            raise InputError("a plan cannot wait for another one", hint="await it")
        try:
            return future.result()
        except FutureCancelledError as error:
            raise _closed_meanwhile() from error
        except BaseException:
            future.cancel()  # an interrupted caller no longer wants it
            raise

    async def wait_async(self, future: Future[T]) -> T:
        """`wait` for coroutines of any loop; a cancelled caller cancels the plan."""
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _closed_meanwhile() from error

    async def call(
        self, lane_name: str, work: Callable[[], T], *, timeout_s: float, deadline_s: float
    ) -> Outcome[T]:
        """Run `work` on a thread, in a plan. It has `timeout_s` from its beginning, and until `deadline_s` by
        `loop.time()` in all; an error is an outcome, too. An `InputError` is an answer: the source works."""
        lane = self._lanes[lane_name]
        if asyncio.get_running_loop().time() >= deadline_s:
            return Outcome("refused", None, 0.0, "no time was left")
        if reason := lane.refusal():
            return Outcome("refused", None, 0.0, reason)
        async with self._place(lane, deadline_s) as placed:
            if not placed:
                return Outcome("refused", None, 0.0, "no worker came free in time")
            if reason := lane.refusal():  # it may have failed while this one waited
                return Outcome("refused", None, 0.0, reason)
            return await self._begun(lane_name, lane, work, timeout_s, deadline_s)

    def close(self, grace_s: float = CLOSE_GRACE_S) -> int:
        """Cancel the plans and end the threads; calls at work get `grace_s` seconds. How many were left behind."""
        with self._starting:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is None:
            return 0
        assert self._loop_thread is not None  # noqa: S101 - it comes with the loop
        asyncio.run_coroutine_threadsafe(self._cancel_all(), loop).result()
        left = self._threads.close(grace_s)
        loop.call_soon_threadsafe(loop.stop)
        self._loop_thread.join()
        for lane in self._lanes.values():
            for future in lane.left_behind:
                future.cancel()  # a call that returns later finds nobody, and no closed loop
        loop.close()
        if left:
            logger.warning("%d calls of sources have not come back and were left behind", left)
        return left

    @asynccontextmanager
    async def _place(self, lane: _Lane, deadline_s: float) -> AsyncIterator[bool]:
        """A place among the lane's and the workers', held for the block; False when none came free in time."""
        held: list[asyncio.Semaphore] = []
        try:
            try:
                async with asyncio.timeout_at(deadline_s):
                    for places in (lane.places, self._places):
                        await places.acquire()
                        held.append(places)
            except TimeoutError:
                yield False
            else:
                yield True
        finally:
            for places in held:
                places.release()

    async def _begun(
        self, name: str, lane: _Lane, work: Callable[[], T], timeout_s: float, deadline_s: float
    ) -> Outcome[T]:
        loop = asyncio.get_running_loop()
        trial = lane.breaker.begin()
        try:
            returning = asyncio.wrap_future(self._threads.run(lambda: _returned(work)))
        except RuntimeError as error:  # the system gives no more threads
            lane.breaker.withdrawn(trial=trial)
            return Outcome("refused", None, 0.0, str(error))
        limit_s = min(timeout_s, deadline_s - loop.time())
        try:
            await asyncio.wait([returning], timeout=max(0.0, limit_s))
        except asyncio.CancelledError:
            lane.breaker.withdrawn(trial=trial)
            self._leave_behind(lane, returning)
            raise
        if not returning.done():
            lane.breaker.failed(trial=trial)
            self._leave_behind(lane, returning)
            logger.warning("%s had not answered after %.2f s", name, limit_s)
            return Outcome("late", None, limit_s * 1e3, f"no answer within {limit_s:.2f} s")
        found = returning.result()
        if found.error is None:
            lane.breaker.succeeded()
            return Outcome("ok", found.value, found.took_ms, "")
        if isinstance(found.error, InputError):
            lane.breaker.succeeded()
        else:
            lane.breaker.failed(trial=trial)
        _log_failure(name, found.error)
        return Outcome("failed", None, found.took_ms, _in_words(found.error))

    def _leave_behind(self, lane: _Lane, returning: asyncio.Future[_Returned[Any]]) -> None:
        if not returning.done():
            lane.left_behind.add(returning)
            returning.add_done_callback(lane.left_behind.discard)

    async def _cancel_all(self) -> None:
        plans = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for plan in plans:
            plan.cancel()
        await asyncio.gather(*plans, return_exceptions=True)


def _closed_meanwhile() -> CancelledError:
    return CancelledError("the retriever was closed while sources were asked")


def _returned(work: Callable[[], T]) -> _Returned[T]:
    started_s = time.perf_counter()
    value, error = None, None
    try:
        value = work()
    except BaseException as raised:  # noqa: BLE001 - `SystemExit` of a source is its failure, not ours
        error = raised
    return _Returned(value, error, (time.perf_counter() - started_s) * 1e3)


def _in_words(error: BaseException) -> str:
    if isinstance(error, RagstoneError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _log_failure(name: str, error: BaseException) -> None:
    trace = None if isinstance(error, RagstoneError) else error  # ours say enough
    logger.warning("%s failed: %s", name, _in_words(error), exc_info=trace)
