"""The figures of one engine or program: durations by operation and stage, errors, and metrics of any name.

Bounded: the latest 1,000 values of each kind, 256 operations and stages, 256 metrics; what is beyond is counted
together as "(other)". Thread-safe. Recording a search with its eight stages takes 3 µs (LAB).
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from ragstone.errors import InputError
from ragstone.monitoring.durations import Durations, Rows, Window
from ragstone.monitoring.process import cpu_seconds, process_gauges
from ragstone.monitoring.prometheus import prometheus_text
from ragstone.monitoring.records import Gauge, Latency, MetricFigures, Snapshot, percentiles
from ragstone.monitoring.reporting import Exporter, PeriodicReport
from ragstone.monitoring.spans import emit_spans

T = TypeVar("T")

MAX_NAMES = 256  # of operations and stages, and of metrics; a window each, 2 MB in all
MAX_NAME_CHARS = 200
OTHER = "(other)"

logger = logging.getLogger("ragstone.monitoring")


class PerformanceMonitor:
    """Collects what operations took. Use as a context manager, or call `start` and `stop`, for periodic reports."""

    def __init__(
        self,
        enable_detailed: bool = True,  # noqa: FBT001, FBT002  - as documented, by position too
        track_percentiles: bool = True,  # noqa: FBT001, FBT002
        *,
        enabled: bool = True,
        track_latency: bool = True,
        track_memory: bool = True,
        report_interval: float | None = None,
        folder: str | Path = ".",
        exporters: Sequence[Exporter] = (),
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`enable_detailed` keeps the stages of operations too, `track_percentiles` puts percentiles into reports.

        Without `enabled` nothing is recorded (it can be set at any time); without `track_latency` calls are counted
        but not timed; without `track_memory` nothing is said of processor, memory and the disk of `folder`.
        Between `start` and `stop` a summary is logged and `exporters` are called every `report_interval` seconds; None:
        never. `clock` and `wait` are those of `PeriodicReport`. Raises `InputError` for an interval of 0 or less.
        """
        if report_interval is not None and not 0 < report_interval < threading.TIMEOUT_MAX:
            raise InputError(f"report_interval is {report_interval}", hint="seconds above 0, or None")
        self.enabled = enabled
        self.report_interval: Final = report_interval
        self._detailed = enable_detailed
        self._percentiles = track_percentiles
        self._track_latency = track_latency
        self._track_memory = track_memory
        self._folder = Path(folder)
        self._gauges: list[Callable[[], Iterable[Gauge]]] = []
        self._exporters = tuple(exporters)
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._operations: dict[str, Durations] = {}
        # On their way into the operations' windows, by the names of an operation and its stages.
        self._rows: dict[tuple[str, ...], Rows] = {}
        self._metrics: dict[str, Rows] = {}
        self._reports: PeriodicReport | None = None
        self.reset_stats()

    # -- record ------------------------------------------------------------------------------------------

    def observe(self, operation: str, took_ms: float, stages_ms: Mapping[str, float] | None = None) -> None:
        """Note that `operation` came to its end, and what its stages took. Raises `InputError` for no duration."""
        stages_ms = stages_ms or {}
        values = (took_ms, *stages_ms.values())
        if not (min(values) >= 0 and sum(values) < math.inf):  # the sum is NaN where one of them is
            raise InputError(f"{operation} cannot take {_wrong(values)} ms", hint="use a monotonic clock")
        if not self.enabled:
            return
        names = (operation, *stages_ms)
        if not self._detailed:
            names, values = names[:1], values[:1]
        with self._lock:
            if self._track_latency:
                (self._rows.get(names) or self._new_rows(names)).add(values)
            else:
                for durations in self._all_durations(names):
                    durations.untimed += 1
        emit_spans(operation, took_ms, stages_ms)

    async def track_operation(self, op_name: str, duration: float) -> None:
        """Note that an operation took `duration` seconds; `observe` for those who await. Raises `InputError`."""
        self.observe(op_name, duration * 1e3)

    def record_error(self, op_name: str) -> None:
        """Note that an operation failed."""
        if self.enabled:
            with self._lock:
                self._durations(op_name, "").errors += 1

    def record_metric(self, metric: str, value: float) -> None:
        """Note a value of a metric of any name. Raises `InputError` for NaN and infinities, which have no mean."""
        if not -math.inf < value < math.inf:
            raise InputError(f"{metric} cannot be {value}", hint="record finite numbers")
        if self.enabled:
            with self._lock:
                _slot(self._metrics, metric[:MAX_NAME_CHARS], lambda _: Rows([Window()])).add([value])

    def reset_stats(self) -> None:
        """Forget everything, and count the uptime from now."""
        with self._lock:
            self._operations.clear()
            self._rows.clear()
            self._metrics.clear()
            self._started_s = self._clock()
            self._cpu_before_s = cpu_seconds()

    def add_gauges(self, read: Callable[[], Iterable[Gauge]]) -> None:
        """Ask `read` for gauges whenever a snapshot is made."""
        with self._lock:
            self._gauges.append(read)

    def remove_gauges(self, read: Callable[[], Iterable[Gauge]]) -> None:
        """Ask it no more; nothing where it was not asked."""
        with self._lock:
            self._gauges = [found for found in self._gauges if found != read]

    # -- read --------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All figures at this moment; by operation and `operation.stage`."""
        with self._lock:
            self._fold()
            operations = {name: found.figures() for name, found in self._operations.items()}
            metrics = {name: _metric(rows) for name, rows in self._metrics.items()}
            uptime_s = self._clock() - self._started_s
            cpu_s = cpu_seconds() - self._cpu_before_s
            readers = list(self._gauges) if self.enabled else []
        gauges = [gauge for read in readers for gauge in read()]
        if self.enabled and self._track_memory:
            cpu_percent = 100 * cpu_s / uptime_s if uptime_s > 0 else 0.0
            gauges += process_gauges(self._folder, cpu_percent=cpu_percent)
        # Two engines that share a monitor may both have a collection of one name; a series stands once.
        single = {(gauge.name, *sorted(gauge.labels.items())): gauge for gauge in gauges}
        return Snapshot(
            uptime_s, self._track_latency, self._percentiles, operations, metrics, tuple(single.values())
        )

    def latencies(self) -> dict[str, Latency]:
        """Percentiles of every operation and `operation.stage` that the window knows durations of."""
        with self._lock:
            self._fold()
            latest = {name: found.window.latest() for name, found in self._operations.items()}
        return {name: Latency(len(ms), *percentiles(ms)) for name, ms in latest.items() if len(ms)}

    def report(self) -> dict[str, Any]:
        """Operations, metrics, errors and gauges as plain values; see `docs/monitoring.md`."""
        return self.snapshot().report()

    def summary(self) -> str:
        """The report for people: one line for each operation, slowest in all first."""
        return _summary(self.report())

    def to_json(self) -> str:
        """The report as JSON, in ASCII."""
        return json.dumps(self.report(), allow_nan=False)

    def to_prometheus(self) -> str:
        """The figures in Prometheus's text format."""
        return prometheus_text(self.snapshot())

    async def get_report(self) -> dict[str, Any]:
        """`report`, for those who await."""
        return self.report()

    async def get_summary(self) -> str:
        """`summary`, for those who await."""
        return self.summary()

    # -- at intervals ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the periodic reports, if an interval is set; called again, it does nothing."""
        if self._reports is None and self.report_interval is not None and self.enabled:
            self._reports = PeriodicReport(
                self.report_now, self.report_interval, clock=self._clock, wait=self._wait
            )
            self._reports.start()

    def stop(self) -> None:
        """End them; no thread is left."""
        if self._reports is not None:
            self._reports.stop()
            self._reports = None

    def report_now(self) -> None:
        """Log the summary and hand a snapshot to every exporter; one that fails is logged and the others go on."""
        snapshot = self.snapshot()
        logger.info("%s", _summary(snapshot.report()))
        for exporter in self._exporters:
            try:
                exporter(snapshot)
            except Exception:
                logger.warning("handing on the figures failed", exc_info=True)

    def __enter__(self) -> PerformanceMonitor:
        """`start`."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`stop`."""
        self.stop()

    # -- places ------------------------------------------------------------------------------------------

    def _new_rows(self, names: tuple[str, ...]) -> Rows:
        if len(self._rows) == MAX_NAMES:  # each may hold some ten kilobytes
            self._fold()
            self._rows.clear()
        rows = Rows([durations.window for durations in self._all_durations(names)])
        self._rows[names] = rows
        return rows

    def _fold(self) -> None:
        for rows in self._rows.values():
            rows.fold()

    def _all_durations(self, names: tuple[str, ...]) -> list[Durations]:
        """Those of an operation, and of its stages behind it."""
        operation, *stages = names
        return [self._durations(operation, stage) for stage in ("", *stages)]

    def _durations(self, operation: str, stage: str) -> Durations:
        name = f"{operation}.{stage}" if stage else operation
        return self._operations.get(name) or self._trimmed(operation[:MAX_NAME_CHARS], stage[:MAX_NAME_CHARS])

    def _trimmed(self, operation: str, stage: str) -> Durations:
        name = f"{operation}.{stage}" if stage else operation
        return _slot(
            self._operations,
            name,
            lambda slot: Durations(slot, "") if slot == OTHER else Durations(operation, stage),
        )


