"""Two to eight processes that open a store at once and write: one does, the others are told who within a
second (A7).

    python -m tests.crash.openers [--tries N] [--seed S]

In half of the tries the collection does not exist before, and all create it. In a third the writer is killed,
after which another must get the lock at once.
"""

from __future__ import annotations

import argparse
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from crash.children import Board, Child, in_child
from crash.command import Attempt, BrokenPromiseError, Try, main
from crash.operations import check_search, opened, put, require, text_of
from ragstone.errors import LockedError

TOLD_WITHIN_S = 1.0  # RELIABILITY A7
_LIMIT_S = 60.0
_POLL_S = 0.002


class Meeting:
    """Bytes that all processes see: how many are ready, whether to go, which were refused."""

    def __init__(self, count: int) -> None:
        self._bytes = mmap.mmap(-1, 2 * count + 1)
        self._count = count

    def arrive(self, number: int) -> None:
        """Wait for the others."""
        self._bytes[number] = 1
        while not all(self._bytes[: self._count]):
            time.sleep(_POLL_S)

    def leave(self, number: int) -> None:
        """This one was refused."""
        self._bytes[self._count + number] = 1

    def others_left(self, limit_s: float) -> bool:
        """Whether all but one were refused, in time."""
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            if sum(self._bytes[self._count : 2 * self._count]) >= self._count - 1:
                return True
            time.sleep(_POLL_S)
        return False


def _open_and_write(folder: Path, number: int, meeting: Meeting, *, dies: bool) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        meeting.arrive(number)
        with opened(folder) as engine:
            started_s = time.monotonic()
            try:
                collection = engine._collection(create=True)
                with collection.writing():
                    board.say("writes")
                    if not meeting.others_left(10.0):
                        board.say("not all others were refused")
                    if dies:
                        os.kill(os.getpid(), 9)
                    put(engine, {f"from:{number}": text_of(f"from:{number}")})
            except LockedError as error:
                board.say(f"refused {time.monotonic() - started_s:.3f} {error.message}")
                meeting.leave(number)

    return work


def _next_writes(folder: Path, kept: int | None) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        started_s = time.monotonic()
        with opened(folder) as engine:
            put(engine, {"next:0": text_of("next:0")})
            took_s = time.monotonic() - started_s
            require(took_s < 5 * TOLD_WITHIN_S, f"the next writer needed {took_s:.1f} s")
            names = ["next:0"] + ([] if kept is None else [f"from:{kept}"])
            check_search(engine, {name: text_of(name) for name in names})
            require(engine.verify().ok, "the store does not agree with itself")

    return work


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """Each try has a store of its own."""

    def attempt(one: Try) -> Iterable[str]:
        count, dies, is_new = one.choice.randint(2, 8), one.choice.random() < 1 / 3, one.choice.random() < 0.5
        if not is_new:

            def make(_: Board) -> None:
                with opened(one.folder) as engine:
                    put(engine, {"first:0": text_of("first:0")})
                    engine.delete(["first:0"])

            in_child(make).checked("the first writer")
        meeting = Meeting(count)
        children = [Child(_open_and_write(one.folder, n, meeting, dies=dies)) for n in range(count)]
        ended = [child.end(limit_s=_LIMIT_S) for child in children]
        writers = [n for n in range(count) if "writes" in ended[n].said]
        if len(writers) != 1:
            raise BrokenPromiseError(f"{count} processes, writers {writers}: {ended}")
        (writer,) = writers
        slowest = 0.0
        for number in set(range(count)) - {writer}:
            (line,) = ended[number].checked("a refused process")
            _, seconds, message = line.split(maxsplit=2)
            slowest = max(slowest, float(seconds))
            require(f"process {children[writer].pid} (" in message, f"the writer is not named: {line}")
            require(float(seconds) < TOLD_WITHIN_S, f"told after {seconds} s")
        if dies:
            require(ended[writer].status == -9, f"the writer ended with {ended[writer]}")
        else:
            require(ended[writer].checked("the writer") == ["writes"], f"{ended[writer]}")
        in_child(_next_writes(one.folder, None if dies else writer)).checked("the next writer")
        return [
            f"processes:{count}",
            "created" if is_new else "opened",
            "writer_killed" if dies else "writer_finished",
            "told_within_100ms" if slowest < 0.1 else "told_within_1s",
        ]

    return attempt


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=200))
