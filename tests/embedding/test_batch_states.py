"""Texts asked for, cancelled, refused, stopped and started in any order: each caller gets his vectors or an error."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scripted_models import ScriptedModel

from fake_clock import FakeClock
from hashing_embedder import HashingEmbedder
from ragstone.embedding.batch_embedder import BatchEmbedder
from ragstone.errors import ModelError
from ragstone.types import Vector

BATCH, CACHED = 3, 4
QUEUE_TIMEOUT_S = 10.0
TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "bad"]), min_size=1, max_size=5)
EXPECTED = HashingEmbedder(dim=8)


@dataclass(eq=False)
class Asked:
    """A caller of `embed_batch`."""

    texts: list[str]
    task: asyncio.Task[list[Vector]]
    cancelled: bool = False


class BatchMachine(RuleBasedStateMachine):
    """One event loop, a clock that stands still, and a model behind a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.model = ScriptedModel()
        self.embedder = BatchEmbedder(self.model, BATCH, CACHED, QUEUE_TIMEOUT_S, clock=self.clock)
        self.callers: list[Asked] = []
        self.stops: list[asyncio.Task[None]] = []
        self.asked = 0
        self.dropped = False

    @rule(texts=TEXTS)
    def ask(self, texts: list[str]) -> None:
        async def begin() -> None:
            self.callers.append(Asked(texts, asyncio.create_task(self.embedder.embed_batch(texts))))
            await asyncio.sleep(0)

        self.runner.run(begin())
        self.asked += len(texts)

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.callers))
        caller.cancelled = True

        async def end() -> None:
            caller.task.cancel()
            await asyncio.sleep(0)

        self.runner.run(end())

    @rule()
    def start(self) -> None:
        self.runner.run(self.embedder.start_background_processor())

    @rule(drain=st.booleans())
    def stop(self, drain: bool) -> None:  # noqa: FBT001
        self.dropped = self.dropped or not drain

        async def begin() -> None:
            self.stops.append(asyncio.create_task(self.embedder.stop_background_processor(drain=drain)))
            await asyncio.sleep(0)

        self.runner.run(begin())

    @rule(opened=st.booleans())
    def move_the_gate(self, opened: bool) -> None:  # noqa: FBT001
        (self.model.gate.set if opened else self.model.gate.clear)()

    @rule(seconds=st.sampled_from([1.0, QUEUE_TIMEOUT_S]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        with self.embedder._changed:
            self.embedder._changed.notify_all()  # the thread looks at its clock again

    @invariant()
    def bounds_hold(self) -> None:
        stats = self.embedder.get_stats()
        assert stats["cache_hits"] + stats["cache_misses"] <= self.asked
        assert stats["cache_size"] <= CACHED
        assert not self.model.overlapped
        assert all(len(batch) <= BATCH for batch in self.model.batches)

    def teardown(self) -> None:
        self.model.gate.set()

        async def end() -> None:
            async with asyncio.timeout(30):
                await self.embedder.stop_background_processor()
                ended = [caller.task for caller in self.callers] + self.stops
                await asyncio.gather(*ended, return_exceptions=True)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        self.runner.run(end())
        self.runner.close()
        for stopped in self.stops:
            stopped.result()
        for caller in self.callers:
            self.check(caller)
        self.figures_add_up()
        give_up_s = time.monotonic() + 10
        while any(thread.name == "ragstone-batches" for thread in threading.enumerate()):
            assert time.monotonic() < give_up_s, "a thread is left"

    def check(self, caller: Asked) -> None:
        if caller.task.cancelled():
            assert caller.cancelled
        elif (error := caller.task.exception()) is not None:
            assert isinstance(error, ModelError)
            assert "bad" in caller.texts or self.dropped
        else:
            assert "bad" not in caller.texts
            for text, vector in zip(caller.texts, caller.task.result(), strict=True):
                assert np.array_equal(vector, EXPECTED.embed_query(text))
                assert not vector.flags.writeable

    def figures_add_up(self) -> None:
        stats = self.embedder.get_stats()
        ended = ("total_embeddings", "deduplicated", "failed", "withdrawn")
        assert stats["queue_length"] == 0
        assert stats["cache_misses"] == sum(stats[name] for name in ended)  # type: ignore[literal-required]


TestBatchMachine = BatchMachine.TestCase
TestBatchMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
