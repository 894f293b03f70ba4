"""The system calls that change the disk: counted for an operation, and broken at one point of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from crash.children import Child, Ended, Work

CALLS = (
    "pwrite64", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir",
    "ftruncate", "mkdir", "mkdirat", "copy_file_range", "sendfile",
)  # fmt: skip
# Calls that a full or failing disk refuses.
WRITING_CALLS = ("pwrite64", "write", "fsync", "fdatasync", "rename", "renameat", "mkdir", "ftruncate")
LIMIT_S = 60.0

Point = tuple[str, int]  # a call and which of them, counted from 1


def points(work: Work, trace_file: Path, calls: tuple[str, ...] = CALLS) -> list[Point]:
    """Every call of an operation that changes the disk, as (name, nth)."""
    child = Child(work, trace=["-e", "trace=" + ",".join(calls)], trace_file=trace_file)
    child.end(limit_s=LIMIT_S).checked("the operation that was counted")
    found: Counter[tuple[str, str]] = Counter()
    for line in trace_file.read_text().splitlines():
        thread, call = line.split(maxsplit=1)
        name = call.split("(")[0]
        if name in calls:
            found[thread, name] += 1
    # strace counts by thread: the one that makes most of them says how many points there are.
    most = {name: max((n for (_, call), n in found.items() if call == name), default=0) for name in calls}
    return [(name, nth) for name, count in most.items() for nth in range(1, count + 1)]


def broken_at(work: Work, point: Point, fault: str) -> Ended:
    """Do `work` with a fault at one point: `signal=SIGKILL`, `error=ENOSPC`, …; strace's own words.

    A `+` behind the fault breaks every call of that name from there on, in each thread.
    """
    name, nth = point
    every = "+" if fault.endswith("+") else ""
    inject = f"inject={name}:{fault.rstrip('+')}:when={nth}{every}"
    return Child(work, trace=["-e", f"trace={name}", "-e", inject]).end(limit_s=LIMIT_S)
