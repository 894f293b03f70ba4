"""Killed while it stores, consolidates and forgets: what was acknowledged is there, whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.memory.store import MemoryStore

WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from hashing_embedder import HashingEmbedder
    from ragstone.memory.store import MemoryStore

    store = MemoryStore(Path(sys.argv[1]), embedder=HashingEmbedder())
    first = int(sys.argv[2])
    print("ready", flush=True)
    for n in range(first, first + 10_000):
        stored = store.add(f"kestrel{n}x osprey{n}y falcon{n}z", tier="long_term", importance=1.0)
        print("stored", stored.id, n, flush=True)
        if n % 3 == 0:
            store.consolidate()
        if n % 7 == 0:
            print("forgetting", stored.id, flush=True)
            store.forget([stored.id])
            print("forgot", stored.id, flush=True)
""")
ROUNDS = 3


@pytest.mark.parametrize("seed", [1])
def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    folder = tmp_path / "memory"
    stored: dict[str, str] = {}
    doubtful: set[str] = set()
    for turn in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(turn * 10_000)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(["tests", "src"])},
            cwd=Path(__file__).resolve().parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        lines = choice.randint(2, 40)
        for _ in range(lines):
            hear(child.stdout.readline(), stored, doubtful)
        os.kill(child.pid, signal.SIGKILL)
        for line in child.stdout:
            hear(line, stored, doubtful)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        with MemoryStore(folder, embedder=HashingEmbedder()) as store:
            entries = {entry.id: entry for entry in store.entries()}
            assert {i: t for i, t in stored.items() if i not in doubtful}.items() <= {
                i: e.text for i, e in entries.items()
            }.items()
            assert len(set(entries) - set(stored)) <= turn + 1  # stored, and killed before it could say so
            for entry in entries.values():
                (best,) = store.search(entry.text, mode="keyword", limit=1)
                assert best.entry.text == entry.text
            assert len(store.recall("kestrel", limit=1_000)) == len(entries)
            stored = {entry.id: entry.text for entry in entries.values()}
            doubtful.clear()
    assert stored


def hear(line: str, stored: dict[str, str], doubtful: set[str]) -> None:
    match line.split():
        case ["stored", id_, n]:
            stored[id_] = f"kestrel{n}x osprey{n}y falcon{n}z"
        case ["forgetting", id_]:
            doubtful.add(id_)
        case ["forgot", id_]:
            stored.pop(id_, None)
            doubtful.discard(id_)
