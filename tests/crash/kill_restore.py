"""SIGKILL at random moments of backing up and of restoring over a collection that is there (A1, A9).

    python -m tests.crash.kill_restore [--tries 200] [--seed S]

Two backups of two states of one collection are restored over each other, and new ones made, by a child that is killed.
The collection is then one of the two, whole; a backup that has its name is whole; nothing else is left after the next
run.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from crash.children import Board, Child, in_child
from crash.command import Attempt, BrokenPromiseError, Try, main
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone

COUNT = 300
STATES = ("lantern", "violin")
WORK_S = 0.9  # a backup and a restore take 0.3 s
LIMIT_S = 60.0


def opened(home: Path) -> Ragstone:
    """The store that is killed."""
    return Ragstone(home / "data", embedder=HashingEmbedder())


def make(home: Path) -> None:
    """Backups of both states."""
    for word in STATES:
        with opened(home) as engine:
            engine.add([f"{word} {n}" for n in range(COUNT)], uris=[f"note:{n}" for n in range(COUNT)])
            engine.compact()
            engine.backup(home / f"{word}.tar")


def work(home: Path, board: Board) -> None:
    """Restore and back up until killed."""
    number = 0
    board.say("ready")
    with opened(home) as engine:
        while True:
            number += 1
            engine.restore(home / f"{STATES[number % 2]}.tar", replace=True)
            board.say("restored")
            engine.backup(home / "made" / f"{number}.tar")
            board.say(f"made {number}")


def check(home: Path, board: Board) -> None:
    """Raise unless the collection is one of the two states, whole, and every backup made can be restored."""
    with opened(home) as engine:
        texts = {engine.document(info.uri)[1] for info in engine.documents()}
        if texts not in [{f"{word} {n}" for n in range(COUNT)} for word in STATES]:
            raise BrokenPromiseError(f"{len(texts)} documents of no single state")
        if not engine.verify().ok:
            raise BrokenPromiseError(f"{engine.verify().problems[0]}")
        engine.add(["it can be written"], uris=["extra"])
        for path in (home / "made").glob("*.tar"):
            engine.restore(path, replace=True)
            path.unlink()
            board.say("whole backup")
        engine.restore(home / f"{STATES[0]}.tar", replace=True)
        engine.backup(home / "made" / "last.tar")
        (home / "made" / "last.tar").unlink()
    left = [path.name for folder in ("made", "data/collections") for path in (home / folder).iterdir()]
    if left != ["default"]:
        raise BrokenPromiseError(f"left behind: {left}")


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """All tries work on the same two backups."""
    in_child(lambda _: make(shared), limit_s=LIMIT_S).checked("the preparation")

    def attempt(one: Try) -> Iterable[str]:
        home = one.folder / "home"
        shutil.copytree(shared, home)
        (home / "made").mkdir()
        child = Child(lambda board: work(home, board))
        while not child.board.has("ready") and child.is_alive():
            time.sleep(0.005)
        time.sleep(one.choice.uniform(0.0, WORK_S))  # a moment, chosen at random: nothing is waited for
        if child.is_alive():
            child.kill()
        ended = child.end(limit_s=LIMIT_S)
        if ended.status != -signal.SIGKILL:
            raise BrokenPromiseError(f"the child ended by itself with {ended.status}: {ended.said[-1:]}")
        said = in_child(lambda board: check(home, board), limit_s=LIMIT_S).checked("the check")
        return [*(line.split()[0] for line in ended.said), *said]

    return attempt


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=200))
