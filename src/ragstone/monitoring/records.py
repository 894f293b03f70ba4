"""What a monitor has seen, as data: made at one moment, changed by nobody."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.errors import InputError

Values: TypeAlias = npt.NDArray[np.float64]  # (n,) the latest values of one kind, in no particular order

PERCENTILES = (50, 90, 95, 99)
_METRIC_NAME = re.compile(
    r"[a-zA-Z_:][a-zA-Z0-9_:]*"
)  # what Prometheus allows, https://prometheus.io/docs/concepts/
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of the last calls of one kind; `count` is how many of them the window holds."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure that is read, not recorded: memory, free space, a recall. `name` and the names of `labels` are as
    Prometheus wants them, `value` is finite. Raises `InputError` otherwise."""

    name: str
    value: float
    help: str
    labels: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["gauge", "counter"] = "gauge"

    def __post_init__(self) -> None:
        if not _METRIC_NAME.fullmatch(self.name):
            raise InputError(f"{self.name!r} is no name for a metric", hint="letters, digits and _")
        if not math.isfinite(self.value):
            raise InputError(f"{self.name} cannot be {self.value}", hint="give finite numbers")
        for label in self.labels:
            if not _LABEL_NAME.fullmatch(label):
                raise InputError(
                    f"{label!r} is no name for a label of a metric", hint="letters, digits and _"
                )


@dataclass(frozen=True, slots=True)
class OperationFigures:
    """One operation, or one stage of an operation.

    `count` calls that came to their end and `errors` that failed, and `total_ms`, are since the start; `latest_ms` are
    the durations in the window; `buckets` counts durations up to each of `durations.BUCKETS_MS`, and above the last.
    """

    operation: str
    stage: str  # empty for the operation itself
    count: int
    errors: int
    total_ms: float
    latest_ms: Values
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MetricFigures:
    """One recorded metric: `count` values since the start, the last one, and those in the window."""

    count: int
    last: float
    latest: Values


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a monitor knows at one moment. `latencies` is False where no durations are kept, `percentiles` where
    none are wanted in a report."""

    uptime_s: float
    latencies: bool
    percentiles: bool
    operations: Mapping[str, OperationFigures]
    metrics: Mapping[str, MetricFigures]
    gauges: tuple[Gauge, ...]

    def report(self) -> dict[str, Any]:
        """Plain values, ready for JSON: see `docs/monitoring.md` for every name."""
        return {
            "uptime_seconds": self.uptime_s,
            "operations": {name: self._operation(found) for name, found in self.operations.items()},
            "metrics": {
                name: {"count": found.count, "last": found.last, **self._spread(found.latest, "")}
                for name, found in self.metrics.items()
            },
            "errors": {name: found.errors for name, found in self.operations.items() if found.errors},
            "gauges": {_full_name(gauge): gauge.value for gauge in self.gauges},
        }

    def _operation(self, found: OperationFigures) -> dict[str, Any]:
        spread = self._spread(found.latest_ms, "_ms")
        return {
            "count": found.count,
            "errors": found.errors,
            "samples": len(found.latest_ms),
            "total_time_ms": found.total_ms,
            **{f"{name}_time_ms": spread.pop(f"{name}_ms") for name in ("avg", "min", "max")},
            **spread,
        }

    def _spread(self, values: Values, unit: str) -> dict[str, float]:
        """avg, min, max and percentiles; zeros where there are no values, so that comparing them never fails."""
        values = values if len(values) else np.zeros(1)
        spread = {"avg": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
        if self.percentiles:
            names = (f"p{percent}" for percent in PERCENTILES)
            spread |= dict(zip(names, percentiles(values), strict=True))
        return {f"{name}{unit}": value for name, value in spread.items()}


def percentiles(values: Values) -> list[float]:
    """The `PERCENTILES` of at least one value, between neighbours in proportion, as numpy does it."""
    found: list[float] = np.percentile(values, PERCENTILES).tolist()
    return found


def _full_name(gauge: Gauge) -> str:
    labels = ",".join(f"{name}={value}" for name, value in gauge.labels.items())
    return f"{gauge.name}{{{labels}}}" if labels else gauge.name
