"""Reports come when they are due, a failing one stops nothing, and nothing runs on after `stop`."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator

import pytest

from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.records import Gauge, Snapshot
from ragstone.monitoring.reporting import PeriodicReport

LIMIT_S = 10  # for what takes no time


class Clock:
    """Seconds that pass when told. Whoever waits is woken by `advance`, early or in time, and by `release`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._changed = threading.Condition()
        self._waits: queue.Queue[float] = queue.Queue()
        self._moves = 0
        self._released = False

    def __call__(self) -> float:
        return self._now

    def wait(self, seconds: float) -> None:
        """Until the next move of the clock."""
        with self._changed:
            before = self._moves
            self._waits.put(seconds)
            assert self._changed.wait_for(lambda: self._moves != before or self._released, LIMIT_S)

    def advance(self, seconds: float) -> None:
        """Let them pass."""
        with self._changed:
            self._now += seconds
            self._moves += 1
            self._changed.notify_all()

    def waiting(self) -> float:
        """For how long the thread has gone to sleep; waits until it has."""
        return self._waits.get(timeout=LIMIT_S)

    def release(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._released = True
            self._changed.notify_all()


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    made.release()


def test_a_report_is_made_each_interval_and_missed_ones_are_left_out(clock: Clock) -> None:
    made: list[float] = []
    slow = [0.0]

    def report() -> None:
        made.append(clock())
        clock._now += slow[0]

    reports = PeriodicReport(report, 60, clock=clock, wait=clock.wait)
    reports.start()
    assert clock.waiting() == 60
    clock.advance(59)  # woken too early: it goes to sleep again
    assert (clock.waiting(), made) == (1, [])
    clock.advance(1)
    assert (clock.waiting(), made) == (60, [60])
    clock.advance(200)  # asleep over two reports
    assert (clock.waiting(), made) == (40, [60, 260])
    slow[0] = 75.0
    clock.advance(40)  # one that takes longer than the interval
    assert (clock.waiting(), made) == (45, [60, 260, 300])
    clock.release()
    reports.stop()


def test_a_failing_exporter_is_logged_and_the_others_and_the_next_report_go_on(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Snapshot] = []

    def broken(_: Snapshot) -> None:
        raise OSError("the network is gone")

    def unreadable() -> list[Gauge]:
        raise OSError("the sensor is gone")

    monitor = PerformanceMonitor(
        report_interval=5, exporters=[broken, sent.append], clock=clock, wait=clock.wait, track_memory=False
    )
    monitor.observe("op", 2.0)
    with caplog.at_level(logging.INFO, logger="ragstone"):
        monitor.start()
        monitor.start()  # once is enough
        assert clock.waiting() == 5
        monitor.add_gauges(unreadable)  # the whole report fails
        clock.advance(5)
        assert clock.waiting() == 5
        assert sent == []
        monitor.remove_gauges(unreadable)
        clock.advance(5)
        assert clock.waiting() == 5
        clock.release()
        monitor.stop()
        monitor.stop()
    assert [snapshot.operations["op"].count for snapshot in sent] == [1]
    messages = [record.message for record in caplog.records]
    assert messages[0] == "a periodic report failed"
    assert messages[1].startswith("performance over 10 s: 1 operations\nop: 1 calls, 0 failed, mean 2.00 ms")
    assert messages[2] == "handing on the figures failed"


def test_stopping_takes_no_time_and_leaves_no_thread() -> None:
    with PerformanceMonitor(report_interval=3600):
        assert any(thread.name == "ragstone-monitor" for thread in threading.enumerate())
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert not any(thread.name == "ragstone-monitor" for thread in threading.enumerate())


def test_without_an_interval_or_disabled_nothing_is_started() -> None:
    for monitor in (PerformanceMonitor(), PerformanceMonitor(report_interval=1, enabled=False)):
        with monitor:
            assert not any(thread.name == "ragstone-monitor" for thread in threading.enumerate())


def test_a_real_interval_makes_real_reports() -> None:
    arrived = threading.Event()
    with PerformanceMonitor(report_interval=0.01, exporters=[lambda _: arrived.set()]):
        assert arrived.wait(LIMIT_S)
