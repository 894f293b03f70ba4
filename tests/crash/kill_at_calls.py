"""SIGKILL at each system call that changes the disk, of each canonical operation and of the recovery (A2).

    python -m tests.crash.kill_at_calls [--tries N] [--operation NAME] [--seed S]

Without `--tries` every point is taken. The store must open, hold each document as before or after the
operation (after, if it had returned), find it in every mode, agree with itself, and take the next write.
Needs strace.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from crash.calls import Point, broken_at, points
from crash.command import Attempt, Try, main
from crash.operations import OPERATIONS, checking, doing, templates

ALL = sys.maxsize


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """Count the points of each operation; a try breaks one of them."""
    stores = templates(shared)
    chosen = [given.operation] if given.operation else list(OPERATIONS)
    places: list[tuple[str, Point]] = []
    for name in chosen:
        shutil.copytree(stores[name], shared / "counted" / name)
        found = points(doing(shared / "counted" / name, OPERATIONS[name]), shared / f"{name}.trace")
        print(f"{name}: {len(found)} points", file=sys.stderr)
        places += [(name, point) for point in found]
    random.Random(given.seed).shuffle(places)  # fewer tries than points are a sample of all
    given.tries = min(given.tries, len(places))

    def attempt(one: Try) -> Iterable[str]:
        name, point = places[one.number]
        folder = one.folder / "store"
        shutil.copytree(stores[name], folder)
        ended = broken_at(doing(folder, OPERATIONS[name]), point, "signal=SIGKILL")
        if ended.status not in {0, -9}:
            ended.checked(f"{name} at {point}")
        facts = checking(folder, name, stores[name], finished="finished" in ended.said)
        return [name, "killed" if ended.status else "not_reached", *facts]

    return attempt


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which operation; all of them if it is not said."""
    parser.add_argument("--operation", choices=list(OPERATIONS), default=None)


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=ALL, add_options=add_options))
