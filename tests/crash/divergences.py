"""Catalog, segments, keyword index and graph made to disagree, one way at a time: `doctor --repair` mends each (A6).

    python -m tests.crash.divergences [--tries N] [--kind KIND] [--seed S]

`verify` must see what could change an answer, `repair` must leave nothing, every answer must be the one
before, and nothing may be embedded again but chunks whose vectors are in no file any more.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crash.children import Board, in_child
from crash.command import Attempt, Try, main
from crash.damaged_files import answers
from crash.operations import EVERYWHERE, MODES, SEALED, TAIL, build, opened, put, require, text_of
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.collection import Collection
from ragstone.store import documents, vectors
from ragstone.store.keyword import KeywordIndex
from ragstone.store.keyword_tail import KeywordEntry
from ragstone.trust import trust


@dataclass(frozen=True, slots=True)
class Scene:
    """An open collection to spoil, and the folder of its files."""

    engine: Ragstone
    collection: Collection
    choice: random.Random
    folder: Path

    def run(self, statement: str, *values: object) -> None:
        """One statement on the catalog."""
        with self.collection.catalog.transaction() as db:
            db.execute(statement, values)

    def ids(self, statement: str) -> list[int]:
        """A column of chunk ids."""
        with self.collection.catalog.reading() as db:
            return [int(str(value)) for (value,) in db.execute(statement)]

    def segment(self) -> vectors.SegmentRow:
        """A segment."""
        with self.collection.catalog.reading() as db:
            return self.choice.choice(vectors.segments(db))

    def path(self, row: vectors.SegmentRow) -> Path:
        """Where its files are."""
        return self.collection.segments.path(row)

    def sealed_alive(self) -> list[int]:
        """Chunks whose vector is in a segment."""
        with self.collection.catalog.reading() as db:
            expected: list[int] = vectors.chunks_expected_in_segments(db).tolist()
            return expected

    def keyword(self) -> KeywordIndex:
        """The keyword index, opened once more."""
        return KeywordIndex.open(self.folder / "keyword", writable=True)


def _copied_segment(scene: Scene) -> tuple[vectors.SegmentRow, str]:
    row = scene.segment()
    name = scene.choice.randbytes(16).hex()
    shutil.copytree(scene.path(row), scene.path(row).with_name(name))
    return row, name


def _segment_missing(scene: Scene) -> None:
    shutil.rmtree(scene.path(scene.segment()))


def _segment_file_missing(scene: Scene) -> None:
    scene.choice.choice(sorted(scene.path(scene.segment()).iterdir())).unlink()


def _segment_extra(scene: Scene) -> None:
    _copied_segment(scene)


def _row_in_two_segments(scene: Scene) -> None:
    row, name = _copied_segment(scene)
    scene.run(
        "INSERT INTO segments (name, count, manifest_sha256, created_s) VALUES (?, ?, ?, 0)",
        name,
        row.count,
        row.manifest_sha256,
    )


def _tombstone_missing(scene: Scene) -> None:
    scene.run("DELETE FROM tombstones WHERE chunk_id = (SELECT min(chunk_id) FROM tombstones)")


def _tombstones_all_missing(scene: Scene) -> None:
    scene.run("DELETE FROM tombstones")


def _tombstone_of_a_living_chunk(scene: Scene) -> None:
    scene.run("INSERT INTO tombstones VALUES (?)", scene.choice.choice(scene.sealed_alive()))


def _tombstone_of_nothing(scene: Scene) -> None:
    scene.run("INSERT INTO tombstones VALUES (?)", 1_000_000 + scene.choice.randrange(1000))


def _pending_and_sealed(scene: Scene) -> None:
    chunk = scene.choice.choice(scene.sealed_alive())
    with scene.collection.catalog.reading() as db:
        (owner,) = db.execute("SELECT document_id FROM chunks WHERE id = ?", (chunk,)).fetchall()[0]
    dense = scene.collection.snapshot().dense
    require(dense is not None, "no vectors")
    vector = dense.vectors(np.array([chunk]))[0].astype("<f2")  # type: ignore[union-attr]  # just looked
    scene.run(
        "INSERT INTO pending_vectors (chunk_id, document_id, vector) VALUES (?, ?, ?)",
        chunk,
        owner,
        vector.tobytes(),
    )


def _queued_and_sealed(scene: Scene) -> None:
    scene.run("INSERT INTO unembedded VALUES (?)", scene.choice.choice(scene.sealed_alive()))


def _pending_and_queued(scene: Scene) -> None:
    scene.run("INSERT INTO unembedded SELECT max(chunk_id) FROM pending_vectors")


def _pending_lost(scene: Scene) -> None:
    scene.run("DELETE FROM pending_vectors WHERE sequence = (SELECT max(sequence) FROM pending_vectors)")


def _draft_left(scene: Scene) -> None:
    draft = scene.folder / "segments" / f"{scene.choice.randbytes(16).hex()}.draft"
    draft.mkdir()
    (draft / "index.faiss").write_bytes(b"half")


def _trusted_in_error(scene: Scene) -> None:
    folder = scene.path(scene.segment())
    path = scene.choice.choice(sorted(folder.glob("*.faiss")))
    data = bytearray(path.read_bytes())
    data[-1 - scene.choice.randrange(64)] ^= 1  # in codes or ids, which nothing reads when it is opened
    path.unlink()
    path.write_bytes(data)
    trust(folder)


def _keyword_missing(scene: Scene) -> None:
    shutil.rmtree(scene.folder / "keyword")


def _keyword_behind(scene: Scene) -> None:
    """An older copy of it, the catalog's log trimmed: only a rebuild helps."""
    shutil.copytree(scene.folder / "keyword", scene.folder / "older")
    put(scene.engine, {"tail:0": text_of("tail:0", 7)})
    put(scene.engine, {"tail:0": text_of("tail:0", 3)})
    shutil.rmtree(scene.folder / "keyword")
    (scene.folder / "older").rename(scene.folder / "keyword")


