"""SIGKILL at random moments of every kind of writing, and of the recovery itself (A1).

    python -m tests.crash.kill_loop [--tries 1000] [--seed S]

A child (`writer.py`) adds, replaces, deletes, indexes, seals, compacts, switches plans, rolls back, purges
and imports, and says what was acknowledged; it is killed at a random moment; the next one checks that every
acknowledged change is there, in `document()` and by keyword, that nothing deleted or replaced comes back in
any mode, that `verify` passes, and that indexing the same folder again makes the store equal to it. All tries
share a store, until one fails.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from crash.children import Child
from crash.command import Attempt, BrokenPromiseError, Try, main
from crash.writer import write_until_killed

READY_TIMEOUT_S = 120.0  # a check takes 2 s alone on two cores
RECOVERY_KILLS = 0.25  # share of kills that come before the child has finished checking and resuming
RECOVERY_S, WORK_S = 1.2, 1.0  # a check takes as long; a cycle of operations takes half a second


@dataclass(slots=True)
class Promises:
    """What the store may hold: per document the versions possible, newest last; None means deleted."""

    allowed: dict[int, list[int | None]] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def hear(self, line: str) -> None:
        """Take in one line of the child."""
        kind, *words = line.split(maxsplit=2)
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


def kill_once(home: Path, promises: Promises, one: Try) -> None:
    """Let a child check and work, kill it at a random moment, and take in what it said."""
    seed = one.choice.randrange(2**31)
    child = Child(lambda board: write_until_killed(home, promises.allowed, promises.last, seed, board))
    in_recovery = one.choice.random() < RECOVERY_KILLS
    if not in_recovery:
        until_s = time.monotonic() + READY_TIMEOUT_S
        while not child.board.has("ready") and child.is_alive() and time.monotonic() < until_s:
            time.sleep(0.01)
    time.sleep(one.choice.uniform(0.0, RECOVERY_S if in_recovery else WORK_S))
    if child.is_alive():
        child.kill()
    ended = child.end(limit_s=2 * READY_TIMEOUT_S)
    for line in ended.said:
        promises.hear(line)
    if ended.status != -signal.SIGKILL or "hung" in ended.said:
        raise BrokenPromiseError(f"the child ended by itself with {ended.status}: {ended.said[-3:]}")
    promises.counts["killed_at_work" if "ready" in ended.said else "killed_in_recovery"] += 1


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """All tries work on the same store."""
    promises = Promises()
    (home := shared / "home").mkdir()

    def attempt(one: Try) -> Iterable[str]:
        nonlocal promises
        promises.counts.clear()
        try:
            kill_once(home, promises, one)
        except BrokenPromiseError:  # kept with the try; the next one begins anew
            home.rename(one.folder / "home")
            home.mkdir()
            promises = Promises()
            raise
        return list(promises.counts.elements())

    return attempt


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=1_000))
