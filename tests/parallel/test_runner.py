"""Calls end by their deadlines, whatever they do, and no lane holds up another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from parallel.scripted_sources import LIMIT_S, Clock, our_threads
from ragstone.errors import CancelledError, InputError, ModelError
from ragstone.parallel.runner import LEFT_BEHIND_MAX, Outcome, Runner

Open = Callable[..., Runner]


@pytest.fixture
def opened() -> Iterator[Open]:
    runners: list[Runner] = []

    def open_runner(*lanes: str, workers: int = 4, **options: object) -> Runner:
        runners.append(Runner(lanes, workers=workers, **options))  # type: ignore[arg-type]
        return runners[-1]

    yield open_runner
    for runner in runners:
        runner.close(LIMIT_S)


class Gate:
    """Calls wait in it until it opens; it knows how many are inside and how many were at most."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        self._open.wait(LIMIT_S)
        with self._lock:
            self.inside -= 1
        return "through"

    def wait_for(self, calls: int) -> None:
        for _ in range(calls):
            assert self.entered.acquire(timeout=LIMIT_S)

    def open(self) -> None:
        self._open.set()


def started(
    runner: Runner,
    lane: str,
    work: Callable[[], object],
    *,
    timeout_s: float = LIMIT_S,
    total_s: float = LIMIT_S,
) -> Future[Outcome[object]]:
    async def plan() -> Outcome[object]:
        deadline_s = asyncio.get_running_loop().time() + total_s
        return await runner.call(lane, work, timeout_s=timeout_s, deadline_s=deadline_s)

    return runner.start(plan)


def ended(
    runner: Runner,
    lane: str,
    work: Callable[[], object],
    *,
    timeout_s: float = LIMIT_S,
    total_s: float = LIMIT_S,
) -> Outcome[object]:
    return runner.wait(started(runner, lane, work, timeout_s=timeout_s, total_s=total_s))


def fail() -> None:
    raise ModelError("the endpoint does not answer")


def test_an_answer_and_an_error_are_outcomes(opened: Open) -> None:
    runner = opened("a")
    answer = ended(runner, "a", lambda: 7)
    assert (answer.status, answer.value, answer.error) == ("ok", 7, "")
    failed = ended(runner, "a", fail)
    assert (failed.status, failed.value, failed.error) == ("failed", None, "the endpoint does not answer")
    stopped = ended(runner, "a", lambda: next(iter(())))
    assert (stopped.status, stopped.error) == ("failed", "StopIteration")


def test_a_call_that_hangs_is_late_and_gives_its_place_back(opened: Open) -> None:
    runner, gate = opened("slow", "quick", workers=1), Gate()
    late = ended(runner, "slow", gate, timeout_s=0.05)
    assert (late.status, late.error) == ("late", "no answer within 0.05 s")
    assert ended(runner, "quick", lambda: "here").value == "here"  # the only worker is free again
    gate.open()


def test_a_lane_whose_calls_do_not_come_back_is_refused_until_one_does(opened: Open) -> None:
    runner, gate = opened("hung", workers=2, failures=100), Gate()
    for _ in range(LEFT_BEHIND_MAX):
        assert ended(runner, "hung", gate, timeout_s=0.01).status == "late"
    gate.wait_for(LEFT_BEHIND_MAX)
    refused = ended(runner, "hung", gate)
    assert (refused.status, refused.error) == ("refused", "4 earlier calls have not come back")
    assert gate.inside == LEFT_BEHIND_MAX
    gate.open()
    give_up_s = time.monotonic() + LIMIT_S
    while (again := ended(runner, "hung", lambda: "back")).status == "refused":
        assert time.monotonic() < give_up_s
    assert again.value == "back"


def test_no_more_calls_run_at_once_than_there_are_workers(opened: Open) -> None:
    runner, gate = opened("a", "b", "c", workers=3), Gate()
    futures = [started(runner, lane, gate) for lane in "abcabc"]
    gate.wait_for(3)
    gate.open()
    assert {runner.wait(future).value for future in futures} == {"through"}
    assert gate.most == 3


def test_a_lane_takes_half_of_the_workers_at_most(opened: Open) -> None:
    runner, gate = opened("slow", "quick", workers=4), Gate()
    futures = [started(runner, "slow", gate) for _ in range(6)]
    gate.wait_for(2)
    assert ended(runner, "quick", lambda: "here").value == "here"
    assert gate.inside == 2
    gate.open()
    assert all(runner.wait(future).status == "ok" for future in futures)
    assert gate.most == 2


def test_a_lane_takes_the_share_it_is_given(opened: Open) -> None:
    runner, gate = opened("only", workers=4, share=4), Gate()
    futures = [started(runner, "only", gate) for _ in range(4)]
    gate.wait_for(4)
    gate.open()
    assert all(runner.wait(future).status == "ok" for future in futures)


def test_who_finds_no_worker_in_time_is_refused_and_the_source_not_blamed(opened: Open) -> None:
    runner, gate = opened("a", "b", workers=1, failures=1), Gate()
    busy = started(runner, "a", gate)
    gate.wait_for(1)
    for _ in range(3):
        waited = ended(runner, "b", lambda: "here", total_s=0.02)
        assert (waited.status, waited.error) == ("refused", "no worker came free in time")
    gate.open()
    assert runner.wait(busy).status == "ok"
    assert ended(runner, "b", lambda: "here").value == "here"


