"""A monitor loses nothing, forgets what is old, and its percentiles are numpy's."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.monitoring.durations import BUCKETS_MS, WINDOW
from ragstone.monitoring.monitor import MAX_NAME_CHARS, MAX_NAMES, OTHER, PerformanceMonitor
from ragstone.monitoring.process import cpu_seconds, process_gauges
from ragstone.monitoring.records import Gauge

THREADS, CALLS = 16, 2_000


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.integers(0, 3))
def test_the_statistics_are_those_of_numpy_over_the_latest_thousand(values: list[float], old: int) -> None:
    monitor = PerformanceMonitor()
    taken = [5e5] * (old * 400) + values * (1 + old * 10)
    for took_ms in taken:
        monitor.observe("op", took_ms)
    latest = np.array(taken[-WINDOW:])
    found = monitor.report()["operations"]["op"]
    assert (found["count"], found["samples"], found["errors"]) == (len(taken), len(latest), 0)
    assert found["total_time_ms"] == pytest.approx(sum(taken))
    expected = {f"p{p}_ms": float(np.percentile(latest, p)) for p in (50, 90, 95, 99)}
    expected |= {"avg_time_ms": latest.mean(), "min_time_ms": latest.min(), "max_time_ms": latest.max()}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    latency = monitor.latencies()["op"]
    assert (latency.p50, latency.p90, latency.p95, latency.p99) == tuple(list(expected.values())[:4])
    assert latency.count == len(latest)


def test_sixteen_threads_lose_no_call_while_reports_are_made() -> None:
    monitor = PerformanceMonitor()
    begin = threading.Barrier(THREADS + 1)

    def work(number: int) -> None:
        begin.wait()
        for call in range(CALLS):
            monitor.observe("shared", 1.0, {"stage": 0.5})
            monitor.observe(f"own{number}", float(call))
            monitor.record_error("shared")
            monitor.record_metric("size", call)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    begin.wait()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        operations = monitor.report()["operations"]
        if "shared" in operations:
            assert seen <= operations["shared"]["count"]
            seen = operations["shared"]["count"]
    report = monitor.report()
    shared = report["operations"]["shared"]
    assert (shared["count"], shared["errors"]) == (THREADS * CALLS, THREADS * CALLS)
    assert shared["total_time_ms"] == THREADS * CALLS
    assert report["operations"]["shared.stage"]["count"] == THREADS * CALLS
    assert all(report["operations"][f"own{n}"]["count"] == CALLS for n in range(THREADS))
    assert report["metrics"]["size"]["count"] == THREADS * CALLS
    buckets = monitor.snapshot().operations["shared"].buckets
    assert sum(buckets) == buckets[BUCKETS_MS.index(1)] == THREADS * CALLS


class SlowToStore:
    """One millisecond that lets other threads run in the middle of being stored."""

    def __float__(self) -> float:
        """1.0, later."""
        time.sleep(0)
        return 1.0

    def __radd__(self, other: float) -> float:
        """As 1.0."""
        return other + 1.0

    def __ge__(self, other: float) -> bool:
        """As 1.0."""
        return other <= 1.0


def test_threads_that_meet_in_the_middle_of_a_recording_lose_nothing() -> None:
    monitor = PerformanceMonitor()

    def work() -> None:
        for _ in range(200):
            monitor.observe("op", cast(float, SlowToStore()))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = monitor.report()["operations"]["op"]
    assert found["count"] == found["total_time_ms"] == 200 * THREADS


def test_more_names_than_there_is_room_for_are_counted_together() -> None:
    monitor = PerformanceMonitor()
    for number in range(3 * MAX_NAMES):
        monitor.observe(f"op{number}", 1.0, {"stage": 1.0})
        monitor.record_error(f"failed{number}")
        monitor.record_metric(f"metric{number}", number)
    report = monitor.report()
    assert len(report["operations"]) == len(report["metrics"]) == MAX_NAMES
    assert report["operations"]["op0"]["count"] == report["operations"]["op0.stage"]["count"] == 1
    assert sum(found["count"] for found in report["operations"].values()) == 6 * MAX_NAMES
    assert sum(report["errors"].values()) == 3 * MAX_NAMES
    assert report["metrics"][OTHER]["count"] == 2 * MAX_NAMES + 1
    monitor.reset_stats()
    monitor.observe("x" * 10_000, 1.0)
    monitor.record_metric("y" * 10_000, 1.0)
    report = monitor.report()
    assert [len(name) for name in (*report["operations"], *report["metrics"])] == [MAX_NAME_CHARS] * 2


def test_no_duration_and_no_number_are_refused_and_change_nothing() -> None:
    monitor = PerformanceMonitor()
    for took_ms in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match="op cannot take"):
            monitor.observe("op", took_ms)
        with pytest.raises(InputError):
            asyncio.run(monitor.track_operation("op", took_ms))
        with pytest.raises(InputError):
            monitor.observe("op", 1.0, {"fine": 1.0, "stage": took_ms})
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(InputError, match="size cannot be"):
            monitor.record_metric("size", value)
        with pytest.raises(InputError, match="size cannot be"):
            Gauge("size", value, "")
    for name, labels in (("a-b", {}), ("", {}), ("a", {"b:c": ""})):
        with pytest.raises(InputError, match="is no name"):
            Gauge(name, 1.0, "", labels)
    for interval in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="report_interval"):
            PerformanceMonitor(report_interval=interval)
    report = monitor.report()
    assert (report["operations"], report["metrics"]) == ({}, {})


def test_each_option_does_what_its_name_says() -> None:
    def report(monitor: PerformanceMonitor) -> dict[str, dict[str, dict[str, float]]]:
        monitor.observe("op", 2.0, {"stage": 1.0})
        monitor.record_error("op")
        monitor.record_metric("size", 3.0)
        return monitor.report()

    everything = report(PerformanceMonitor())
    assert set(everything["operations"]) == {"op", "op.stage"}
    assert everything["metrics"]["size"]["last"] == 3.0
    assert "process_resident_memory_bytes" in everything["gauges"]
    assert set(report(PerformanceMonitor(enable_detailed=False))["operations"]) == {"op"}
    plain = report(PerformanceMonitor(track_percentiles=False))
    names = set(everything["operations"]["op"]) - set(plain["operations"]["op"])
    assert names == {"p50_ms", "p90_ms", "p95_ms", "p99_ms"}
    counted = report(PerformanceMonitor(track_latency=False))["operations"]["op"]
    assert (counted["count"], counted["errors"], counted["samples"]) == (1, 1, 0)
    assert counted["avg_time_ms"] == counted["total_time_ms"] == 0.0
    assert report(PerformanceMonitor(track_memory=False))["gauges"] == {}
    off = PerformanceMonitor(enabled=False)
    off.add_gauges(lambda: [Gauge("size", 1.0, "")])
    nothing = report(off)
    assert [nothing[name] for name in ("operations", "metrics", "errors", "gauges")] == [{}] * 4
    off.enabled = True
    assert report(off)["operations"]["op"]["count"] == 1


def test_reset_forgets_everything_and_the_uptime_begins_again() -> None:
    now = [100.0]
    monitor = PerformanceMonitor(clock=lambda: now[0])
    monitor.observe("op", 1.0)
    monitor.record_metric("size", 1.0)
    now[0] += 50
    assert monitor.report()["uptime_seconds"] == 50
    monitor.reset_stats()
    now[0] += 2
    report = monitor.report()
    assert (report["uptime_seconds"], report["operations"], report["metrics"]) == (2, {}, {})


def test_gauges_are_read_when_a_report_is_made_until_they_are_taken_back() -> None:
    monitor = PerformanceMonitor(track_memory=False)
    level = [0.5]

    def read() -> list[Gauge]:
        return [Gauge("level", level[0], "", {"tank": "a"}), Gauge("level", level[0], "", {"tank": "a"})]

    monitor.add_gauges(read)
    assert monitor.report()["gauges"] == {"level{tank=a}": 0.5}
    level[0] = 0.25
    assert monitor.report()["gauges"] == {"level{tank=a}": 0.25}
    assert monitor.to_prometheus().count('level{tank="a"}') == 1
    monitor.remove_gauges(read)
    assert monitor.report()["gauges"] == {}


def test_memory_processor_and_disk_are_the_systems_own_figures(tmp_path: Path) -> None:
    # In a process of its own, where nobody else takes or gives back memory meanwhile.
    measured = (
        "from ragstone.monitoring.process import resident_bytes\n"
        "before = resident_bytes(); held = bytearray(b'x') * 50_000_000; print(resident_bytes() - before)"
    )
    grown = int(subprocess.run([sys.executable, "-c", measured], capture_output=True, check=True).stdout)
    assert 40e6 < grown < 60e6
    started = cpu_seconds()
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    assert cpu_seconds() - started >= 0.03  # .05, counted in hundredths
    gauges = {gauge.name: gauge.value for gauge in process_gauges(tmp_path / "not" / "yet", cpu_percent=7.0)}
    disk = os.statvfs(tmp_path)
    assert gauges["ragstone_disk_size_bytes"] == disk.f_blocks * disk.f_frsize
    assert gauges["ragstone_disk_free_bytes"] == pytest.approx(disk.f_bavail * disk.f_frsize, abs=1e9)
    assert gauges["ragstone_cpu_percent"] == 7.0
    now = [0.0]
    monitor = PerformanceMonitor(clock=lambda: now[0])
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    now[0] = 0.1
    assert monitor.report()["gauges"]["ragstone_cpu_percent"] >= 35  # 50, counted in hundredths of a second


def test_the_json_is_the_report_and_the_summary_names_the_slowest_first() -> None:
    now = [0.0]
    monitor = PerformanceMonitor(track_memory=False, clock=lambda: now[0])
    monitor.observe("quick", 1.0)
    for took_ms in (100.0, 300.0):
        monitor.observe("slow", took_ms)
    monitor.record_error("slow")
    monitor.record_metric('odd "name" \ud800', 2.5)
    assert json.loads(monitor.to_json().encode()) == monitor.report()
    lines = monitor.summary().splitlines()
    assert lines[1] == "slow: 2 calls, 1 failed, mean 200.00 ms, p50 200.00, p95 290.00, p99 298.00"
    assert lines[2].startswith("quick: 1 calls")
    assert lines[3].endswith(": last 2.5, mean 2.5")
