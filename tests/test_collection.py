"""An open collection: snapshots, sealing, deletion, damage and its mending, many threads."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from damage import replace_bytes
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.collection import Collection
from ragstone.errors import MismatchError, RagstoneError
from ragstone.filling import identity_of
from ragstone.segments import Part, _Swap
from ragstone.store import documents, vectors
from ragstone.store.schema import MIGRATIONS
from ragstone.types import SearchMode

MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "keyword")
WORDS = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "granite", "heron", "iris", "jasper")


def texts(count: int, seed: int = 0) -> list[str]:
    choice = random.Random(seed)
    return [f"number{n} " + " ".join(choice.choices(WORDS, k=12)) for n in range(count)]


def seal(engine: Ragstone, embedder: HashingEmbedder) -> None:
    collection = engine._collection()
    with collection.writing():
        collection.seal()


def answers(engine: Ragstone) -> list[object]:
    """What a few queries return: by meaning in order with scores, by keyword as a set.

    A rebuilt keyword index no longer counts deleted chunks, so its scores, not its matches, differ a little.
    """
    found: list[object] = []
    for query in ("number7 heron", "cobalt iris", "number150"):
        dense = engine.search(query, mode="dense", top_k=8).hits
        found.append([(hit.id, round(hit.score, 5), hit.text) for hit in dense])
        found += [
            {(hit.id, hit.text) for hit in engine.search(query, mode=mode, top_k=500).hits} for mode in MODES
        ]
    return found


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[tuple[Path, HashingEmbedder]]:
    """A closed store of 200 texts: 180 in a segment (3 of them deleted since), 20 in the tail."""
    embedder = HashingEmbedder()
    with Ragstone(tmp_path / "data", embedder=embedder) as engine:
        given = texts(200)
        engine.add(given[:180], uris=[f"u{n}" for n in range(180)])
        seal(engine, embedder)
        engine.delete(["u3", "u4", "u5"])
        engine.add(given[180:], uris=[f"u{n}" for n in range(180, 200)])
    yield tmp_path / "data", embedder


def derived_files(data: Path) -> list[Path]:
    home = data / "collections" / "default"
    files = [*home.glob("segments/*/*"), *home.glob("keyword/*")]
    return sorted(
        path
        for path in files
        if path.stat().st_size and not path.name.startswith(".") and ".damaged" not in path.parent.name
    )


def flip(path: Path, position: int, *, keep_mtime: bool) -> None:
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    with path.open("r+b") as file:  # in place: the inode stays
        file.write(data)
    if keep_mtime:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("keep_mtime", [False, True], ids=["mtime changed", "mtime kept"])
def test_a_flipped_byte_in_any_derived_file_is_found_and_mended(
    sealed: tuple[Path, HashingEmbedder], *, keep_mtime: bool
) -> None:
    data, embedder = sealed
    with Ragstone(data, embedder=embedder) as engine:
        wanted = answers(engine)
    choice = random.Random(5)
    for number in range(14):  # the four files of the segment, then those of the keyword index
        files = derived_files(data)
        path = files[-1 - number % len(files)]
        flip(path, choice.randrange(path.stat().st_size), keep_mtime=keep_mtime)
        with Ragstone(data, embedder=embedder) as engine:
            report = engine.verify()
            assert not report.ok, path
            assert all(problem.repairable for problem in report.problems)
            engine.repair()
            assert engine.verify().ok
            assert answers(engine) == wanted, path
            seal(engine, embedder)


@pytest.mark.parametrize("name", ["index.faiss", "rows.u64", "documents.u64", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_segment_is_never_searched(
    sealed: tuple[Path, HashingEmbedder], name: str, damage: str
) -> None:
    data, embedder = sealed
    with Ragstone(data, embedder=embedder) as engine:
        wanted = answers(engine)
    (path,) = data.glob(f"collections/default/segments/*/{name}")
    if damage == "flipped":
        flip(path, path.stat().st_size // 2, keep_mtime=False)
    elif damage == "cut":
        replace_bytes(path, path.read_bytes()[:-1])
    else:
        path.unlink()
    with Ragstone(data, embedder=embedder) as engine:
        engine.search("heron")  # mends on the way
        engine.embed_waiting()
        assert answers(engine) == wanted
        assert engine.verify().ok


def test_a_damaged_segment_is_mended_where_it_cannot_be_set_aside(
    sealed: tuple[Path, HashingEmbedder],
) -> None:
    data, embedder = sealed
    with Ragstone(data, embedder=embedder) as engine:
        wanted = answers(engine)
    (path,) = data.glob("collections/default/segments/*/rows.u64")
    flip(path, 0, keep_mtime=False)
    folder = path.parent
    folder.with_name(f"{folder.name}.damaged").write_text("a file, where a folder is to go")
    with Ragstone(data, embedder=embedder) as engine:
        engine.search("heron")
        engine.embed_waiting()
        assert answers(engine) == wanted
    with Ragstone(data, embedder=embedder) as engine:
        engine.add(["a text more"])
        assert not folder.exists()
        assert engine.verify().ok


def test_only_the_damaged_block_of_vectors_is_embedded_again(tmp_path: Path) -> None:
    embedder = HashingEmbedder(dim=1024)  # 2 KiB a vector: 512 in a block of 1 MiB
    with Ragstone(tmp_path, embedder=embedder) as engine:
        engine.add(texts(1300), uris=[f"u{n}" for n in range(1300)])
        assert engine.stats().segments == 1
    embedder.embedded.clear()
    (path,) = tmp_path.glob("collections/default/segments/*/index.faiss")
    flip(path, path.stat().st_size - 1300 * 2048 + (600 * 2048), keep_mtime=False)  # row 600, second block
    with Ragstone(tmp_path, embedder=embedder) as engine:
        assert [problem.code for problem in engine.repair().repaired] == ["segment_damaged"]
        assert 512 <= len(embedder.embedded) <= 514
        assert engine.stats().unembedded == 0
        assert engine.verify().ok


def test_an_altered_text_in_the_catalog_is_noticed(sealed: tuple[Path, HashingEmbedder]) -> None:
    data, embedder = sealed
    with Ragstone(data, embedder=embedder) as engine:
        with engine._collection().catalog.transaction() as db:
            db.execute("UPDATE chunks SET tile = replace(tile, 'heron', 'herin') WHERE id = 8")
        (problem,) = engine.verify().problems
        assert problem.code == "catalog_damaged"
        assert "chunk 8" in problem.message


def test_what_a_killed_sealing_left_is_removed_at_the_next_write(
    sealed: tuple[Path, HashingEmbedder],
) -> None:
    data, embedder = sealed
    segments = data / "collections" / "default" / "segments"
    for name in ("0123.draft", "4567"):
        (segments / name).mkdir()
        replace_bytes(segments / name / "index.faiss", b"half")
    (segments / "4567.trusted").write_text("{}")
    with Ragstone(data, embedder=embedder) as engine:
        assert engine.verify().ok
        engine.add(["a new text"])
        assert len([path for path in segments.iterdir() if path.is_dir()]) == engine.stats().segments == 1
        assert not (segments / "4567.trusted").exists()


def test_a_snapshot_does_not_change_while_others_write(sealed: tuple[Path, HashingEmbedder]) -> None:
    data, embedder = sealed
    with Ragstone(data, embedder=embedder) as engine:
        before = engine._collection().snapshot()
        assert before.dense is not None
        vector = embedder.embed_query("heron")
        ids, scores = before.dense.search(vector, top_k=300, allowed=None)
        engine.delete([f"u{n}" for n in range(10, 60)])
        engine.add(["heron heron"], uris=["new"])
        seal(engine, embedder)
        again, same = before.dense.search(vector, top_k=300, allowed=None)
        assert np.array_equal(ids, again)
        assert np.array_equal(scores, same)
        assert engine.stats().chunks == 197 - 50 + 1


def test_merging_keeps_every_live_vector_and_drops_the_deleted_ones(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    with Ragstone(tmp_path, embedder=embedder) as engine:
        given = texts(300)
        for start in range(0, 300, 50):
            engine.add(given[start : start + 50], uris=[f"u{n}" for n in range(start, start + 50)])
            engine.delete([f"u{start}", f"u{start + 1}"])
            seal(engine, embedder)
        stats = engine.stats()
        assert stats.segments <= 3  # sizes fall geometrically
        assert stats.tombstones <= 12
        dense = engine._collection().snapshot().dense
        assert dense is not None
        assert dense.count == 288
        with engine._collection().catalog.reading() as db:
            ids = np.array(documents.chunk_ids_after(db, 0, 1000))
            entries = documents.keyword_entries(db, ids.tolist())
        wanted = np.stack([embedder.embed_query(entry.text) for entry in entries])
        assert np.allclose(dense.vectors(ids), wanted, atol=1e-3)
        assert sum(len(text.split()) > 0 for text in embedder.embedded) == 300  # merging embeds nothing


def test_what_waits_is_sealed_before_it_is_merged_and_sizes_fall_geometrically(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    with Ragstone(tmp_path, embedder=embedder) as engine:
        last = 0
        counts: list[int] = []
        for number, size in enumerate((40, 90, 12, 12, 90, 30, 3)):
            engine.add(texts(size, number), uris=[f"{number}-{n}" for n in range(size)])
            seal(engine, embedder)
            with engine._collection().catalog.reading() as db:
                rows = vectors.segments(db)
            made = max(row.id for row in rows) - last  # one of what waits, and one of those it is merged with
            assert made == (1 if len(rows) == len(counts) + 1 else 2)
            last += made
            counts = sorted(row.count for row in rows)
            assert all(larger > 2 * smaller for smaller, larger in pairwise(counts))
        assert counts == [3, 30, 244]


def test_an_unchanged_chunk_keeps_its_id_and_is_not_embedded_again(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    folder = tmp_path / "notes"
    folder.mkdir()
    paragraphs = [" ".join([f"part{n}"] * 50) for n in range(8)]
    (folder / "a.txt").write_text("\n\n".join(paragraphs))
    with Ragstone(tmp_path / "data", embedder=embedder) as engine:
        engine.index([folder])
        before = {hit.text: hit.id for hit in engine.search("part1 part5", mode="dense", top_k=100).hits}
        assert len(before) == 8
        embedder.embedded.clear()
        paragraphs[3] = "changed " * 40
        (folder / "a.txt").write_text("\n\n".join(paragraphs))
        assert engine.index([folder]).embedded == len(embedder.embedded) == 1
        after = {hit.text: hit.id for hit in engine.search("part1 part5", mode="dense", top_k=100).hits}
        assert {text: after[text] for text in before if text in after} == {
            text: id_ for text, id_ in before.items() if "part3" not in text
        }
        (new,) = set(after.values()) - set(before.values())
        assert new > max(before.values())
        (folder / "below").mkdir()
        (folder / "a.txt").rename(folder / "below" / "a.txt")  # moved: other ids, the same vectors
        assert engine.index([folder]).embedded == 0


def test_ids_are_never_reused_even_after_everything_was_deleted(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        seen: set[int] = set()
        for number in range(4):
            uris = engine.add(texts(5, seed=number))
            ids = {hit.id for hit in engine.search("number1", mode="dense", top_k=100).hits}
            assert len(ids) == 5
            assert not ids & seen
            seen |= ids
            engine.delete(uris)


def test_eight_threads_search_while_two_write(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    given = texts(300)
    failures: list[BaseException] = []
    done = threading.Event()
    with Ragstone(tmp_path, embedder=embedder) as engine:
        engine.add(given[:100], uris=[f"u{n}" for n in range(100)])

        def search(mode: SearchMode) -> None:
            try:
                while not done.is_set():
                    hits = engine.search("heron number7", mode=mode, top_k=20).hits
                    assert len({hit.id for hit in hits}) == len(hits)
                    for hit in hits:
                        assert hit.text == given[int(hit.uri[1:])]
                    engine.stats()
            except BaseException as error:  # noqa: BLE001  - reported below, by the thread that can fail the test
                failures.append(error)

        def write(start: int) -> None:
            try:
                for first in range(start, start + 100, 25):
                    engine.add(given[first : first + 25], uris=[f"u{n}" for n in range(first, first + 25)])
                    engine.delete([f"u{first}"])
                    seal(engine, embedder)
            except BaseException as error:  # noqa: BLE001  - as above
                failures.append(error)

        readers = [threading.Thread(target=search, args=(MODES[n % 3],)) for n in range(8)]
        writers = [threading.Thread(target=write, args=(start,)) for start in (100, 200)]
        for thread in (*readers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
        assert not failures, failures[0]
        assert engine.stats().documents == 300 - 8
        assert engine.verify().ok


@pytest.mark.parametrize("attempt", range(5))
def test_eight_threads_may_create_a_collection_together(tmp_path: Path, attempt: int) -> None:
    barrier = threading.Barrier(8)
    failures: list[RagstoneError] = []
    with Ragstone(tmp_path, collection=f"attempt{attempt}", embedder=HashingEmbedder()) as engine:

        def add(name: int) -> None:
            barrier.wait(timeout=10)
            try:
                engine.add([f"text {name}"])
            except RagstoneError as error:
                failures.append(error)

        threads = [threading.Thread(target=add, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert engine.stats().documents == 8


@pytest.mark.parametrize(
    "other", [HashingEmbedder(dim=16), HashingEmbedder(name="other")], ids=["dimension", "model"]
)
def test_another_model_is_refused_before_anything_is_written(
    sealed: tuple[Path, HashingEmbedder], other: HashingEmbedder
) -> None:
    data, _ = sealed
    with Ragstone(data, embedder=other) as engine:
        before = engine.stats()
        with pytest.raises(MismatchError, match="model_id 'hashing-32'"):
            engine.add(["something new"])
        with pytest.raises(MismatchError, match="dim 32"):
            engine.add(["something new"], vectors=np.ones((1, 7)))
        with pytest.raises(MismatchError):
            engine.search("heron", mode="dense")
        found = engine.search("heron")  # by keyword, and says so
        assert found.hits
        assert [entry.source for entry in found.degraded] == ["dense"]
        assert engine.stats().chunks == before.chunks


def test_a_store_of_a_newer_ragstone_is_left_alone(sealed: tuple[Path, HashingEmbedder]) -> None:
    data, embedder = sealed
    with Ragstone(data, embedder=embedder) as engine, engine._collection().catalog.transaction() as db:
        db.pragma("user_version", len(MIGRATIONS) + 1)
    with Ragstone(data, embedder=embedder) as engine, pytest.raises(MismatchError, match="upgrade ragstone"):
        engine.search("heron")


def test_a_deleted_text_is_in_no_mode_and_in_no_live_row(sealed: tuple[Path, HashingEmbedder]) -> None:
    data, embedder = sealed
    with Ragstone(data, embedder=embedder) as engine:
        engine.add(["the zanzibar clause"], uris=["secret"])
        seal(engine, embedder)
        engine.delete(["secret"])
        for mode in MODES:
            assert "secret" not in {h.uri for h in engine.search("zanzibar", mode=mode, top_k=500).hits}
    catalog = data / "collections" / "default" / "catalog.sqlite"
    assert b"zanzibar" not in catalog.read_bytes()  # overwritten, not merely unlinked
    assert not catalog.with_name("catalog.sqlite-wal").exists()


def test_sealed_vectors_leave_the_catalog_and_their_pages_go_back(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((1500, 1024)).astype(np.float32)  # 3 MB of halves
    with Ragstone(tmp_path) as engine:
        engine.add(texts(1500), uris=[f"u{n}" for n in range(1500)], vectors=rows)
        assert (engine.stats().pending, engine.stats().segments) == (0, 1)
    assert (tmp_path / "collections" / "default" / "catalog.sqlite").stat().st_size < 1 << 20


def test_a_text_with_nul_characters_is_found_and_embedded_whole(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    with Ragstone(tmp_path, embedder=embedder) as engine:
        engine.add(["before\0zanzibar"], uris=["nul"])
        assert engine.document("nul")[1] == "before\0zanzibar"
        assert embedder.embedded == ["before\0zanzibar"]
        assert [hit.uri for hit in engine.search("zanzibar", mode="keyword").hits] == ["nul"]


def test_vectors_and_chunks_deleted_while_a_segment_is_built_stay_deleted(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    with Ragstone(tmp_path, embedder=embedder) as engine:
        engine.add(texts(50), uris=[f"u{n}" for n in range(50)])
        collection: Collection = engine._collection()
        identity = identity_of(embedder)
        with collection.writing(), collection.catalog.reading() as db:
            pending = vectors.pending_vectors(db, embedder.dim)
            engine.delete(["u7", "u8"])  # after the rows to seal were read, before they are swapped in
            part = Part(pending.chunk_ids, pending.document_ids, pending.vectors)
            collection.segments._swap(
                identity, _Swap(retired=[], part=part, plans=[], sealed_up_to=pending.last_sequence)
            )
        found = {hit.uri for hit in engine.search("heron", mode="dense", top_k=100).hits}
        assert found == {f"u{n}" for n in range(50)} - {"u7", "u8"}
        assert engine.verify().ok
