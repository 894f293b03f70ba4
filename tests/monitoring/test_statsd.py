"""Figures arrive at a real UDP listener, few datagrams at a time, and a missing one is no one's trouble."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from ragstone.errors import InputError
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.records import Gauge
from ragstone.monitoring.statsd import MAX_DATAGRAM_BYTES, StatsDExporter


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(5)
        yield opened


def received(listener: socket.socket) -> list[list[str]]:
    """The lines of each datagram that has arrived."""
    datagrams = [listener.recv(65_536)]
    listener.setblocking(False)
    try:
        while True:
            datagrams.append(listener.recv(65_536))
    except BlockingIOError:
        listener.settimeout(5)
    assert max(map(len, datagrams)) <= MAX_DATAGRAM_BYTES
    return [datagram.decode("ascii").split("\n") for datagram in datagrams]


def lines(listener: socket.socket) -> set[str]:
    return {line for datagram in received(listener) for line in datagram if "uptime" not in line}


@pytest.fixture
def monitor() -> PerformanceMonitor:
    made = PerformanceMonitor(track_memory=False)
    for took_ms in range(1, 101):
        made.observe("search", took_ms)
    made.record_error("search")
    made.record_metric("queue", -2.5)
    return made


def test_statsd_gets_counts_since_the_last_time_and_figures_as_they_are(
    monitor: PerformanceMonitor, listener: socket.socket
) -> None:
    exporter = StatsDExporter(*listener.getsockname())
    exporter(monitor.snapshot())
    gauges = {
        "ragstone.search.avg_ms:50.5|g",
        "ragstone.search.p50_ms:50.5|g",
        "ragstone.search.p90_ms:90.1|g",
        "ragstone.search.p95_ms:95.05|g",
        "ragstone.search.p99_ms:99.01|g",
        "ragstone.queue.metric:0|g",
        "ragstone.queue.metric:-2.5|g",
    }
    assert lines(listener) == gauges | {"ragstone.search.calls:100|c", "ragstone.search.errors:1|c"}
    exporter(monitor.snapshot())
    assert lines(listener) == gauges
    monitor.reset_stats()
    monitor.observe("search", 2.0)
    exporter(monitor.snapshot())
    assert "ragstone.search.calls:1|c" in lines(listener)
    exporter.close()
    exporter.close()
    assert exporter.dropped == 0


def test_datadog_gets_tags(monitor: PerformanceMonitor, listener: socket.socket) -> None:
    monitor.observe("a|b:c#d,e\nf é", 1.0)
    monitor.add_gauges(lambda: [Gauge("ragstone_recall_found", 0.97, "", {"collection": "papers"})])
    exporter = StatsDExporter(*listener.getsockname(), datadog=True)
    exporter(monitor.snapshot())
    found = lines(listener)
    assert {
        "ragstone.calls:100|c|#operation:search",
        "ragstone.p95_ms:95.05|g|#operation:search",
        "ragstone.metric:-2.5|g|#name:queue",
        "ragstone.recall_found:0.97|g|#collection:papers",
        "ragstone.calls:1|c|#operation:a_b_c_d_e_f__",
    } <= found
    exporter.close()


def test_many_figures_are_batched(listener: socket.socket) -> None:
    monitor = PerformanceMonitor(track_memory=False)
    for number in range(200):
        monitor.observe(f"operation{number}", 1.0)
    exporter = StatsDExporter(*listener.getsockname())
    exporter(monitor.snapshot())
    datagrams = received(listener)
    assert sum(len(datagram) for datagram in datagrams) == 1 + 200 * 6
    assert len(datagrams) < 45
    assert all(line.count("|") == 1 and line.count(":") == 1 for datagram in datagrams for line in datagram)
    exporter.close()


def test_nobody_there_costs_nothing_and_raises_nothing(
    monitor: PerformanceMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = taken.getsockname()
    exporter = StatsDExporter(*address)
    started = time.monotonic()
    for _ in range(20):
        exporter(monitor.snapshot())
    assert time.monotonic() - started < 1
    assert exporter.dropped > 0  # the system says of the first that nobody listens, when the second is sent
    assert len(caplog.records) == 1
    exporter.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as returned:
        returned.bind(address)
        returned.settimeout(5)
        monitor.observe("search", 2.0)
        exporter(monitor.snapshot())
        assert "ragstone.search.calls:1|c" in lines(returned)
    exporter.close()
    for host in ("name.invalid", "no\x00name", "a" * 300):
        lost = StatsDExporter(host, 8125)
        lost(monitor.snapshot())
        assert lost.dropped > 0
    with pytest.raises(InputError, match="port is 0"):
        StatsDExporter(port=0)