def _keyword_ahead(scene: Scene) -> None:
    index = scene.keyword()
    index.apply(add=(), delete=(), sequence=index.sequence + 1 + scene.choice.randrange(100))


def _keyword_lacks_a_chunk(scene: Scene) -> None:
    index = scene.keyword()
    index.apply(
        add=(), delete=[scene.choice.choice(scene.ids("SELECT id FROM chunks"))], sequence=index.sequence
    )


def _stranger(scene: Scene) -> KeywordEntry:
    return KeywordEntry(500_000 + scene.choice.randrange(1000), 1, f"{EVERYWHERE} stranger")


def _keyword_has_a_stranger(scene: Scene) -> None:
    index = scene.keyword()
    index.apply(add=[_stranger(scene)], delete=(), sequence=index.sequence)


def _keyword_has_another(scene: Scene) -> None:
    """As many chunks as there should be, one of them the wrong one."""
    index = scene.keyword()
    gone = scene.choice.choice(scene.ids("SELECT id FROM chunks"))
    index.apply(add=[_stranger(scene)], delete=[gone], sequence=index.sequence)


def _keyword_note_missing(scene: Scene) -> None:
    (scene.folder / "keyword" / "meta.note").unlink()


def _name_lost(scene: Scene) -> None:
    scene.run("DELETE FROM names WHERE document_id = (SELECT max(document_id) FROM names)")


def _name_of_a_stranger(scene: Scene) -> None:
    scene.run("INSERT INTO names VALUES (?, ?)", scene.choice.getrandbits(63), 1_000_000)


def _names_of_other_rules(scene: Scene) -> None:
    """As an older ragstone left them; opening is enough to mend that."""
    scene.run("DELETE FROM names")
    scene.run("UPDATE counters SET value = 0 WHERE name = 'names_version'")


def _acronym_lost(scene: Scene) -> None:
    scene.run("DELETE FROM acronyms WHERE document_id = (SELECT max(document_id) FROM acronyms)")


def _acronym_of_a_stranger(scene: Scene) -> None:
    scene.run(
        "INSERT INTO acronyms VALUES (1000000, ?, 2, 'XY', 'x-ray yard', 0)", scene.choice.getrandbits(63)
    )


def _acronyms_of_other_rules(scene: Scene) -> None:
    """As an older ragstone left them; opening is enough to mend that."""
    scene.run("DELETE FROM acronyms")
    scene.run("UPDATE counters SET value = 0 WHERE name = 'acronyms_version'")


