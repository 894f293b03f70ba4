"""The process that the kill loop kills: checks what an earlier one left, resumes, then writes until it dies.

Run by `tests.crash.kill_loop` as `writer.py STORE FOLDER EXPECTED SEED`, with `tests/` on the import path. Speaks in
lines: `intent NUMBER VERSION` before a change may become durable, `ack NUMBER VERSION` after the call that made
it returned (for files: after its `indexed` progress event), `state NUMBER VERSION` for what a check found, `fact …`
for counts, `ready` once all checks passed.
A version is a number, or `-` for a deleted document.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import ragstone.ingest
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.types import IndexProgress, SearchMode

# Segments after every few operations instead of after thousands of chunks: more of them are hit by a kill.
vars(ragstone.ingest)["TAIL_ROWS"] = 64

TEXTS, FILES = range(60), range(100, 140)  # document numbers: added as texts, or lying in the folder
MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "keyword")
_LETTERS = str.maketrans("0123456789", "bcdfghjklm")
_VOCABULARY = ("harbour", "lantern", "violin", "copper", "meadow", "thunder", "pepper", "glacier", "orchid")


def marker(number: int, version: int) -> str:
    """A word that only this version of this document holds; without vowels, so that no stemmer changes it."""
    return f"z{number}x{version}q".translate(_LETTERS)


def text_of(number: int, version: int) -> str:
    """The text of a version: its marker, and words, one to four chunks long."""
    choice = random.Random(number * 100_003 + version)
    word = marker(number, version)
    lines = [
        " ".join([word, *choice.choices(_VOCABULARY, k=20), f"line {line}."])
        for line in range(choice.randint(1, 9))
    ]
    return "\n\n".join(lines) + "\n"


def say(*words: object) -> None:
    """One line to the parent, at once and whole."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Writer:
    """The store, the folder, and the versions this process knows to be in them."""

    def __init__(self, engine: Ragstone, folder: Path, seed: int) -> None:
        self.engine = engine
        self.folder = folder
        self.choice = random.Random(seed)
        self.versions: dict[int, int | None] = {}
        self.next_version = 0

    def uri(self, number: int) -> str:
        """What the document is called in the store."""
        return f"note:{number}" if number in TEXTS else str(self.path(number))

    def path(self, number: int) -> Path:
        """Where a file lies."""
        return self.folder / f"folder{number % 3}" / f"file{number}.md"

    # -- after a crash -----------------------------------------------------------------------------------

    def check(self, allowed: dict[int, list[int | None]], last: dict[int, int]) -> None:
        """Every document is in one of its `allowed` versions, in every mode, and in no other."""
        present = {info.uri for info in self.engine.documents()}
        assert present <= {self.uri(number) for number in allowed}, "a document nobody wrote"
        for number, versions in allowed.items():
            found = None
            if self.uri(number) in present:
                _, text = self.engine.document(self.uri(number))
                matching = [v for v in versions if v is not None and text_of(number, v) == text]
                assert matching, f"document {number} is not in any of versions {versions}: {text[:60]!r}"
                found = matching[0]
            assert found in versions, f"document {number} is {found}, one of {versions} was promised"
            if len(versions) > 1:
                say("fact", "in_flight")
            self.versions[number] = found
        self.check_search(last)

    def check_search(self, last: dict[int, int]) -> None:
        """The keyword index finds each version that is there, and none that is not."""
        for number, version in self.versions.items():
            for other in {version, *range(max(0, last[number] - 3), last[number] + 1)} - {None}:
                hits = self.engine.search(marker(number, other), mode="keyword").hits
                wanted = {self.uri(number)} if other == version else set()
                assert {hit.uri for hit in hits} == wanted, f"{number} v{other}, at v{version}: {hits}"
        texts = {
            self.uri(number): text_of(number, version)
            for number, version in self.versions.items()
            if version is not None
        }
        for mode in MODES:
            for hit in self.engine.search(" ".join(_VOCABULARY), mode=mode, top_k=1000).hits:
                assert texts[hit.uri][hit.start : hit.end] == hit.text, f"{mode} returned {hit}"

    def check_complete(self) -> None:
        """Nothing waits for a vector, and dense search returns every document."""
        stats = self.engine.stats()
        assert stats.unembedded == 0, stats
        alive = {self.uri(number) for number, version in self.versions.items() if version is not None}
        if alive:
            hits = self.engine.search("harbour lantern", mode="dense", top_k=1000).hits
            assert {hit.uri for hit in hits} == alive

    def verify(self) -> None:
        """The store agrees with itself, or can be mended."""
        report = self.engine.verify()
        if not report.ok:
            say("fact", "mended", *(problem.code for problem in report.problems))
            report = self.engine.repair()
        assert report.ok, report

    def resume(self) -> None:
        """Index the folder as it lies there; the store equals it afterwards."""
        if any(self.folder.rglob("*.md")):
            self.index()
        for number in FILES:
            path = self.path(number)
            if path.exists():
                assert self.engine.document(self.uri(number))[1] == path.read_text()
            else:
                assert self.versions.get(number) is None

    # -- until it is killed ------------------------------------------------------------------------------

    def work(self) -> Iterator[str]:
        """One operation after the other, for ever."""
        operations = (self.add, self.add, self.delete, self.edit_files)
        while True:
            operation = self.choice.choice(operations)
            operation()
            yield operation.__name__

    def add(self) -> None:
        """Add or replace some texts in one call."""
        numbers = self.choice.sample(TEXTS, k=self.choice.randint(1, 20))
        versions = {number: self.fresh() for number in numbers}
        for number, version in versions.items():
            say("intent", number, version)
        self.engine.add(
            [text_of(number, version) for number, version in versions.items()],
            uris=[self.uri(number) for number in numbers],
        )
        for number, version in versions.items():
            self.acknowledge(number, version)

    def delete(self) -> None:
        """Delete some texts in one call."""
        alive = [number for number in TEXTS if self.versions.get(number) is not None]
        numbers = self.choice.sample(alive, k=min(len(alive), self.choice.randint(1, 8)))
        for number in numbers:
            say("intent", number, "-")
        if numbers:
            self.engine.delete([self.uri(number) for number in numbers])
        for number in numbers:
            self.acknowledge(number, None)

    def edit_files(self) -> None:
        """Write, rewrite and remove some files, and index the folder."""
        for number in self.choice.sample(FILES, k=self.choice.randint(1, 15)):
            path = self.path(number)
            if path.exists() and self.choice.random() < 0.3:
                say("intent", number, "-")
                path.unlink()
            else:
                version = self.fresh()
                say("intent", number, version)
                path.parent.mkdir(parents=True, exist_ok=True)
                draft = self.folder.parent / "draft"  # a file is there whole or not at all
                draft.write_text(text_of(number, version))
                draft.replace(path)
        if any(self.folder.rglob("*.md")):
            self.index()

    def index(self) -> None:
        """Index the folder; each document is acknowledged by its progress event, removals by the return."""
        on_disk = {number: self.version_on_disk(number) for number in FILES}
        numbers = {self.uri(number): number for number in FILES}

        def progress(event: IndexProgress) -> None:
            if event.uri is not None:
                self.acknowledge(numbers[event.uri], on_disk[numbers[event.uri]])

        report = self.engine.index([self.folder], progress=progress)
        assert not report.failed, report.failed
        for number, version in on_disk.items():
            if number in self.versions or version is not None:
                self.acknowledge(number, version)

    def version_on_disk(self, number: int) -> int | None:
        """Which version of a file lies there."""
        if not self.path(number).exists():
            return None
        word = self.path(number).read_text().split(maxsplit=1)[0]
        back = str.maketrans("bcdfghjklm", "0123456789")
        return int(word[1:-1].split("x")[1].translate(back))

    def fresh(self) -> int:
        """A version never used before."""
        self.next_version += 1
        return self.next_version

    def acknowledge(self, number: int, version: int | None) -> None:
        """Promise that a document is in this version from now on."""
        self.versions[number] = version
        say("ack", number, "-" if version is None else version)


def main() -> None:
    """See the module's docstring."""
    store, folder, expected, seed = sys.argv[1:]
    known = json.loads(Path(expected).read_text())
    allowed = {int(number): versions for number, versions in known["allowed"].items()}
    with Ragstone(store, embedder=HashingEmbedder()) as engine:
        writer = Writer(engine, Path(folder), int(seed))
        writer.next_version = known["next_version"]
        if engine.collections():
            writer.check(allowed, {int(number): last for number, last in known["last"].items()})
            writer.verify()
            writer.resume()
            engine.embed_waiting()
            writer.check_complete()
            writer.verify()
        for number, version in writer.versions.items():
            say("state", number, "-" if version is None else version)
        say("ready")
        for operation in writer.work():
            say("fact", operation)


if __name__ == "__main__":
    main()
