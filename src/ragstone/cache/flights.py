"""One run of a query that several callers wait for, none of whom can end it for the others."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from ragstone.errors import CancelledError


@dataclass(slots=True, eq=False)
class Flight:
    """A query under way. `version` is the index's when it began; `dead_tags` were invalidated since.

    An `outdated` one still answers those who wait, who asked before the change; it is neither joined nor kept.
    `prefetched` until the first caller asks for it. It is cancelled when the last of `waiting` leaves.
    """

    key: str
    version: Hashable
    prefetched: bool = False
    outdated: bool = False
    closed: bool = False
    waiting: int = 0
    dead_tags: set[Hashable] = field(default_factory=set)
    task: asyncio.Task[Any] = field(init=False)

    def start(self, run: Callable[[Flight], Any]) -> None:
        """Begin `run` (a coroutine function) as a task of the running loop."""
        self.task = asyncio.get_running_loop().create_task(run(self), name=f"ragstone-query {self.key[:60]}")
        # A failure that nobody waits for any more is nobody's; asyncio would print it as never retrieved.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def succeeded(self) -> bool:
        """Whether there is a value."""
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None

    async def wait(self) -> None:
        """Until it is done, however it ends. A caller that is cancelled leaves the others undisturbed."""
        self.waiting += 1
        try:
            await asyncio.wait([self.task])
        finally:
            self.waiting -= 1
            if not self.waiting and not self.task.done():
                self.outdated = True
                self.task.cancel()

    def value(self) -> Any:
        """What the query gave, or raised."""
        if self.closed and not self.succeeded:
            raise CancelledError("the query optimizer was closed while the query ran")
        return self.task.result()


async def result_of(call: Callable[[], Any]) -> Any:
    """What `call` gives: awaited if it is a coroutine function, on a thread if it is a plain one."""
    if _is_async(call):
        return await call()
    found = await asyncio.to_thread(_called, call)
    return await found if inspect.isawaitable(found) else found


def _is_async(call: Callable[[], Any]) -> bool:
    function: Any = call
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose call is a coroutine function
    )


def _called(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except StopIteration as error:  # asyncio cannot carry it out of a thread: the caller would wait for ever
        raise RuntimeError("the query function raised StopIteration") from error
