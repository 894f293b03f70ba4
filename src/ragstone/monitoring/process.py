"""What this process uses of the machine: processor, memory, disk. Linux's /proc and the standard library, no more."""

from __future__ import annotations

import os
from pathlib import Path

from ragstone.monitoring.records import Gauge

_STATM = Path("/proc/self/statm")


def cpu_seconds() -> float:
    """Processor time of all threads so far, in user and kernel mode."""
    times = os.times()
    return times.user + times.system


def resident_bytes(statm: Path = _STATM) -> int | None:
    """Memory of the process that is in RAM; None where there is no such process, or the system has no /proc."""
    try:
        pages = int(statm.read_text().split()[1])  # proc(5): size resident shared …, in pages
    except (FileNotFoundError, ProcessLookupError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def process_gauges(folder: Path, *, cpu_percent: float) -> list[Gauge]:
    """Processor, memory, and the disk of `folder` or, before it exists, of its nearest parent that does.

    Names without our prefix are those that Prometheus's own clients use.
    """
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    disk = os.statvfs(folder)
    resident = resident_bytes()
    return [
        Gauge(
            "process_cpu_seconds_total",
            cpu_seconds(),
            "Processor time in user and kernel mode.",
            kind="counter",
        ),
        Gauge("ragstone_cpu_percent", cpu_percent, "Mean load since the start, in percent of one core."),
        *(
            [Gauge("process_resident_memory_bytes", resident, "Memory of the process in RAM.")]
            if resident is not None
            else []
        ),
        Gauge(
            "ragstone_disk_free_bytes",
            disk.f_bavail * disk.f_frsize,
            "Space left on the disk of the data directory.",
        ),
        Gauge("ragstone_disk_size_bytes", disk.f_blocks * disk.f_frsize, "Size of that disk."),
    ]
