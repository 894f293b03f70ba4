"""SIGKILL at random moments of adding, replacing, deleting, indexing and sealing, and of the recovery itself.

    python -m tests.crash.kill_loop --kills 100 [--seed 7] [--store DIR] [--json]

A child process (`writer.py`) works on a store and says which changes were acknowledged; it is killed at a random
moment; a fresh one checks that every acknowledged change is there, in `document()` and by keyword, that nothing
deleted or replaced comes back in any mode, that `verify` passes, and that indexing the same folder again makes the
store equal to it. Exits 1 at the first broken promise and keeps the store for inspection.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
READY_TIMEOUT_S = 120.0  # a check takes 2 s alone on two cores
RECOVERY_KILLS = 0.25  # share of kills that come before the child has finished checking and resuming


@dataclass(slots=True)
class Promises:
    """What the store may hold: per document the versions possible, newest last; None means deleted."""

    allowed: dict[int, list[int | None]] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def hear(self, line: str) -> None:
        """Take in one line of the child."""
        kind, *words = line.split()
        if kind == "fact":
            self.counts[words[0]] += 1
            return
        if kind not in {"intent", "ack", "state"}:
            return
        number, version = int(words[0]), None if words[1] == "-" else int(words[1])
        if version is not None:
            self.last[number] = max(version, self.last.get(number, 0))
        self.last.setdefault(number, 0)
        if kind != "intent":
            self.allowed[number] = [version]
            self.counts["acknowledged"] += kind == "ack"
        else:
            self.allowed.setdefault(number, [None]).append(version)

    def as_json(self) -> str:
        """For the next child."""
        newest = max(self.last.values(), default=0)
        return json.dumps({"allowed": self.allowed, "last": self.last, "next_version": newest + 1})


class BrokenPromiseError(Exception):
    """The child found something that must not be."""


def kill_once(home: Path, promises: Promises, choice: random.Random) -> None:
    """Let a child check and work, kill it at a random moment, and take in what it said."""
    (home / "expected.json").write_text(promises.as_json())
    (home / "folder").mkdir(exist_ok=True)
    errors = (home / "errors.txt").open("w+")
    child = subprocess.Popen(
        [
            sys.executable,
            str(TESTS / "crash" / "writer.py"),
            *map(str, (home / "store", home / "folder", home / "expected.json", choice.randrange(2**31))),
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    assert child.stdout is not None
    try:
        during_recovery = choice.random() < RECOVERY_KILLS
        said = b""
        if not during_recovery:
            said = _until_ready(child.stdout.fileno())
        # Up to the first second after the start, imports included, or of work: a cycle of operations takes 0.3 s.
        time.sleep(choice.uniform(0.0, 1.5) if during_recovery else choice.uniform(0.0, 0.6))
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
        status = child.wait()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    errors.seek(0)
    trace = errors.read()
    errors.close()
    for line in said.decode().splitlines():
        promises.hear(line)
    if status != -signal.SIGKILL:
        raise BrokenPromiseError(f"the child ended by itself with {status}:\n{trace}")
    promises.counts["kills_in_recovery" if b"ready" not in said else "kills_at_work"] += 1


def _until_ready(descriptor: int) -> bytes:
    said = b""
    give_up_s = time.monotonic() + READY_TIMEOUT_S
    while b"ready\n" not in said:
        piece = os.read(descriptor, 1 << 16)
        if not piece or time.monotonic() > give_up_s:
            break  # it died, which the caller sees by its status
        said += piece
    return said


def run(home: Path, *, kills: int, seed: int) -> dict[str, float]:
    """Kill `kills` times in one store; the counts. Raises `BrokenPromiseError`."""
    promises = Promises()
    choice = random.Random(seed)
    started_s = time.monotonic()
    for _ in range(kills):
        kill_once(home, promises, choice)
    return {**promises.counts, "kills": kills, "seconds": round(time.monotonic() - started_s, 1)}


def main() -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--store", type=Path, default=None, help="where to work; default: a temporary folder")
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    home = given.store or Path(tempfile.mkdtemp(prefix="ragstone-kill-"))
    home.mkdir(parents=True, exist_ok=True)
    try:
        counts = run(home, kills=given.kills, seed=given.seed)
    except BrokenPromiseError as error:
        print(f"seed {given.seed}: {error}\nthe store is kept at {home}", file=sys.stderr)
        return 1
    if given.as_json:
        print(json.dumps({"seed": given.seed, **counts}))
    else:
        print(", ".join(f"{name} {value}" for name, value in sorted(counts.items())), f"(seed {given.seed})")
    if given.store is None:
        shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