def test_nothing_begins_when_no_time_is_left(opened: Open) -> None:
    begun: list[int] = []
    refused = ended(opened("a"), "a", lambda: begun.append(1), total_s=0.0)
    assert (refused.status, refused.error, begun) == ("refused", "no time was left", [])


def test_a_lane_that_fails_again_and_again_is_not_asked_until_it_may_have_recovered(opened: Open) -> None:
    clock = Clock()
    runner = opened("a", "b", failures=3, recovery_s=30.0, clock=clock)
    for _ in range(3):
        assert ended(runner, "a", fail).status == "failed"
    refused = ended(runner, "a", lambda: "well")
    assert (refused.status, refused.error) == ("refused", "3 failures in a row; asked again in 30 s")
    assert ended(runner, "b", lambda: "well").status == "ok"
    clock.now_s += 30
    assert ended(runner, "a", fail).status == "failed"
    assert ended(runner, "a", lambda: "well").status == "refused"
    clock.now_s += 30
    assert [ended(runner, "a", lambda: "well").status for _ in range(2)] == ["ok", "ok"]


def test_late_calls_count_as_failures(opened: Open) -> None:
    runner, gate = opened("a", failures=2, clock=Clock()), Gate()
    for _ in range(2):
        assert ended(runner, "a", gate, timeout_s=0.01).status == "late"
    assert "2 failures in a row" in ended(runner, "a", gate).error
    gate.open()


def test_a_source_that_refuses_its_input_is_not_broken(opened: Open) -> None:
    runner = opened("a", failures=1)

    def refuse() -> None:
        raise InputError("no such field", hint="one of a, b")

    for _ in range(3):
        assert ended(runner, "a", refuse).error == "no such field (one of a, b)"


def test_only_one_call_tries_a_lane_that_may_have_recovered(opened: Open) -> None:
    clock, gate = Clock(), Gate()
    runner = opened("a", "b", failures=1, clock=clock)
    ended(runner, "a", fail)
    clock.now_s += 30
    trial = started(runner, "a", gate)
    gate.wait_for(1)
    assert ended(runner, "a", lambda: "second").status == "refused"
    trial.cancel()
    give_up_s = time.monotonic() + LIMIT_S
    while (
        next_one := ended(runner, "a", lambda: "next")
    ).status == "refused":  # the cancelling is on its way
        assert time.monotonic() < give_up_s
    assert next_one.value == "next"
    gate.open()


def test_who_waited_for_a_worker_is_refused_when_the_lane_failed_meanwhile(opened: Open) -> None:
    runner, gate = opened("a", "b", workers=1, failures=1, clock=Clock()), Gate()
    busy = started(runner, "b", gate)
    gate.wait_for(1)
    waiting = [started(runner, "a", fail) for _ in range(3)]
    gate.open()
    assert runner.wait(busy).status == "ok"
    assert sorted(runner.wait(call).status for call in waiting) == ["failed", "refused", "refused"]


def test_closing_cancels_who_waits_and_leaves_the_hung_behind(opened: Open) -> None:
    runner, gate = opened("a"), Gate()
    caller = started(runner, "a", gate)
    gate.wait_for(1)
    assert runner.close(0.0) == 1
    with pytest.raises(CancelledError, match="closed"):
        runner.wait(caller)
    with pytest.raises(InputError, match="closed"):
        started(runner, "a", gate)
    assert runner.close() == 0
    (left,) = [thread for thread in threading.enumerate() if thread.name in our_threads()]
    gate.open()
    left.join(LIMIT_S)


def test_a_coroutine_is_told_of_the_closing_and_not_that_it_was_cancelled(opened: Open) -> None:
    runner, gate = opened("a"), Gate()

    async def caller() -> None:
        future = started(runner, "a", gate)
        await asyncio.to_thread(gate.wait_for, 1)
        closing = asyncio.to_thread(runner.close, 0.0)
        with pytest.raises(CancelledError, match="closed"):
            await asyncio.gather(runner.wait_async(future), closing)

    asyncio.run(caller())
    gate.open()
    for thread in threading.enumerate():
        if thread.name in our_threads():
            thread.join(LIMIT_S)


def test_a_cancelled_coroutine_leaves_its_call_to_itself(opened: Open) -> None:
    runner, gate = opened("a", workers=1), Gate()

    async def caller() -> None:
        task = asyncio.create_task(runner.wait_async(started(runner, "a", gate)))
        await asyncio.to_thread(gate.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await runner.wait_async(started(runner, "a", lambda: "free"))).value == "free"

    asyncio.run(caller())
    gate.open()


def test_a_plan_that_would_wait_for_itself_is_refused(opened: Open) -> None:
    runner = opened("a")

    async def outer() -> str:
        with pytest.raises(InputError, match="wait"):
            ended(runner, "a", lambda: 1)
        return "went on"

    assert runner.wait(runner.start(outer)) == "went on"


def test_a_runner_that_was_never_used_starts_nothing(opened: Open) -> None:
    runner = opened("a")
    assert our_threads() == []
    assert runner.close() == 0
