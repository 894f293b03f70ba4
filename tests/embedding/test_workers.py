"""Threads: all work is done, the first error stops the rest, priorities and counts are as asked."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ragstone.embedding.cores import BACKGROUND_NICE, usable_cores
from ragstone.embedding.workers import Workers
from ragstone.errors import ModelError


def test_every_item_is_worked_on_once_by_the_threads_given() -> None:
    workers = Workers(threads=3, background=False)
    seen: list[int] = []
    names: set[str] = set()

    def work(item: int) -> None:
        seen.append(item)
        names.add(threading.current_thread().name)

    workers.run(work, range(500))
    workers.close()
    assert sorted(seen) == list(range(500))
    assert len(names) <= 3


def test_an_error_is_raised_and_drops_what_has_not_started() -> None:
    workers = Workers(threads=2, background=False)
    seen: list[int] = []

    def work(item: int) -> None:
        seen.append(item)
        if item == 3:
            raise ModelError("broken")

    with pytest.raises(ModelError, match="broken"):
        workers.run(work, range(100_000))
    assert len(seen) < 100_000
    workers.run(seen.append, [-1])  # the threads are still there
    assert seen[-1] == -1
    workers.close()


def test_background_threads_give_way_and_others_do_not() -> None:
    for background in (False, True):
        workers = Workers(threads=1, background=background)
        nice: list[int] = []
        workers.run(lambda found: found.append(_niceness()), [nice])
        workers.close()
        assert nice == [BACKGROUND_NICE if background else _niceness()]


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_after_close_is_a_model_error() -> None:
    workers = Workers(threads=1, background=False)
    workers.close()
    with pytest.raises(ModelError, match="closed"):
        workers.run(print, [1])


def _machine(root: Path, siblings: dict[int, str], quota: str) -> Path:
    for cpu, names in siblings.items():
        folder = root / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(names + "\n")
    (root / "fs/cgroup").mkdir(parents=True)
    (root / "fs/cgroup/cpu.max").write_text(quota)
    return root


def test_hyper_threads_of_a_core_count_once_and_the_quota_limits(tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    one_core = dict.fromkeys(cpus, ",".join(map(str, cpus)))
    each_its_own = {cpu: str(cpu) for cpu in cpus}
    assert usable_cores(system=_machine(tmp_path / "a", one_core, "max 100000")) == 1
    assert usable_cores(system=_machine(tmp_path / "b", each_its_own, "max 100000")) == len(cpus)
    assert usable_cores(system=_machine(tmp_path / "c", each_its_own, "150000 100000")) == 1
    assert usable_cores(system=tmp_path / "nothing") == len(cpus)
