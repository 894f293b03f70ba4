"""SIGKILL at random moments of an import: the source is whole, what was acknowledged is there, the same command
completes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from importers.foreign_stores import entries_of, vectors_of, write_llamaindex
from importers.imports import engine_at
from importers.test_rollback import tree
from ragstone.importers.rollback import roll_back

COUNT = 800
CHILD = Path(__file__).with_name("import_child.py")


def _start(source: Path, data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, CHILD, source, data_dir], stdout=subprocess.PIPE, text=True)


def _rest(child: subprocess.Popen[str]) -> str:
    """What it says until its end. Not `communicate`, which passes over what `readline` has read ahead."""
    assert child.stdout is not None
    with child.stdout:
        said = child.stdout.read()
    child.wait(timeout=120)
    return said


def _finish(source: Path, data_dir: Path) -> float:
    """Run to the end; seconds from the first line on."""
    child = _start(source, data_dir)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    started_s = time.monotonic()
    out = _rest(child)
    assert out.endswith("done\n")
    return time.monotonic() - started_s


def _kill_during(source: Path, data_dir: Path, after_s: float) -> int:
    """Kill it `after_s` seconds after it is ready; the number of records it had acknowledged."""
    child = _start(source, data_dir)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(after_s)  # a moment, chosen at random: nothing is waited for
    child.send_signal(signal.SIGKILL)
    out = _rest(child)
    return max((int(line) for line in out.splitlines() if line.isdecimal()), default=0)


def _kill_and_resume(folder: Path, kills: int, choice: random.Random) -> None:
    entries, rows = entries_of(COUNT), vectors_of(COUNT)
    source = write_llamaindex(folder / "unified_index", entries, rows)
    before = tree(source)
    whole_s = _finish(source, folder / "first")
    with engine_at(folder / "first") as engine:
        roll_back(engine, data_dir=folder / "first")
    for number in range(kills):
        data_dir = folder / f"data{number}"
        acknowledged = _kill_during(source, data_dir, choice.uniform(0, whole_s))
        moved = folder / "unified_index_backup_json"
        assert tree(source if source.exists() else moved) == before
        with engine_at(data_dir) as engine:
            held = len(engine.documents()) if engine.collections() else 0
            assert acknowledged <= held <= COUNT
        _finish(source, data_dir)
        with engine_at(data_dir) as engine:
            assert len(engine.documents()) == COUNT
            assert engine.verify().ok
            place = int(choice.randrange(COUNT))
            (hit,) = engine.search("any", mode="dense", vector=rows[place], top_k=1).hits
            assert hit.metadata["imported_id"] == f"node-{place}"
            assert np.isclose(hit.score, 1, atol=1e-3)
            assert roll_back(engine, data_dir=data_dir).source_intact
        assert tree(source) == before


def test_an_import_killed_at_random_moments_is_completed_by_the_same_command(tmp_path: Path) -> None:
    _kill_and_resume(tmp_path, 2, random.Random(7))


@pytest.mark.long
def test_an_import_killed_at_thirty_moments_is_completed_by_the_same_command(tmp_path: Path) -> None:
    _kill_and_resume(tmp_path, 30, random.Random(30))
