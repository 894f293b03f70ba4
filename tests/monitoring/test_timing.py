"""Every kind of code can be timed; failures are counted, what is cancelled or left early is neither."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing

import pytest

from ragstone.errors import CancelledError
from ragstone.monitoring.fetches import record_fetch
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import (
    PerformanceTimer,
    default_monitor,
    get_performance_stats,
    reset_performance_stats,
    track_rag_performance,
)


@pytest.fixture
def monitor() -> PerformanceMonitor:
    return PerformanceMonitor(track_memory=False)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    reset_performance_stats()
    yield
    reset_performance_stats()


def calls(monitor: PerformanceMonitor, name: str) -> tuple[int, int]:
    """How often it ended well, and failed."""
    found = monitor.report()["operations"].get(name, {"count": 0, "errors": 0})
    return found["count"], found["errors"]


def test_a_timer_reads_inside_and_after_and_can_be_used_again(monitor: PerformanceMonitor) -> None:
    now = [10.0]
    timer = PerformanceTimer("op", monitor, clock=lambda: now[0])
    assert timer.elapsed_ms == 0.0
    with timer as inside:
        assert inside is timer
        now[0] += 0.002
        assert timer.elapsed_ms == pytest.approx(2)
        now[0] += 0.003
        timer.stages_ms = {"part": 4.0}
    now[0] += 1
    assert timer.elapsed_ms == pytest.approx(5)
    with timer:
        now[0] += 0.001
    assert timer.elapsed_ms == pytest.approx(1)
    operations = monitor.report()["operations"]
    assert operations["op"]["total_time_ms"] == pytest.approx(6)
    assert operations["op.part"]["count"] == 1  # stages of one use are not those of the next


def test_a_timer_in_async_code(monitor: PerformanceMonitor) -> None:
    async def main() -> float:
        async with PerformanceTimer("op", monitor) as timer:
            await asyncio.sleep(0)
            assert timer.elapsed_ms > 0
        with pytest.raises(ValueError, match="no"):
            async with PerformanceTimer("op", monitor):
                raise ValueError("no")
        return timer.elapsed_ms

    elapsed_ms = asyncio.run(main())
    assert monitor.report()["operations"]["op"]["max_time_ms"] == elapsed_ms
    assert calls(monitor, "op") == (1, 1)


def test_functions_and_coroutines_are_timed_and_their_failures_counted(monitor: PerformanceMonitor) -> None:
    @track_rag_performance(monitor=monitor)
    def plain(value: int) -> int:
        """Half."""
        if value % 2:
            raise ValueError(value)
        return value // 2

    @track_rag_performance("named", monitor=monitor)
    async def coroutine(value: int) -> int:
        await asyncio.sleep(0)
        return plain(value)

    assert (plain(4), plain.__name__, plain.__doc__) == (2, "plain", "Half.")
    assert asyncio.run(coroutine(6)) == 3
    with pytest.raises(ValueError, match="5"):
        asyncio.run(coroutine(5))
    assert calls(monitor, "plain") == (2, 1)
    assert calls(monitor, "named") == (1, 1)
    assert asyncio.iscoroutinefunction(coroutine)


def test_a_decorator_without_arguments_uses_the_functions_name_and_the_processs_monitor() -> None:
    @track_rag_performance
    def bare() -> str:
        return "yes"

    assert bare() == "yes"
    assert calls(default_monitor(), "bare") == (1, 0)
    stats = get_performance_stats()["bare"]
    assert stats["sample_count"] == 1
    assert stats["avg_ms"] == stats["p50_ms"] == stats["p99_ms"] > 0


def test_generators_stay_generators(monitor: PerformanceMonitor) -> None:
    @track_rag_performance(monitor=monitor)
    def items(*, fail: bool = False) -> Generator[str, str, str]:
        try:
            answer = yield "first"
        except KeyError:
            answer = "caught"
        yield answer
        if fail:
            raise ValueError("failed")
        return "returned"

    assert calls(monitor, "items") == (0, 0)
    generator = items()
    assert next(generator) == "first"
    assert generator.send("sent") == "sent"
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value == "returned"
    generator = items()
    next(generator)
    assert generator.throw(KeyError()) == "caught"
    assert calls(monitor, "items") == (1, 0)
    with pytest.raises(ValueError, match="failed"):
        list(items(fail=True))
    assert calls(monitor, "items") == (1, 1)
    left = items()
    next(left)
    left.close()
    assert calls(monitor, "items") == (1, 1)


def test_async_generators_stay_async_generators(monitor: PerformanceMonitor) -> None:
    closed: list[str] = []

    @track_rag_performance(monitor=monitor)
    async def items(*, fail: bool = False) -> AsyncGenerator[str, str]:
        try:
            try:
                answer = yield "first"
            except KeyError:
                answer = "caught"
            yield answer
            if fail:
                raise ValueError("failed")
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def main() -> None:
        generator = items()
        assert await anext(generator) == "first"
        assert await generator.asend("sent") == "sent"
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        assert calls(monitor, "items") == (1, 0)
        generator = items()
        await anext(generator)
        assert await generator.athrow(KeyError()) == "caught"
        assert len(closed) == 1
        await generator.aclose()
        assert len(closed) == 2  # the one inside was closed at once, not when it is collected
        assert calls(monitor, "items") == (1, 0)
        with pytest.raises(ValueError, match="failed"):
            async with aclosing(items(fail=True)) as failing:
                assert [item async for item in failing]
        assert calls(monitor, "items") == (1, 1)

    asyncio.run(main())
    gc.collect()


def test_what_is_cancelled_is_neither_counted_nor_failed(monitor: PerformanceMonitor) -> None:
    @track_rag_performance(monitor=monitor)
    async def endless() -> None:
        await asyncio.Event().wait()

    @track_rag_performance(monitor=monitor)
    async def trickle() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def read() -> None:
        async for _ in trickle():
            pass

    async def main() -> None:
        tasks = [asyncio.create_task(endless()), asyncio.create_task(read())]
        for _ in range(5):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)

    asyncio.run(main())
    assert calls(monitor, "endless") == calls(monitor, "trickle") == (0, 0)


def test_a_decorated_function_may_run_in_many_threads_at_once(monitor: PerformanceMonitor) -> None:
    inside = threading.Barrier(8)

    @track_rag_performance(monitor=monitor)
    def together() -> int:
        return inside.wait()

    threads = [threading.Thread(target=together) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(monitor, "together") == (8, 0)


def test_a_call_that_was_told_to_stop_is_no_failure(monitor: PerformanceMonitor) -> None:
    for error in (CancelledError("the reader left"), KeyboardInterrupt(), GeneratorExit()):
        with pytest.raises(type(error)), PerformanceTimer("op", monitor):
            raise error
    assert calls(monitor, "op") == (0, 0)


def test_the_five_documented_names_are_there_after_a_fetch() -> None:
    for step, took_ms in {"prepare": 1.0, "graph": 2.0, "corpus": 3.0, "persona": 4.0}.items():
        record_fetch(step, took_ms, False)
    record_fetch("domain", 5_000.0, True)
    stats = get_performance_stats()
    assert list(stats) == [
        "rag_prepare_query",
        "rag_graph_fetch",
        "rag_corpus_fetch",
        "rag_persona_fetch",
        "rag_domain_fetch",
    ]
    assert [found["avg_ms"] for found in stats.values()] == [1.0, 2.0, 3.0, 4.0, 0.0]
    assert (stats["rag_domain_fetch"]["sample_count"], stats["rag_domain_fetch"]["error_count"]) == (0, 1)


def test_fetches_go_to_a_monitor_of_ones_own_under_any_sources_name(monitor: PerformanceMonitor) -> None:
    record_fetch("memory", 2.0, False, monitor)
    assert set(monitor.report()["operations"]) == {"rag_memory_fetch"}
    assert get_performance_stats() == {}