# What is done, and whether vectors are lost by it, which only the embedder can bring back.
KINDS: Mapping[str, tuple[Callable[[Scene], None], bool]] = {
    "segment_missing": (_segment_missing, True),
    "segment_file_missing": (_segment_file_missing, True),
    "segment_extra": (_segment_extra, False),
    "row_in_two_segments": (_row_in_two_segments, False),
    "tombstone_missing": (_tombstone_missing, False),
    "tombstones_all_missing": (_tombstones_all_missing, False),
    "tombstone_of_a_living_chunk": (_tombstone_of_a_living_chunk, False),
    "tombstone_of_nothing": (_tombstone_of_nothing, False),
    "pending_and_sealed": (_pending_and_sealed, False),
    "queued_and_sealed": (_queued_and_sealed, False),
    "pending_and_queued": (_pending_and_queued, False),
    "pending_lost": (_pending_lost, True),
    "draft_left": (_draft_left, False),
    "trusted_in_error": (_trusted_in_error, True),
    "keyword_missing": (_keyword_missing, False),
    "keyword_behind": (_keyword_behind, False),
    "keyword_ahead": (_keyword_ahead, False),
    "keyword_lacks_a_chunk": (_keyword_lacks_a_chunk, False),
    "keyword_has_a_stranger": (_keyword_has_a_stranger, False),
    "keyword_has_another": (_keyword_has_another, False),
    "keyword_note_missing": (_keyword_note_missing, False),
    "name_lost": (_name_lost, False),
    "name_of_a_stranger": (_name_of_a_stranger, False),
    "names_of_other_rules": (_names_of_other_rules, False),
    "acronym_lost": (_acronym_lost, False),
    "acronym_of_a_stranger": (_acronym_of_a_stranger, False),
    "acronyms_of_other_rules": (_acronyms_of_other_rules, False),
}


def _spoil(folder: Path, kinds: list[str], seed: int) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        with opened(folder) as engine:
            engine.search(EVERYWHERE)
            collection = engine._collection()
            scene = Scene(engine, collection, random.Random(seed), collection.folder)
            with collection.writing():
                for kind in kinds:
                    KINDS[kind][0](scene)

    return work


def _mend(folder: Path, wanted: dict[str, object], *, loses_vectors: bool) -> Callable[[Board], None]:
    def work(board: Board) -> None:
        embedder = HashingEmbedder()
        with Ragstone(folder / "data", embedder=embedder) as engine:
            found = engine.verify()
            for problem in found.problems:
                require(problem.repairable, f"{problem} cannot be repaired")
                board.say(problem.code)
            if found.ok:
                board.say("harmless")
                require(answers(engine) == wanted, "an answer changed, and verify sees nothing")
            report = engine.repair()
            require(report.ok, f"repair leaves {report.problems}")
            embedded = len(embedder.embedded)
            require(loses_vectors or not embedded, f"{embedded} texts were embedded, their vectors survived")
            last = answers(engine)
            for key, value in wanted.items():
                require(last[key] == value, f"{key}: {last[key]} instead of {value}")
            for mode in MODES:
                hits = engine.search(EVERYWHERE, mode=mode, top_k=1000).hits
                require(len({hit.id for hit in hits}) == len(hits), f"{mode} returns a chunk twice")
            put(engine, {"after:0": text_of("after:0")})
            engine.compact()
            require(engine.verify().ok, "the store does not agree with itself after the next write")

    return work


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """One store; a try spoils a copy of it in one way, each way in turn."""
    (shared / "store").mkdir()

    def make(board: Board) -> None:
        build(shared / "store")
        with opened(shared / "store") as engine:
            put(engine, {name: text_of(name, 3) for name in (*list(SEALED)[10:13], *TAIL)})
            collection = engine._collection()
            with collection.writing():
                collection.seal()
            engine.delete(["old:20", "tail:5"])
            put(engine, {"tail:0": text_of("tail:0", 3), "last:0": text_of("last:0")})
            with collection.catalog.reading() as db:
                require(len(vectors.segments(db)) == 2, "one segment only")
                require(documents.waiting(db).pending, "nothing pending")

    in_child(make).checked("the store to spoil")
    shutil.copytree(shared / "store", shared / "asked")

    def ask(board: Board) -> None:
        with opened(shared / "asked") as engine:
            board.say(json.dumps(answers(engine)))

    (line,) = in_child(ask).checked("the answers before")
    kinds = [given.kind] if given.kind else list(KINDS)

    def attempt(one: Try) -> Iterable[str]:
        folder, kind = one.folder / "store", kinds[one.number % len(kinds)]
        shutil.copytree(shared / "store", folder)
        in_child(_spoil(folder, [kind], one.choice.randrange(2**31))).checked(f"spoiling by {kind}")
        said = in_child(_mend(folder, json.loads(line), loses_vectors=KINDS[kind][1])).checked(kind)
        return [kind, *{f"found:{fact}" for fact in said}]

    return attempt


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which divergence; each in turn if it is not said."""
    parser.add_argument("--kind", choices=list(KINDS), default=None)


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=500, add_options=add_options))
