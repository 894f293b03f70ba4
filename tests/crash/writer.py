"""What the kill loop kills: checks what an earlier process left, resumes, then writes until it dies.

Speaks in lines: `intent NUMBER VERSION` before a change may become durable, `ack NUMBER VERSION` after the
call that made it returned (for files: after its `indexed` progress event), `state NUMBER VERSION` for what a
check found, `fact …` for counts, `ready` once all checks passed. A version is a number, or `-` for a deleted
document.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import ragstone.filling
from crash.children import Board
from hashing_embedder import HashingEmbedder
from importers.foreign_stores import Entry, vectors_of, write_llamaindex
from ragstone import Ragstone
from ragstone.importers.formats import open_foreign
from ragstone.importers.run import Options, run_import
from ragstone.index.plans import make_plan
from ragstone.store import vectors
from ragstone.types import IndexProgress, SearchMode

# Segments after every few operations instead of after thousands of chunks: more of them are hit by a kill.
TAIL_ROWS = 64

# Document numbers: added as texts, lying in the folder, in a foreign store imported into a collection of its own.
TEXTS, FILES, RECORDS = range(60), range(100, 140), range(200, 220)
OTHER = "imported"
PLANS = ("HNSW,SQ8", "PQ,FastScan", "IVF,SQ8", "IVF,PQ,FastScan", "Flat,FP16")
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


class Writer:
    """The store, the folder, and the versions this process knows to be in them."""

    def __init__(self, engine: Ragstone, other: Ragstone, home: Path, seed: int, board: Board) -> None:
        self.engine = engine
        self.other = other
        self.home = home
        self.folder = home / "folder"
        self.board = board
        self.choice = random.Random(seed)
        self.versions: dict[int, int | None] = {}
        self.next_version = 0

    def say(self, *words: object) -> None:
        """One line to the parent, at once and whole."""
        self.board.say(" ".join(map(str, words)))

    def uri(self, number: int) -> str:
        """What the document is called in the store."""
        return f"note:{number}" if number in TEXTS else str(self.path(number))

    def path(self, number: int) -> Path:
        """Where a file lies."""
        return self.folder / f"folder{number % 3}" / f"file{number}.md"

    # -- after a crash -----------------------------------------------------------------------------------

    def check(self, allowed: dict[int, list[int | None]], last: dict[int, int]) -> None:
        """Every document is in one of its `allowed` versions, in every mode, and in no other."""
        texts = self.present()
        assert texts.keys() <= allowed.keys(), "a document nobody wrote"
        for number, versions in allowed.items():
            found = None
            if number in texts:
                text = texts[number]
                matching = [v for v in versions if v is not None and text_of(number, v) == text]
                assert matching, f"document {number} is not in any of versions {versions}: {text[:60]!r}"
                found = matching[0]
            assert found in versions, f"document {number} is {found}, one of {versions} was promised"
            if len(versions) > 1:
                self.say("fact", "in_flight")
            self.versions[number] = found
        self.check_search(last)

    def present(self) -> dict[int, str]:
        """The texts of both collections, by number."""
        numbers = {self.uri(number): number for number in (*TEXTS, *FILES)}
        found = {}
        if "default" in self.engine.collections():
            for info in self.engine.documents():
                found[numbers[info.uri]] = self.engine.document(info.uri)[1]
        if OTHER in self.other.collections():
            for info in self.other.documents():
                number = int(str(info.metadata["imported_id"]))
                found[number] = self.other.document(info.uri)[1]
        return found

    def check_search(self, last: dict[int, int]) -> None:
        """The keyword index finds each version that is there, and none that is not."""
        own = {number: version for number, version in self.versions.items() if number not in RECORDS}
        for number, version in own.items():
            for other in {version, *range(max(0, last[number] - 3), last[number] + 1)} - {None}:
                hits = self.engine.search(marker(number, other), mode="keyword").hits
                wanted = {self.uri(number)} if other == version else set()
                assert {hit.uri for hit in hits} == wanted, f"{number} v{other}, at v{version}: {hits}"
        texts = {
            self.uri(number): text_of(number, version)
            for number, version in own.items()
            if version is not None
        }
        for number in RECORDS:
            if (version := self.versions.get(number)) is not None:
                hits = self.other.search(marker(number, version), mode="keyword").hits
                assert [hit.text.strip() for hit in hits] == [text_of(number, version).strip()], (
                    f"{number} v{version}: {hits}"
                )
        for mode in MODES if "default" in self.engine.collections() else ():
            for hit in self.engine.search(" ".join(_VOCABULARY), mode=mode, top_k=1000).hits:
                assert texts[hit.uri][hit.start : hit.end] == hit.text, f"{mode} returned {hit}"

    def check_complete(self) -> None:
        """Nothing waits for a vector, and dense search returns every document."""
        stats = self.engine.stats()
        assert stats.unembedded == 0, stats
        own = (*TEXTS, *FILES)
        alive = {self.uri(number) for number in own if self.versions.get(number) is not None}
        if alive:
            hits = self.engine.search("harbour lantern", mode="dense", top_k=1000).hits
            assert {hit.uri for hit in hits} == alive

    def verify(self) -> None:
        """The store agrees with itself, or can be mended."""
        for engine in (self.engine, self.other):
            if engine.stats().collection in engine.collections():
                report = engine.verify()
                if not report.ok:
                    self.say("fact", "_".join(["mended", *(problem.code for problem in report.problems)]))
                    report = engine.repair()
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
        operations: tuple[Callable[[], None], ...] = (
            *(self.add, self.add, self.delete, self.edit_files, self.compact),
            *(self.apply_plan, self.roll_back_plan, self.purge, self.import_records),
        )
        while True:
            operation = self.choice.choice(operations)
            operation()
            yield operation.__name__

    def compact(self) -> None:
        """One segment of all; no document changes."""
        if "default" in self.engine.collections():
            self.engine.compact()

    def purge(self) -> None:
        """Nothing of deleted documents is left."""
        if "default" in self.engine.collections():
            self.engine.purge()

    def apply_plan(self) -> None:
        """Another index."""
        if "default" in self.engine.collections() and self.engine.stats().chunks:
            plan = make_plan(self.choice.choice(PLANS), dim=HashingEmbedder().dim)
            self.engine.apply_plan(plan, recall=0.3)

    def roll_back_plan(self) -> None:
        """The index before."""
        if "default" in self.engine.collections():
            with self.engine._collection().catalog.reading() as db:
                applied = vectors.plans(db)
            if applied:
                self.engine.rollback_plan()

    def import_records(self) -> None:
        """Change some records of a foreign store and import it again."""
        numbers = self.choice.sample(RECORDS, k=self.choice.randint(1, len(RECORDS)))
        versions = {number: self.fresh() for number in sorted(numbers)}
        entries: list[Entry] = [
            (str(number), text_of(number, version), {}) for number, version in versions.items()
        ]
        source = write_llamaindex(self.home / "foreign", entries, vectors_of(len(entries)))
        for number, version in versions.items():
            self.say("intent", number, version)
        run_import(self.other, open_foreign("auto", source), Options(), data_dir=self.home / "store")
        for number, version in versions.items():
            self.acknowledge(number, version)

    def add(self) -> None:
        """Add or replace some texts in one call."""
        numbers = self.choice.sample(TEXTS, k=self.choice.randint(1, 20))
        versions = {number: self.fresh() for number in numbers}
        for number, version in versions.items():
            self.say("intent", number, version)
        self.engine.add(
            [text_of(number, version) for number, version in versions.items()],
            uris=[self.uri(number) for number in numbers],
            titles=[f"Text {number}" for number in numbers],
        )
        for number, version in versions.items():
            self.acknowledge(number, version)

    def delete(self) -> None:
        """Delete some texts in one call."""
        alive = [number for number in TEXTS if self.versions.get(number) is not None]
        numbers = self.choice.sample(alive, k=min(len(alive), self.choice.randint(1, 8)))
        for number in numbers:
            self.say("intent", number, "-")
        if numbers:
            self.engine.delete([self.uri(number) for number in numbers])
        for number in numbers:
            self.acknowledge(number, None)

    def edit_files(self) -> None:
        """Write, rewrite and remove some files, and index the folder."""
        for number in self.choice.sample(FILES, k=self.choice.randint(1, 15)):
            path = self.path(number)
            if path.exists() and self.choice.random() < 0.3:
                self.say("intent", number, "-")
                path.unlink()
            else:
                version = self.fresh()
                self.say("intent", number, version)
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
        self.say("ack", number, "-" if version is None else version)


def write_until_killed(
    home: Path, allowed: dict[int, list[int | None]], last: dict[int, int], seed: int, board: Board
) -> None:
    """See the module's docstring."""
    vars(ragstone.filling)["TAIL_ROWS"] = TAIL_ROWS
    (home / "folder").mkdir(exist_ok=True)
    with (
        Ragstone(home / "store", embedder=HashingEmbedder()) as engine,
        Ragstone(home / "store", collection=OTHER, embedder=HashingEmbedder()) as other,
    ):
        writer = Writer(engine, other, home, seed, board)
        writer.next_version = max(last.values(), default=0) + 1
        writer.check(allowed, last)
        if "default" in engine.collections():
            writer.verify()
            writer.resume()
            engine.embed_waiting()
            writer.check_complete()
            writer.verify()
        for number, version in writer.versions.items():
            writer.say("state", number, "-" if version is None else version)
        writer.say("ready")
        for operation in writer.work():
            writer.say("fact", operation)
