"""Query results: kept, shared while under way, invalidated in time, and asked ahead within a budget."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fake_clock import FakeClock
from ragstone.cache.query_optimizer import QueryOptimizer
from ragstone.errors import CancelledError


class Store:
    """Answers queries when told to; counts them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()

    async def slow(self, question: str, answer: object = None) -> Any:
        self.asked.append(question)
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer or question.upper()

    async def quick(self, question: str) -> str:
        self.asked.append(question)
        return question.upper()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run with complaints of the event loop (such as exceptions never retrieved) as failures."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        await test()
        gc.collect()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())
    gc.collect()
    assert not complaints


async def turns(number: int = 20) -> None:
    """Let everything that can run do so."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_second_equal_query_is_answered_from_memory() -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer()
        assert await optimizer.execute_query("q", store.quick, "hello") == "HELLO"
        assert await optimizer.execute_query("q", store.quick, "hello") == "HELLO"
        assert await optimizer.execute_query("other", store.quick, question="bye") == "BYE"
        assert store.asked == ["hello", "bye"]
        stats = optimizer.get_stats()
        assert {key: stats[key] for key in ("total_queries", "cache_hits", "cache_misses")} == {
            "total_queries": 3,
            "cache_hits": 1,
            "cache_misses": 2,
        }
        assert stats["cache_hit_rate"] == pytest.approx(1 / 3)
        assert stats["cache_size"] == 2 and stats["in_flight_queries"] == 0

    run(test)


def test_plain_functions_run_off_the_loop_and_nothing_is_a_result() -> None:
    async def test() -> None:
        optimizer = QueryOptimizer()
        threads: list[threading.Thread] = []

        def plain() -> str | None:
            threads.append(threading.current_thread())
            return None

        for _ in range(2):
            assert await optimizer.execute_query("q", plain) is None
        assert len(threads) == 1 and threads[0] is not threading.main_thread()
        store = Store()
        assert await optimizer.execute_query("late", lambda: store.quick("x")) == "X"

    run(test)


def test_a_function_that_raises_stop_iteration_does_not_hang() -> None:
    async def test() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(QueryOptimizer().execute_query("q", next, iter(())), 5)

    run(test)


def test_results_expire_and_the_least_used_gives_way() -> None:
    async def test() -> None:
        store, clock = Store(), FakeClock()
        optimizer = QueryOptimizer(cache_size=2, clock=clock)
        await optimizer.execute_query("a", store.quick, "a")
        clock.advance(299)
        await optimizer.execute_query("a", store.quick, "a")
        clock.advance(1)
        await optimizer.execute_query("a", store.quick, "a")
        assert store.asked == ["a", "a"]
        await optimizer.execute_query("b", store.quick, "b")
        await optimizer.execute_query("c", store.quick, "c")
        await optimizer.execute_query("a", store.quick, "a")
        assert store.asked == ["a", "a", "b", "c", "a"]
        assert optimizer.get_stats()["evictions"] == 2

    run(test)


def test_equal_queries_at_once_are_asked_once() -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer()
        callers = [asyncio.create_task(optimizer.execute_query("q", store.slow, "q")) for _ in range(10)]
        await turns()
        assert optimizer.get_stats()["in_flight_queries"] == 1
        store.gate.set()
        assert await asyncio.gather(*callers) == ["Q"] * 10
        assert store.asked == ["q"]
        stats = optimizer.get_stats()
        assert (stats["cache_misses"], stats["deduplication_hits"]) == (10, 9)

    run(test)


@pytest.mark.parametrize("cancelled", [0, 1, 4])
def test_a_cancelled_caller_leaves_the_others_their_answer(cancelled: int) -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer()
        callers = [asyncio.create_task(optimizer.execute_query("q", store.slow, "q")) for _ in range(5)]
        await turns()
        callers[cancelled].cancel()
        await turns()
        store.gate.set()
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(found.pop(cancelled), asyncio.CancelledError)
        assert found == ["Q"] * 4
        assert store.asked == ["q"]

    run(test)


def test_a_query_that_nobody_waits_for_is_cancelled_and_asked_anew() -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer()
        callers = [asyncio.create_task(optimizer.execute_query("q", store.slow, "q")) for _ in range(3)]
        await turns()
        for caller in callers:
            caller.cancel()
        again = asyncio.create_task(optimizer.execute_query("q", store.slow, "q"))
        await turns()
        store.gate.set()
        assert await again == "Q"
        assert store.asked == ["q", "q"]

    run(test)


def test_when_the_leader_fails_the_others_ask_once_more_together() -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer()
        answers: list[object] = [OSError("down"), *["fine"] * 9]
        callers = [
            asyncio.create_task(optimizer.execute_query("q", store.slow, "q", answer)) for answer in answers
        ]
        await turns()
        store.gate.set()
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(found[0], OSError)
        assert found[1:] == ["fine"] * 9
        assert store.asked == ["q", "q"]

    run(test)


def test_a_store_that_is_down_is_asked_twice_and_not_by_everybody() -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer()
        callers = [
            asyncio.create_task(optimizer.execute_query("q", store.slow, "q", OSError("down")))
            for _ in range(50)
        ]
        await turns()
        store.gate.set()
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(error, OSError) for error in found)
        assert store.asked == ["q", "q"]
        assert optimizer.get_stats()["cache_size"] == 0

    run(test)


def test_a_failure_nobody_waits_for_is_not_reported_by_the_loop() -> None:
    async def test() -> None:
        optimizer, entered = QueryOptimizer(), asyncio.Event()

        async def stubborn() -> None:
            entered.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise OSError("while cancelled") from None

        caller = asyncio.create_task(optimizer.execute_query("q", stubborn))
        await entered.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await turns()

    run(test)


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda optimizer: optimizer.invalidate_cache("docs:q"),
        lambda optimizer: optimizer.invalidate_cache(),
        lambda optimizer: optimizer.invalidate_prefix("docs:"),
        lambda optimizer: optimizer.invalidate_tags(7),
    ],
)
def test_a_query_under_way_during_an_invalidation_is_answered_but_neither_kept_nor_joined(
    invalidate: Callable[[QueryOptimizer], int],
) -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer(tags_of=lambda result: [7])
        before = asyncio.create_task(optimizer.execute_query("docs:q", store.slow, "q", "old"))
        await turns()
        assert invalidate(optimizer) == 0
        after = asyncio.create_task(optimizer.execute_query("docs:q", store.slow, "q", "new"))
        await turns()
        store.gate.set()
        assert (await before, await after) == ("old", "new")
        assert await optimizer.execute_query("docs:q", store.quick, "unused") == "new"

    run(test)


def test_an_invalidation_of_another_key_or_tag_leaves_a_query_under_way_to_be_kept() -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer(tags_of=lambda result: [7])
        query = asyncio.create_task(optimizer.execute_query("docs:q", store.slow, "q"))
        await turns()
        optimizer.invalidate_cache("docs:other")
        optimizer.invalidate_prefix("mail:")
        optimizer.invalidate_tags(8)
        store.gate.set()
        assert await query == "Q"
        assert optimizer.get_stats()["cache_size"] == 1

    run(test)


def test_an_older_query_does_not_replace_what_a_younger_one_found() -> None:
    async def test() -> None:
        optimizer = QueryOptimizer(tags_of=lambda result: [result])
        gates = [asyncio.Event(), asyncio.Event()]

        async def ask(number: int) -> int:
            await gates[number].wait()
            return number

        older = asyncio.create_task(optimizer.execute_query("q", ask, 0))
        await turns()
        optimizer.invalidate_tags("a document")
        younger = asyncio.create_task(optimizer.execute_query("q", ask, 1))
        await turns()
        gates[1].set()
        assert await younger == 1
        gates[0].set()
        assert await older == 0
        assert await optimizer.execute_query("q", ask, 0) == 1

    run(test)


def test_results_die_with_a_document_they_were_made_of_and_no_other() -> None:
    async def test() -> None:
        optimizer = QueryOptimizer(tags_of=lambda result: result)

        async def documents(*ids: int) -> list[int]:
            return list(ids)

        await optimizer.execute_query("a", documents, 1, 2)
        await optimizer.execute_query("b", documents, 2, 3)
        await optimizer.execute_query("c", documents, 4)
        assert optimizer.invalidate_tags(2, 9) == 2
        before = optimizer.get_stats()["cache_hits"]
        for key in "abc":
            await optimizer.execute_query(key, documents)
        assert optimizer.get_stats()["cache_hits"] == before + 1
        assert optimizer.get_stats()["invalidated"] == 2

    run(test)


def test_a_result_without_tags_at_all_is_not_kept() -> None:
    async def test() -> None:
        store = Store()
        optimizer = QueryOptimizer(tags_of=lambda result: None if result == "LATE" else ())
        for question in ("late", "late", "fine", "fine"):
            await optimizer.execute_query(question, store.quick, question)
        assert store.asked == ["late", "late", "fine"]

    run(test)


def test_another_version_of_the_index_drops_everything() -> None:
    async def test() -> None:
        store, versions = Store(), [1]
        optimizer = QueryOptimizer(version=lambda: versions[0])
        await optimizer.execute_query("a", store.quick, "a")
        versions[0] = 2
        await optimizer.execute_query("a", store.quick, "a")
        assert store.asked == ["a", "a"]
        under_way = asyncio.create_task(optimizer.execute_query("b", store.slow, "b", "old"))
        await turns()
        versions[0] = 3
        after = asyncio.create_task(optimizer.execute_query("b", store.slow, "b", "new"))
        await turns()
        store.gate.set()
        assert (await under_way, await after) == ("old", "new")
        assert await optimizer.execute_query("b", store.quick, "unused") == "new"

    run(test)


def test_what_was_read_before_the_index_changed_is_not_kept() -> None:
    async def test() -> None:
        store, versions = Store(), [1]
        optimizer = QueryOptimizer(version=lambda: versions[0])
        under_way = asyncio.create_task(optimizer.execute_query("q", store.slow, "q", "old"))
        await turns()
        versions[0] = 2
        await optimizer.execute_query("another", store.quick, "another")
        store.gate.set()
        assert await under_way == "old"
        assert await optimizer.execute_query("q", store.quick, "q") == "Q"

    run(test)


def test_closing_ends_what_is_under_way_and_the_next_query_works() -> None:
    async def test() -> None:
        store, optimizer = Store(), QueryOptimizer()
        callers = [asyncio.create_task(optimizer.execute_query("q", store.slow, "q")) for _ in range(3)]
        await turns()
        await optimizer.close()
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(error, CancelledError) for error in found)
        assert await optimizer.execute_query("q", store.quick, "q") == "Q"

    run(test)


def test_event_loops_on_several_threads_share_results_without_disturbing_each_other() -> None:
    optimizer = QueryOptimizer()
    found: list[list[str]] = []

    async def ask() -> list[str]:
        store = Store()
        return [
            await optimizer.execute_query(f"q{number % 5}", store.quick, f"q{number % 5}")
            for number in range(100)
        ]

    def on_a_loop() -> None:
        found.append(asyncio.run(ask()))

    threads = [threading.Thread(target=on_a_loop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(50):
        optimizer.invalidate_cache(f"q{number % 5}")
    for thread in threads:
        thread.join()
    assert found == [[f"Q{number % 5}" for number in range(100)]] * 8
    assert optimizer.get_stats()["total_queries"] == 800
    assert optimizer.get_stats()["in_flight_queries"] == 0


def markov_trace(length: int) -> list[str]:
    """Twelve pages, each followed by the next nine times in ten; the tenth jump goes anywhere."""
    choice, page, trace = random.Random(3), 0, []
    for _ in range(length):
        trace.append(f"page {page}")
        page = (page + 1) % 12 if choice.random() < 0.9 else choice.randrange(12)
    return trace


async def hit_rate_on_trace(*, per_minute: float, asked_ahead: list[str]) -> float:
    """Results live for two seconds, and a query comes every second: without guesses there are hardly any hits."""
    clock = FakeClock()

    async def ahead(key: str) -> str:
        asked_ahead.append(key)
        return key.upper()

    optimizer = QueryOptimizer(
        ttl_s=2, cache_size=50, prefetch=ahead, prefetches_per_minute=per_minute, clock=clock
    )
    store = Store()
    for key in markov_trace(600):
        assert await optimizer.execute_query(key, store.quick, key) == key.upper()
        await turns(6)
        clock.advance(1)
    stats = optimizer.get_stats()
    assert stats["prefetches"] == len(asked_ahead)
    assert stats["prefetch_hits"] <= stats["cache_hits"] + stats["deduplication_hits"]
    await optimizer.close()
    return stats["cache_hit_rate"]


def test_asking_ahead_raises_the_hit_rate_and_keeps_its_budget() -> None:
    async def test() -> None:
        none: list[str] = []
        few: list[str] = []
        many: list[str] = []
        without = await hit_rate_on_trace(per_minute=0, asked_ahead=none)
        some = await hit_rate_on_trace(per_minute=12, asked_ahead=few)
        enough = await hit_rate_on_trace(per_minute=120, asked_ahead=many)
        assert not none and without < 0.05
        assert len(few) <= 5 + 12 * 10  # the burst, and ten minutes
        assert without < some < enough
        assert enough > 0.7

    run(test)


def test_a_guess_that_fails_is_nobodys_failure() -> None:
    async def test() -> None:
        store, clock = Store(), FakeClock()

        async def broken(key: str) -> None:
            raise OSError("down")

        optimizer = QueryOptimizer(ttl_s=1, prefetch=broken, clock=clock)
        for _ in range(4):
            for key in ("a", "b"):
                assert await optimizer.execute_query(key, store.quick, key) == key.upper()
                await turns()
                clock.advance(2)
        stats = optimizer.get_stats()
        assert stats["prefetches"] == stats["prefetch_failures"] > 0

    run(test)


def test_a_caller_joins_a_guess_under_way_and_survives_its_failure() -> None:
    async def test() -> None:
        store, clock, gate = Store(), FakeClock(), asyncio.Event()

        async def broken(key: str) -> None:
            await gate.wait()
            raise OSError("down")

        optimizer = QueryOptimizer(ttl_s=1, prefetch=broken, clock=clock)
        for key in ("a", "b", "a", "b", "a"):
            await optimizer.execute_query(key, store.quick, key)
            clock.advance(2)
        caller = asyncio.create_task(optimizer.execute_query("b", store.quick, "b"))
        await turns()
        assert optimizer.get_stats()["prefetch_hits"] == 1
        gate.set()
        assert await caller == "B"
        await optimizer.close()

    run(test)


def test_a_hit_costs_less_than_a_twentieth_of_a_millisecond() -> None:
    async def test() -> None:
        async def ahead(key: str) -> str:
            return key

        optimizer = QueryOptimizer(version=lambda: 1, prefetch=ahead)
        for number in range(1_000):
            await optimizer.execute_query(f"q{number}", len, "abc")
        taken = []
        for number in range(1_000):
            started = time.perf_counter()
            await optimizer.execute_query(f"q{number}", len, "abc")
            taken.append(time.perf_counter() - started)
        assert sorted(taken)[500] * 1e3 <= 0.05

    run(test)
