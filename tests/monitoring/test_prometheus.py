"""The text for Prometheus, read by a parser written from its specification alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prometheus_parser import parse
from ragstone.monitoring.durations import BUCKETS_MS
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.records import Gauge

names = st.text(max_size=12) | st.sampled_from(
    ['a"b', "a\\b", "a\nb", "\\n", '\\"', "}", "a,b=c", " ", "\ud800"]
)


@given(
    st.dictionaries(names, st.lists(st.floats(0, 1e5), min_size=1, max_size=8), max_size=5),
    st.dictionaries(names, st.floats(-1e9, 1e9), max_size=4),
    st.dictionaries(names, st.integers(1, 3), max_size=3),
)
def test_whatever_the_names_a_parser_reads_back_the_figures(
    operations: dict[str, list[float]], metrics: dict[str, float], errors: dict[str, int]
) -> None:
    monitor = PerformanceMonitor(track_memory=False)
    for name, taken in operations.items():
        for took_ms in taken:
            monitor.observe(name, took_ms, {"stage": took_ms / 2})
    for name, value in metrics.items():
        monitor.record_metric(name, value)
    for name, count in errors.items():
        for _ in range(count):
            monitor.record_error(name)
    if len({name.replace("\ud800", "?") for name in {*operations, *metrics, *errors}}) < len(
        {*operations, *metrics, *errors}
    ):
        return  # half a surrogate pair is written as a question mark, which may be another's name
    families = parse(monitor.to_prometheus().encode().decode())
    assert families["ragstone_uptime_seconds"].kind == "gauge"
    for name, taken in operations.items():
        for family, labels, scale in (
            ("operation", {("operation", name)}, 1),
            ("stage", {("operation", name), ("stage", "stage")}, 2),
        ):
            histogram = families[f"ragstone_{family}_duration_seconds"]
            assert histogram.kind == "histogram"
            series = frozenset((key, value.replace("\ud800", "?")) for key, value in labels)
            assert histogram.samples["_count", series] == len(taken)
            assert histogram.samples["_sum", series] == pytest.approx(sum(taken) / 1e3 / scale)
            for bound_ms in (*BUCKETS_MS, math.inf):
                le = "+Inf" if bound_ms == math.inf else repr(bound_ms / 1e3)
                below = int(np.sum(np.array(taken) / scale <= bound_ms))
                assert histogram.samples["_bucket", series | {("le", le)}] == below
        outcomes = families["ragstone_operations_total"]
        shown = name.replace("\ud800", "?")
        assert outcomes.kind == "counter"
        assert outcomes.samples["", frozenset({("operation", shown), ("outcome", "ok")})] == len(taken)
        found_errors = outcomes.samples["", frozenset({("operation", shown), ("outcome", "error")})]
        assert found_errors == errors.get(name, 0)
    for name, value in metrics.items():
        series = frozenset({("name", name.replace("\ud800", "?"))})
        assert families["ragstone_metric"].samples["", series] == value


def test_gauges_stand_by_family_and_nothing_is_said_of_what_is_not_kept() -> None:
    monitor = PerformanceMonitor(track_latency=False)
    monitor.observe("op", 1.0)
    monitor.add_gauges(
        lambda: [
            Gauge("level", 0.1 + 0.2, "How full.\nSee \\docs", {"tank": "a"}),
            Gauge("flow_total", 3, "Litres.", kind="counter"),
            Gauge("level", 1e-9, "How full.\nSee \\docs", {"tank": "b"}),
        ]
    )
    families = parse(monitor.to_prometheus())
    assert (families["level"].kind, families["level"].help) == ("gauge", "How full.\nSee \\docs")
    assert families["level"].samples == {
        ("", frozenset({("tank", "a")})): 0.1 + 0.2,
        ("", frozenset({("tank", "b")})): 1e-9,
    }
    assert families["flow_total"].kind == families["process_cpu_seconds_total"].kind == "counter"
    assert families["process_resident_memory_bytes"].samples["", frozenset()] > 1e6
    assert "ragstone_operation_duration_seconds" not in families
    assert "ragstone_metric" not in families
    for name, family in families.items():
        assert (family.kind == "counter") == name.endswith("_total")
