"""Queries asked, cancelled, failing, outdated and expiring in any order: nobody gets what was stale when he asked."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fake_clock import FakeClock
from ragstone.cache.query_optimizer import QueryOptimizer

TTL_S = 10.0
CAPACITY = 3
# A key names the documents that its query reads.
KEYS = st.sampled_from(["a", "ab", "b", "c"])
DOCUMENTS = st.sampled_from(["a", "b"])
# How others learn of a change; whoever drops everything hides the faults of the finer ways, so it is rare.
NEWS = st.sampled_from(["tag", "tag", "tag", "version", "version", "prefix", "all"])


class StoreIsDownError(Exception):
    """What a failing query raises."""


@dataclass(eq=False)
class Reading:
    """A query function at work: it has read the documents and waits for leave to say so."""

    leave: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(eq=False)
class Asked:
    """A caller, and what was true when he asked."""

    key: str
    task: asyncio.Task[Any]
    values: dict[str, int]
    at_s: float
    cancelled: bool = False


class QueryMachine(RuleBasedStateMachine):
    """A store of three documents whose values only grow, behind an optimizer, on one event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.values = dict.fromkeys("abc", 0)
        self.version = 0
        self.readings: list[Reading] = []
        self.callers: list[Asked] = []
        self.failures = 0
        self.optimizer = QueryOptimizer(
            TTL_S,
            CAPACITY,
            version=lambda: self.version,
            tags_of=_documents_of,
            prefetch=self.read,
            prefetches_per_minute=600,
            clock=self.clock,
        )

    async def read(self, key: str) -> dict[str, Any]:
        """The query: it reads at once and answers when it is let."""
        values = {document: self.values[document] for document in key}
        reading = Reading()
        self.readings.append(reading)
        try:
            await reading.leave
        finally:
            self.readings.remove(reading)
        return {"values": values, "at_s": self.clock()}  # a result's life begins when it is there

    def turn(self) -> None:
        """Let everything that can run do so."""

        async def turns() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.runner.run(turns())
        for caller in [caller for caller in self.callers if caller.task.done()]:
            self.callers.remove(caller)
            self.check(caller)

    def check(self, caller: Asked) -> None:
        if caller.task.cancelled():
            assert caller.cancelled
            return
        error = caller.task.exception()
        if error is not None:
            assert isinstance(error, StoreIsDownError) and self.failures
            return
        found = caller.task.result()
        assert set(found["values"]) == set(caller.key)
        assert all(found["values"][document] >= caller.values[document] for document in caller.key)
        assert found["at_s"] > caller.at_s - TTL_S

    @rule(key=KEYS)
    def ask(self, key: str) -> None:
        async def begin() -> None:
            task = asyncio.create_task(self.optimizer.execute_query(key, self.read, key))
            self.callers.append(Asked(key, task, dict(self.values), self.clock()))

        self.runner.run(begin())
        self.turn()

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.callers))
        caller.cancelled = True

        async def end() -> None:
            caller.task.cancel()

        self.runner.run(end())
        self.turn()

    @precondition(lambda self: self.readings)
    @rule(data=st.data(), fails=st.booleans())
    def let_answer(self, data: st.DataObject, fails: bool) -> None:  # noqa: FBT001
        reading = data.draw(st.sampled_from(self.readings))

        async def let() -> None:
            if fails:
                self.failures += 1
                reading.leave.set_exception(StoreIsDownError())
            else:
                reading.leave.set_result(None)

        self.runner.run(let())
        self.turn()

    @rule(document=DOCUMENTS, news=NEWS)
    def change(self, document: str, news: str) -> None:
        self.values[document] += 1
        if news == "tag":
            self.optimizer.invalidate_tags(document)
        elif news == "version":
            self.version += 1
        elif news == "all":
            self.optimizer.invalidate_cache()
        else:
            for key in ("a", "b"):
                self.optimizer.invalidate_prefix(key)

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def bounds_hold_and_figures_add_up(self) -> None:
        stats = self.optimizer.get_stats()
        assert stats["cache_size"] <= CAPACITY
        assert stats["total_queries"] == stats["cache_hits"] + stats["cache_misses"]
        assert (
            stats["deduplication_hits"] + stats["shared_hits"] <= stats["cache_misses"] + stats["prefetches"]
        )

    def teardown(self) -> None:
        async def end() -> None:
            while self.readings:
                for reading in self.readings:
                    if not reading.leave.done():
                        reading.leave.set_result(None)
                await asyncio.sleep(0)
            await asyncio.gather(*(caller.task for caller in self.callers), return_exceptions=True)
            await self.optimizer.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        self.runner.run(end())
        self.turn()
        assert not self.callers
        assert self.optimizer.get_stats()["in_flight_queries"] == 0
        self.runner.close()


def _documents_of(found: dict[str, Any]) -> list[Hashable]:
    return list(found["values"])


TestQueryMachine = QueryMachine.TestCase
TestQueryMachine.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
