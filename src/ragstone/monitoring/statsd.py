"""A monitor's figures to a StatsD or Datadog agent over UDP: batched, never waiting, never raising.

An exporter for `PerformanceMonitor(exporters=[…])`. It sends figures once an interval, not each call, so that a search
pays nothing for it and the agent gets as much from a busy service as from an idle one: counts since the last time
(`|c`), and mean, percentiles, metrics and gauges as they are (`|g`).
https://github.com/statsd/statsd/blob/master/docs/metric_types.md, https://docs.datadoghq.com/developers/dogstatsd/
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping

from ragstone.errors import InputError
from ragstone.monitoring.records import PERCENTILES, OperationFigures, Snapshot, percentiles

PORT = 8125  # of both agents
# A datagram that no Ethernet splits: 1,500 bytes less IPv6 and UDP headers of 48, and room for tunnels. Datadog's own.
MAX_DATAGRAM_BYTES = 1_432
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")  # : | @ # , and line feeds would be read as syntax

logger = logging.getLogger("ragstone.monitoring")


class StatsDExporter:
    """Sends snapshots to an agent. Thread-safe; `dropped` counts datagrams that could not be sent."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = PORT, *, prefix: str = "ragstone", datadog: bool = False
    ) -> None:
        """With `datadog`, what a figure is about stands in tags instead of in its name. The host's name is looked up
        when something is sent. Raises `InputError` for a port that is none."""
        if not 1 <= port <= 65_535:
            raise InputError(f"port is {port}, the range is 1 to 65535")
        self._address = (host, port)
        self._prefix = _safe(prefix)
        self._datadog = datadog
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._sent: dict[tuple[str, str], int] = {}
        self.dropped = 0

    def __call__(self, snapshot: Snapshot) -> None:
        """Send all figures; what the network does not take at once is dropped and counted."""
        with self._lock:
            lines = [line for sample in self._samples(snapshot) for line in self._lines(*sample)]
            for datagram in _batches(lines):
                self._send(datagram)

    def close(self) -> None:
        """Let go of the socket; sending again opens another."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _samples(self, snapshot: Snapshot) -> Iterator[tuple[str, Mapping[str, str], float, str]]:
        """(name, labels, value, type) of each figure."""
        yield "uptime_seconds", {}, snapshot.uptime_s, "g"
        for name, found in snapshot.operations.items():
            yield from self._operation(name, found)
        for name, metric in snapshot.metrics.items():
            yield "metric", {"name": name}, metric.last, "g"
        for gauge in snapshot.gauges:
            yield gauge.name.removeprefix(f"{self._prefix}_"), gauge.labels, gauge.value, "g"

    def _operation(
        self, name: str, found: OperationFigures
    ) -> Iterator[tuple[str, Mapping[str, str], float, str]]:
        labels = {"operation": name}
        for kind, count in (("calls", found.count), ("errors", found.errors)):
            before = self._sent.get((name, kind), 0)
            since = count - before if count >= before else count  # less than before: it was reset
            self._sent[name, kind] = count
            if since:
                yield kind, labels, since, "c"
        if len(found.latest_ms):
            yield "avg_ms", labels, float(found.latest_ms.mean()), "g"
            for percent, value in zip(PERCENTILES, percentiles(found.latest_ms), strict=True):
                yield f"p{percent}_ms", labels, value, "g"

    def _lines(self, name: str, labels: Mapping[str, str], value: float, kind: str) -> Iterator[str]:
        shown = f"{value:.6f}".rstrip("0").rstrip(".")
        if self._datadog:
            tags = ",".join(f"{_safe(label)}:{_safe(text)}" for label, text in labels.items())
            yield f"{self._prefix}.{name}:{shown}|{kind}" + (f"|#{tags}" if tags else "")
            return
        full = ".".join((self._prefix, *map(_safe, labels.values()), name))
        if kind == "g" and value < 0:
            yield f"{full}:0|g"  # StatsD reads a sign as a change
        yield f"{full}:{shown}|{kind}"

    def _send(self, datagram: bytes) -> None:
        try:
            if self._socket is None:
                self._socket = _connected(*self._address)
            self._socket.send(datagram)
        except (OSError, UnicodeError) as error:  # full buffer, no route, nobody there, no such host
            if not self.dropped:
                logger.warning("figures cannot be sent to %s port %d: %s", *self._address, error)
            self.dropped += 1


def _connected(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.settimeout(0)
        found.connect(address)
    except OSError:
        found.close()
        raise
    return found


def _batches(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines joined to as few datagrams as hold them."""
    batch = b""
    for line in lines:
        encoded = line.encode("ascii")
        if batch and len(batch) + 1 + len(encoded) > MAX_DATAGRAM_BYTES:
            yield batch
            batch = b""
        batch = batch + b"\n" + encoded if batch else encoded
    if batch:
        yield batch


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text)