def _slot(slots: dict[str, T], name: str, make: Callable[[str], T]) -> T:
    """The place of `name`, a new one if there is room, else the one of all others."""
    found = slots.get(name)
    if found is None:
        if len(slots) >= MAX_NAMES - 1 and name != OTHER:
            return _slot(slots, OTHER, make)
        found = slots[name] = make(name)
    return found


def _metric(rows: Rows) -> MetricFigures:
    (window,) = rows.fold()
    return MetricFigures(window.count, window.last, window.latest())


def _wrong(values: Sequence[float]) -> float:
    """The first that is no duration."""
    return next((value for value in values if not 0 <= value < math.inf), math.inf)


def _summary(report: Mapping[str, Any]) -> str:
    operations = sorted(report["operations"].items(), key=lambda item: -item[1]["total_time_ms"])
    lines = [f"performance over {report['uptime_seconds']:,.0f} s: {len(operations)} operations"]
    for name, figures in operations:
        shown = [f"{key[:-3]} {figures[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms") if key in figures]
        lines.append(
            f"{name}: {figures['count']:,} calls, {figures['errors']:,} failed, "
            f"mean {figures['avg_time_ms']:.2f} ms" + "".join(f", {percentile}" for percentile in shown)
        )
    lines += [
        f"{name}: last {figures['last']:g}, mean {figures['avg']:g}"
        for name, figures in report["metrics"].items()
    ]
    lines += [f"{name}: {value:,g}" for name, value in report["gauges"].items()]
    return "\n".join(lines)
