"""Timing code: a context manager, a decorator for every kind of function, and the process's own monitor.

    with PerformanceTimer("rag_graph_fetch") as timer:
        ...
    print(timer.elapsed_ms, get_performance_stats())

Without a monitor of the caller's own, the process's is used: `default_monitor()`. What raised an `Exception` is counted
as failed and not timed; what was cancelled, closed or interrupted is neither.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from ragstone.errors import CancelledError
from ragstone.monitoring.monitor import PerformanceMonitor

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound="Monitored")
P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("ragstone.monitoring")

_DEFAULT = PerformanceMonitor()


def default_monitor() -> PerformanceMonitor:
    """The monitor of this process, for what no engine's monitor is given to."""
    return _DEFAULT


class PerformanceTimer:
    """Times what is done inside, `with` or `async with`; one at a time, but again and again."""

    def __init__(
        self,
        operation_name: str,
        monitor: PerformanceMonitor | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`clock` counts seconds and never goes back."""
        self._operation = operation_name
        self._monitor = monitor
        self._clock = clock
        self._started_s: float | None = None
        self._ended_s: float | None = None
        self.stages_ms: Mapping[str, float] = {}  # set inside: what the parts took, recorded along

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds so far, or in all once it is over; 0 before it began."""
        if self._started_s is None:
            return 0.0
        return ((self._clock() if self._ended_s is None else self._ended_s) - self._started_s) * 1e3

    def __enter__(self) -> PerformanceTimer:
        """Begin."""
        self.stages_ms, self._ended_s = {}, None
        self._started_s = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and record."""
        self._ended_s = self._clock()
        monitor = self._monitor or default_monitor()
        if kind is None:
            monitor.observe(self._operation, self.elapsed_ms, self.stages_ms)
        elif issubclass(kind, Exception) and not issubclass(kind, CancelledError):
            monitor.record_error(self._operation)

    async def __aenter__(self) -> PerformanceTimer:
        """Begin."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and record."""
        self.__exit__(kind, error, trace)


class Monitored(Protocol):
    """What has a monitor of its own."""

    monitor: PerformanceMonitor


def timed(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """The method, told to its object's monitor under its own name."""

    @functools.wraps(method)
    def told(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with PerformanceTimer(method.__name__, self.monitor):
            return method(self, *args, **kwargs)

    return told


@overload
def track_rag_performance(name: F) -> F: ...
@overload
def track_rag_performance(
    name: str | None = None, *, monitor: PerformanceMonitor | None = None
) -> Callable[[F], F]: ...
def track_rag_performance(
    name: F | str | None = None, *, monitor: PerformanceMonitor | None = None
) -> F | Callable[[F], F]:
    """A decorator that times a function under `name`, or its own: plain, async, generator or async generator.

    A generator is timed from its first item to its end, with what its reader does in between.
    """
    if callable(name):
        return _tracked(name, name.__name__, monitor)
    return lambda function: _tracked(function, name or function.__name__, monitor)


def _tracked(function: F, name: str, monitor: PerformanceMonitor | None) -> F:
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def tracked_items(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            with PerformanceTimer(name, monitor):
                items = function(*args, **kwargs)
                step = items.__anext__()
                while True:  # what `yield from` is for a generator: items out, values and exceptions in
                    try:
                        item = await step
                    except StopAsyncIteration:
                        return
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await items.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001  - the generator inside decides about it
                        step = items.athrow(error)
                    else:
                        step = items.asend(sent)

        return cast(F, tracked_items)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def tracked_async(*args: Any, **kwargs: Any) -> Any:
            with PerformanceTimer(name, monitor):
                return await function(*args, **kwargs)

        return cast(F, tracked_async)
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def tracked_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with PerformanceTimer(name, monitor):
                return (yield from function(*args, **kwargs))

        return cast(F, tracked_generator)

    @functools.wraps(function)
    def tracked(*args: Any, **kwargs: Any) -> Any:
        with PerformanceTimer(name, monitor):
            return function(*args, **kwargs)

    return cast(F, tracked)


def get_performance_stats() -> dict[str, dict[str, float]]:
    """Each operation of the process's monitor: `sample_count` in the window, `avg_ms`, `min_ms`, `max_ms`, percentiles,
    and `error_count` since the start."""
    operations = default_monitor().report()["operations"]
    return {
        name: {
            "sample_count": found["samples"],
            "error_count": found["errors"],
            **{f"{key}_ms": found[f"{key}_time_ms"] for key in ("avg", "min", "max")},
            **{key: value for key, value in found.items() if key.startswith("p")},
        }
        for name, found in operations.items()
    }


def log_performance_summary() -> None:
    """Write the summary of the process's monitor to the log, at level info."""
    logger.info("%s", default_monitor().summary())


def export_metrics_json() -> str:
    """The report of the process's monitor as JSON."""
    return default_monitor().to_json()


def reset_performance_stats() -> None:
    """Forget what the process's monitor has seen."""
    default_monitor().reset_stats()
