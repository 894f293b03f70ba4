"""SIGKILL at the system calls that change the disk, one point a run: the store opens and keeps its promises.

`STRACE_POINTS` sets how many points (20; all of them is about 600).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone import Ragstone

TESTS = Path(__file__).resolve().parents[1]
CALLS = ("pwrite64", "write", "fsync", "fdatasync", "rename", "unlink", "ftruncate")
POINTS = int(os.environ.get("STRACE_POINTS", "20"))

SCRIPT = """
import sys
import ragstone.ingest
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
vars(ragstone.ingest)["TAIL_ROWS"] = 4
with Ragstone(sys.argv[1], embedder=HashingEmbedder()) as engine:
    engine.add(["new harbour", "new lantern"], uris=["new:0", "new:1"])
    print("added", flush=True)
    engine.add([f"more copper {n}" for n in range(6)], uris=[f"more:{n}" for n in range(6)])
    print("sealed", flush=True)
    engine.delete(["old:0", "new:0"])
    print("deleted", flush=True)
"""


def traced(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script under strace on a store."""
    return subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            str(data.parent / "trace"),
            *options,
            sys.executable,
            "-c",
            SCRIPT,
            str(data),
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with six sealed documents."""
    data = tmp_path / "origin" / "data"
    data.parent.mkdir()
    with Ragstone(data, embedder=HashingEmbedder()) as engine:
        engine.add([f"old violin {n}" for n in range(6)], uris=[f"old:{n}" for n in range(6)])
    return data


def check(data: Path, said: list[str]) -> None:
    """What was said to be done is done, and the store mends itself."""
    with Ragstone(data, embedder=HashingEmbedder()) as engine:
        engine.embed_waiting()
        if not engine.verify().ok:
            assert engine.repair().ok
        present = {info.uri for info in engine.documents()}
        wanted = {f"old:{n}" for n in range(1, 6)}
        wanted |= {"new:1"} if "added" in said else set()
        wanted |= {f"more:{n}" for n in range(6)} if "sealed" in said else set()
        assert wanted <= present
        if "deleted" in said:
            assert not present & {"old:0", "new:0"}
        for mode in ("dense", "keyword", "hybrid"):
            hits = engine.search("old violin new harbour lantern more copper", mode=mode, top_k=100).hits
            assert {hit.uri for hit in hits} == present, mode
        engine.add(["after harbour"], uris=["after"])  # and it can be written
        assert "after" in {hit.uri for hit in engine.search("after", mode="keyword").hits}
        assert engine.verify().ok


@pytest.mark.timeout(1800)
def test_a_kill_at_any_call_that_changes_the_disk_breaks_no_promise(store: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    shutil.copytree(store, tmp_path / "count" / "data")
    done = traced(tmp_path / "count" / "data", "-e", "trace=" + ",".join(CALLS))
    if done.returncode:
        pytest.skip(f"strace cannot trace here: {done.stderr[-200:]}")
    counts = count_calls((tmp_path / "count" / "trace").read_text())
    assert counts["pwrite64"] > 10
    places = [(name, nth) for name, count in counts.items() for nth in range(1, count + 1)]
    died = 0
    for point in range(POINTS):
        name, nth = places[point * len(places) // POINTS]
        data = tmp_path / f"point{point}" / "data"
        shutil.copytree(store, data)
        killed = traced(data, "-e", f"trace={name}", "-e", f"inject={name}:signal=SIGKILL:when={nth}")
        died += killed.returncode != 0
        check(data, killed.stdout.split())
        shutil.rmtree(data.parent)
    assert died > POINTS // 2  # threads may share the calls in another way than when they were counted


def count_calls(trace: str) -> dict[str, int]:
    """How often each call occurs in the thread that makes most of them: strace counts by thread."""
    found: Counter[tuple[str, str]] = Counter()
    for line in trace.splitlines():
        thread, call = line.split(maxsplit=1)
        found[thread, call.split("(")[0]] += 1
    return {name: max((n for (_, call), n in found.items() if call == name), default=0) for name in CALLS}
