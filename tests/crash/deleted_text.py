"""Documents deleted and purged: no file below the data directory holds a byte of their text, and no search
finds it (A11).

    python -m tests.crash.deleted_text [--tries N] [--seed S]

Each try is a store of its own: texts and files added, replaced and indexed in several runs, compacted,
switched to other plans, its keyword index damaged and rebuilt, reopened, in random order; then some documents
are deleted, or their files are, and the collection is purged. The needles are words nothing else contains: in
titles, texts, metadata, names and definitions.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from crash.children import Board, in_child
from crash.command import Attempt, Try, main
from crash.operations import RECALL, opened, require
from damage import damage
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.index.plans import make_plan

DOCUMENTS = 40
PLANS = ("HNSW,SQ8", "PQ,FastScan", "IVF,SQ8", "IVF,PQ,FastScan", "Flat")
_LETTERS = "bcdfghjklmnpqrstvwz"


def _needle(choice: random.Random) -> str:
    """14 letters that no stemmer changes and no other text holds."""
    return "".join(choice.choices(_LETTERS, k=14))


class Life:
    """A store and what it was given: per document its words, old versions' included."""

    def __init__(self, folder: Path, choice: random.Random) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.mkdir()
        self.choice = choice
        self.words: dict[str, list[str]] = {}
        self.forgotten: list[str] = []  # of replaced versions

    def add(self, engine: Ragstone) -> None:
        """Add or replace some texts in one call."""
        names = [f"note:{n}" for n in self.choice.sample(range(DOCUMENTS // 2), k=8)]
        words = [[_needle(self.choice) for _ in range(3)] for _ in names]
        for name, three in zip(names, words, strict=True):
            self.forgotten += self.words.get(name, [])
            self.words[name] = three
        engine.add(
            [
                f"The harbour log names {text} twice: {text}. A harbour {text} register (H{text[0].upper()}R)."
                + " Nothing else." * 20
                for _, text, _ in words
            ],
            uris=names,
            titles=[f"About {title}" for title, _, _ in words],
            metadata=[{"author": author} for _, _, author in words],
        )

    def index(self, engine: Ragstone) -> None:
        """Write, rewrite and remove some files and index the folder."""
        for number in self.choice.sample(range(DOCUMENTS // 2), k=6):
            path = self.notes / f"file{number}.md"
            self.forgotten += self.words.pop(str(path), [])
            if path.exists() and self.choice.random() < 0.4:
                path.unlink()
                continue
            words = [_needle(self.choice) for _ in range(2)]
            path.write_text(f"# {words[0]}\n\nThe lantern {words[1]}." + " And more." * 30 + "\n")
            self.words[str(path)] = words
        if any(self.notes.iterdir()):
            engine.index([self.notes])

    def plan(self, engine: Ragstone) -> None:
        """Another plan."""
        plan = make_plan(self.choice.choice(PLANS), dim=HashingEmbedder().dim)
        if engine.stats().chunks:
            engine.apply_plan(plan, recall=RECALL)

    def compact(self, engine: Ragstone) -> None:
        """One segment of all."""
        if engine.stats().chunks:
            engine.compact()

    def damage(self, engine: Ragstone) -> None:
        """A damaged derived file, mended; the damaged copy is kept beside."""
        if not engine.stats().chunks:
            return
        home = engine._collection().folder
        names = [*home.glob("keyword/*.idx"), *home.glob("segments/*/index.faiss")]
        damage(self.choice.choice(sorted(names)), "flip", self.choice)
        engine.repair()

    def delete(self, engine: Ragstone) -> None:
        """Delete some texts, and some files with an indexing of their folder."""
        names = self.choice.sample(sorted(self.words), k=len(self.words) // 2)
        for name in names:
            self.forgotten += self.words.pop(name)
        engine.delete([name for name in names if name.startswith("note:")])
        files = [Path(name) for name in names if not name.startswith("note:")]
        for path in files:
            path.unlink()
        if files and any(self.notes.iterdir()):
            engine.index([self.notes])
        elif files:
            engine.delete([str(path) for path in files])


def _live(folder: Path, choice: random.Random) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        life = Life(folder, choice)
        with opened(folder) as engine:
            life.add(engine)
        for _ in range(choice.randint(2, 6)):
            with opened(folder) as engine:
                for step in choice.choices((life.add, life.index, life.plan, life.compact, life.damage), k=2):
                    step(engine)
        with opened(folder) as engine:
            life.delete(engine)
            engine.purge()
            _check(life, engine, "while it is open")
        _check_files(life, "after it was closed")
        board.say(f"needles {len(life.forgotten)}")

    return work


def _check(life: Life, engine: Ragstone, when: str) -> None:
    _check_files(life, when)
    for needle in life.forgotten:
        require(not engine.search(needle, mode="keyword").hits, f"{needle} is found {when}")
    for name, words in life.words.items():
        hits = engine.search(words[1], mode="keyword").hits
        require([hit.uri for hit in hits[:1]] == [name], f"{name} is not found {when}")
    require(engine.verify().ok, "the store does not agree with itself")
    require(engine.stats().tombstones == 0, "tombstones are left")


def _check_files(life: Life, when: str) -> None:
    for path in (life.folder / "data").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for needle in life.forgotten:
                require(needle.encode() not in data, f"{path} holds {needle} {when}")


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """Each try has a store of its own."""

    def attempt(one: Try) -> Iterable[str]:
        said = in_child(_live(one.folder, one.choice), limit_s=120).checked("a life")
        needles = int(said[-1].split()[1])
        return ["needles"] * needles

    return attempt


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=500))
