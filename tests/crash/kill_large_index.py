"""SIGKILL inside one large indexing run: what was acknowledged is there, and the same call completes it (A1).

    python -m tests.crash.kill_large_index [--tries N] [--files 3000] [--seed S]

One folder of small files, one store, one kill a try at a random moment of the run. When a run completes
before its kill, the store is compared with the folder, some files are changed, added and removed, and the
next run begins.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import ragstone.filling
import ragstone.ingest
from crash.children import Board, Child, Ended, in_child
from crash.command import Attempt, Try, main
from crash.operations import EVERYWHERE, opened, require, text_of, word
from ragstone.types import IndexProgress

# Commits and slices small enough that a run has many: one of 3,000 small files would have three commits and six slices.
COMMIT_SECONDS, EMBED_SLICE, SEAL_ROWS = 0.1, 100, 700
LIMIT_S = 120.0
CHECKED_BY_SEARCH = 60  # of thousands: a keyword search each


def _small_steps() -> None:
    vars(ragstone.ingest).update(COMMIT_SECONDS=COMMIT_SECONDS)
    vars(ragstone.filling).update(EMBED_SLICE=EMBED_SLICE, SEAL_ROWS=SEAL_ROWS)


class Tree:
    """The folder, and which version of each file lies in it."""

    def __init__(self, folder: Path, count: int, choice: random.Random) -> None:
        self.folder = folder
        self.count = count
        self.choice = choice
        self.versions: dict[int, int] = {}
        for number in range(count):
            self.write(number, 0)

    def path(self, number: int) -> Path:
        """Where a file lies."""
        return self.folder / f"part{number % 20}" / f"file{number}.txt"

    def write(self, number: int, version: int) -> None:
        """A whole new file."""
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(f"file:{number}", version) + "\n")
        self.versions[number] = version

    def change(self, version: int) -> None:
        """A sixth of the files rewritten, a tenth removed, those removed before written again."""
        for number in set(range(self.count)) - self.versions.keys():
            self.write(number, version)
        for number in self.choice.sample(range(self.count), k=self.count // 6):
            self.write(number, version)
        for number in self.choice.sample(sorted(self.versions), k=self.count // 10):
            self.path(number).unlink()
            del self.versions[number]


def _index(store: Path, tree: Path) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        _small_steps()

        def progress(event: IndexProgress) -> None:
            if event.uri is not None:
                board.say(Path(event.uri).stem.removeprefix("file"))
            else:
                board.say(f"stage {event.stage}")

        with opened(store) as engine:
            board.say("opened")
            engine.index([tree], progress=progress)
            board.say("complete")

    return work


def _check(store: Path, tree: Tree, acknowledged: list[int], *, complete: bool) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        with opened(store) as engine:
            if not engine.collections():
                require(not acknowledged, "acknowledged files are lost with their collection")
                return
            held = {info.uri for info in engine.documents()}
            wanted = {str(tree.path(number)) for number in tree.versions}
            lost = {str(tree.path(number)) for number in acknowledged} - held
            require(not lost, f"{len(lost)} acknowledged files are lost")
            checked = sorted(acknowledged) if len(acknowledged) else []
            for number in tree.choice.sample(checked, k=min(CHECKED_BY_SEARCH, len(checked))):
                own = word(f"file:{number}", tree.versions[number])
                uri = str(tree.path(number))
                require(engine.document(uri)[1] == tree.path(number).read_text(), f"{uri} has another text")
                found = [hit.uri for hit in engine.search(own, mode="keyword").hits]
                require(found == [uri], f"{own} finds {found}, not {uri}")
            report = engine.verify()
            require(report.ok, f"{report.problems}")
            if complete:
                require(held == wanted, f"{len(held)} documents, {len(wanted)} files")
                stats = engine.stats()
                require(not stats.unembedded, f"{stats.unembedded} chunks have no vector")
                require(not engine.search(EVERYWHERE).degraded, "search says it is degraded")
            board.say(f"held {len(held)}")

    return work


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """Write the folder and time one whole run; kills fall anywhere within that time."""
    choice = random.Random(given.seed)
    tree = Tree(shared / "tree", given.files, choice)
    whole_s = in_child(_index(shared / "first", tree.folder), limit_s=LIMIT_S)
    whole_s.checked("the first run")
    print(f"{given.files} files: {whole_s.seconds:.1f} s unharmed", file=sys.stderr)
    shutil.rmtree(shared / "first")
    runs = 0
    acknowledged: set[int] = set()

    def attempt(one: Try) -> Iterable[str]:
        nonlocal runs
        child = Child(_index(shared / "store", tree.folder))
        time.sleep(one.choice.uniform(0.02, whole_s.seconds))
        child.kill()
        ended: Ended = child.end(limit_s=LIMIT_S)
        complete = "complete" in ended.said
        acknowledged.update(int(line) for line in ended.said if line.isdecimal())
        require(ended.status == -9 or complete, f"the run ended with {ended}")
        work = _check(shared / "store", tree, sorted(acknowledged), complete=complete)
        in_child(work, limit_s=LIMIT_S).checked("the check")
        stages = [line for line in ended.said if line.startswith("stage")]
        facts = [
            "completed" if complete else "killed",
            f"last_{stages[-1].split()[1]}" if stages else "no_stage",
        ]
        if complete:
            runs += 1
            acknowledged.clear()
            tree.change(runs)
        return facts

    return attempt


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many files."""
    parser.add_argument("--files", type=int, default=3_000)


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=100, add_options=add_options))
