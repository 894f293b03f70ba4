"""How many threads this process can really run at once, and how to make one of them give way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

# Nice value of indexing threads: 10 of 19 leaves them about a tenth of a core that a search wants too (CFS
# weights: 110 against 1024), and all of it when nobody searches.
BACKGROUND_NICE = 10


def usable_cores(*, system: Path = Path("/sys")) -> int:
    """Physical cores that affinity and the control group's quota leave to this process, at least 1.

    Two hyper-threads of a core share its multipliers, so counting them as two makes matrix products slower.
    """
    allowed = os.sched_getaffinity(0)
    cores = {_siblings(system, cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota(system)))


def _siblings(system: Path, cpu: int) -> str:
    try:
        return (system / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:  # no topology in this container: every CPU counts as a core
        return str(cpu)


def _quota(system: Path) -> int:
    try:
        quota, period = (system / "fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):  # no cgroup v2 here: no quota
        return 1 << 16
    return 1 << 16 if quota == "max" else max(1, int(quota) // int(period))


def give_way() -> None:
    """Lower the calling thread's priority for good (Linux keeps it per thread)."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICE)
