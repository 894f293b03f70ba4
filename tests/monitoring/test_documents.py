"""The code of the reference documents 001 and 003, as they print it but for the package's name."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import socket
import tomllib
from collections.abc import Iterator

import pytest

from ragstone import (
    PerformanceMonitor,
    PerformanceTimer,
    StatsDExporter,
    export_metrics_json,
    get_performance_stats,
    log_performance_summary,
    reset_performance_stats,
    track_rag_performance,
)
from ragstone.monitoring.timing import default_monitor


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    reset_performance_stats()
    yield
    reset_performance_stats()


def test_003_bottlenecks(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        # Enable detailed monitoring
        monitor = PerformanceMonitor(enable_detailed=True)
        await monitor.track_operation("slow", 0.25)
        await monitor.track_operation("quick", 0.001)

        # Analyze bottlenecks
        report = await monitor.get_report()
        for op, stats in report["operations"].items():
            if stats["avg_time_ms"] > 100:
                print(f"Bottleneck: {op}")
        assert (await monitor.get_summary()).splitlines()[1].startswith("slow: 1 calls")

    asyncio.run(main())
    assert capsys.readouterr().out == "Bottleneck: slow\n"


def test_003_key_methods_have_the_documented_signatures() -> None:
    documented = {
        "track_operation": (True, ["op_name", "duration"]),
        "record_metric": (False, ["metric", "value"]),
        "record_error": (False, ["op_name"]),
        "get_report": (True, []),
        "get_summary": (True, []),
        "reset_stats": (False, []),
    }
    for name, (awaited, parameters) in documented.items():
        method = getattr(PerformanceMonitor(), name)
        assert inspect.iscoroutinefunction(method) == awaited
        assert list(inspect.signature(method).parameters) == parameters


def test_003_configuration_is_taken_word_by_word() -> None:
    table = tomllib.loads(
        "[monitoring]\nenabled = true\ntrack_latency = true\ntrack_memory = true\nreport_interval = 60\n"
    )
    with PerformanceMonitor(**table["monitoring"]) as monitor:
        assert monitor.report_interval == 60
    with pytest.raises(TypeError, match="track_latencies"):
        PerformanceMonitor(**{**table["monitoring"], "track_latencies": True})


def test_003_errors_metrics_and_uptime_are_in_the_report() -> None:
    monitor = PerformanceMonitor()
    monitor.record_metric("batch_size", 32)
    monitor.record_error("embed")
    report = asyncio.run(monitor.get_report())
    assert report["metrics"]["batch_size"]["last"] == 32
    assert report["errors"] == {"embed": 1}
    assert report["operations"]["embed"]["avg_time_ms"] == 0.0
    assert report["uptime_seconds"] >= 0


def test_001_timer_statistics_and_summary(caplog: pytest.LogCaptureFixture) -> None:
    with PerformanceTimer("operation_name"):
        pass  # ... timed code ...

    @track_rag_performance
    def fetch_everything() -> None: ...

    fetch_everything()
    with PerformanceTimer("rag_graph_fetch"):
        pass
    stats = get_performance_stats()
    assert {"sample_count", "avg_ms", "p50_ms", "p95_ms", "p99_ms"} <= set(stats["rag_graph_fetch"])
    assert set(stats) == {"operation_name", "fetch_everything", "rag_graph_fetch"}
    # After running operations
    with caplog.at_level(logging.INFO, logger="ragstone"):
        log_performance_summary()
    assert "rag_graph_fetch: 1 calls" in caplog.text


def test_001_production_monitoring() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(5)
        with PerformanceTimer("rag_graph_fetch"):
            pass
        # Export to JSON
        metrics_json = export_metrics_json()
        assert json.loads(metrics_json)["operations"]["rag_graph_fetch"]["count"] == 1
        # Send to monitoring service
        send_to_datadog = StatsDExporter(*agent.getsockname(), datadog=True)
        send_to_datadog(default_monitor().snapshot())
        send_to_datadog.close()
        assert b"ragstone.calls:1|c|#operation:rag_graph_fetch" in agent.recv(65_536)
        assert 'operation="rag_graph_fetch"' in default_monitor().to_prometheus()
