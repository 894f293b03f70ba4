"""A monitor's figures in Prometheus's text format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ : a family of samples each with its help and type, values
as Go reads them, label values escaped. Operations and stages are families of their own, so that a sum over operations
does not count a search and its parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from ragstone.monitoring.durations import BUCKETS_MS
from ragstone.monitoring.records import Gauge, OperationFigures, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def prometheus_text(snapshot: Snapshot) -> str:
    """Every figure, ending in a line feed; percentiles are for Prometheus to compute from the histograms."""
    operations = [found for found in snapshot.operations.values() if not found.stage]
    stages = [found for found in snapshot.operations.values() if found.stage]
    lines = [
        *family(
            "ragstone_uptime_seconds",
            "gauge",
            "Seconds since the monitor began.",
            [("", {}, snapshot.uptime_s)],
        ),
        *family("ragstone_operations_total", "counter", "Operations by outcome.", _outcomes(operations)),
    ]
    if snapshot.latencies:
        lines += family(
            "ragstone_operation_duration_seconds",
            "histogram",
            "What operations took.",
            _histograms(operations),
        )
        lines += family(
            "ragstone_stage_duration_seconds",
            "histogram",
            "What stages of operations took.",
            _histograms(stages),
        )
    lines += family(
        "ragstone_metric",
        "gauge",
        "The last value recorded of each metric.",
        [("", {"name": name}, found.last) for name, found in snapshot.metrics.items()],
    )
    for name, gauges in _by_name(snapshot.gauges).items():
        samples = [("", gauge.labels, gauge.value) for gauge in gauges]
        lines += family(name, gauges[0].kind, gauges[0].help, samples)
    return "\n".join(lines) + "\n"


Sample = tuple[str, Mapping[str, str], float]  # what follows the family's name, labels, value


def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of one family, without line feeds; none where it has no samples. Values are finite."""
    head = [f"# HELP {name} {_escaped(text)}", f"# TYPE {name} {kind}"]
    for suffix, labels, value in samples:
        yield from head
        head = []
        yield f"{name}{suffix}{_labels(labels)} {number_text(value)}"


def _outcomes(operations: Iterable[OperationFigures]) -> Iterator[Sample]:
    for found in operations:
        yield "", {"operation": found.operation, "outcome": "ok"}, found.count
        yield "", {"operation": found.operation, "outcome": "error"}, found.errors


def _histograms(operations: Iterable[OperationFigures]) -> Iterator[Sample]:
    bounds = [*(bound_ms / 1e3 for bound_ms in BUCKETS_MS), math.inf]
    for found in operations:
        labels = {"operation": found.operation, **({"stage": found.stage} if found.stage else {})}
        for bound, count in zip(bounds, accumulate(found.buckets), strict=True):
            yield "_bucket", {**labels, "le": number_text(bound)}, count
        yield "_sum", labels, found.total_ms / 1e3
        yield "_count", labels, found.count


def _by_name(gauges: Iterable[Gauge]) -> dict[str, list[Gauge]]:
    """A family's samples must stand together."""
    found: dict[str, list[Gauge]] = {}
    for gauge in gauges:
        found.setdefault(gauge.name, []).append(gauge)
    return found


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair has no UTF-8
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def number_text(value: float) -> str:
    """A number as samples and a bucket's `le` have it; of infinities only that above all buckets."""
    return "+Inf" if value == math.inf else repr(value)  # all else is finite
