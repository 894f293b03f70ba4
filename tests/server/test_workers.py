"""Lanes: bounded in number and in time, told at once, and open again when there is room."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fake_clock import FakeClock
from ragstone.server.problems import BusyError
from ragstone.server.workers import Room, Workers


def _lane(clock: FakeClock) -> Workers:
    room = Room("tests", waiting=64, wait_s=0.25, standing_turns=2, clock=clock)
    return Workers(room, threads=4, clock=clock)


def _fill(workers: Workers, most: int) -> int:
    """How many slots could be taken."""
    for taken in range(most):
        try:
            workers.take_slot()
        except BusyError:
            return taken
    return most


def _give_back(workers: Workers, slots: int) -> None:
    for _ in range(slots):
        workers.give_slot_back()


def _usually(workers: Workers, clock: FakeClock, seconds: float) -> None:
    """Let calls take that long."""

    async def run() -> None:
        for _ in range(100):
            await workers.run(lambda: clock.advance(seconds))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("usual_s", "most"),
    [(0.0, 68), (0.004, 68), (0.05, 24), (0.1, 14), (0.2, 9), (10.0, 8)],
)
def test_a_lane_lets_wait_as_many_as_will_be_served_in_time(usual_s: float, most: int) -> None:
    clock = FakeClock()
    workers = _lane(clock)
    _usually(workers, clock, usual_s)
    assert _fill(workers, 100) == most
    if usual_s:  # the last one let in waits no longer than it may, or is one of those that always may
        assert most == 8 or (most - 4) / 4 * usual_s <= 0.26
    workers.give_slot_back()
    assert _fill(workers, 100) == 1
    workers.close()


def test_a_queue_that_stands_is_kept_short_until_nobody_is_refused_any_more() -> None:
    clock = FakeClock()
    workers = _lane(clock)
    _usually(workers, clock, 0.05)
    assert _fill(workers, 100) == 24  # a burst: .25 s of waiting
    clock.advance(0.2)
    _give_back(workers, 19)
    assert _fill(workers, 100) == 19  # behind the one that waits: a burst still
    clock.advance(0.06)
    _give_back(workers, 19)
    assert _fill(workers, 100) == 7  # somebody has waited for .26 s: two behind each that runs
    clock.advance(0.2)
    _give_back(workers, 12)
    assert _fill(workers, 100) == 12  # empty for a moment, but others came too soon .2 s ago
    clock.advance(0.26)
    _give_back(workers, 12)
    assert _fill(workers, 100) == 24  # a burst again
    workers.close()


def test_a_queue_that_stands_and_is_short_stays_as_it_is() -> None:
    clock = FakeClock()
    workers = _lane(clock)
    _usually(workers, clock, 0.05)
    assert _fill(workers, 6) == 6
    for _ in range(10):
        clock.advance(0.2)
        _give_back(workers, 1)
        assert _fill(workers, 1) == 1  # two wait, always: nobody is refused
    assert _fill(workers, 100) == 6  # and more than two behind each that runs are not let in
    workers.close()


def test_a_lane_forgets_that_calls_were_slow() -> None:
    clock = FakeClock()
    workers = _lane(clock)
    _usually(workers, clock, 10.0)
    _usually(workers, clock, 0.001)
    assert _fill(workers, 100) == 68
    workers.close()


def test_threads_that_take_and_give_back_at_once_lose_no_slot() -> None:
    workers = Workers(Room("tests", waiting=100), threads=2)

    def work() -> None:
        for _ in range(500):
            with workers.slot():
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert workers.taken == 0
    workers.close()
