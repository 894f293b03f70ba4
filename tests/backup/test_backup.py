"""A backup is one moment of a collection, whatever happens meanwhile, and comes back as it was or not at all."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from damage import replace_bytes
from guides import printed_by
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.errors import (
    CancelledError,
    DamagedError,
    DiskFullError,
    InputError,
    LockedError,
    NotFoundError,
    StoreError,
)
from ragstone.memory.opening import open_memory
from ragstone.settings import Settings
from ragstone.store.lock import WriterLock

QUERY = "amber fjord"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with opened(tmp_path / "data") as engine:
        fill(engine, range(40))
        yield engine


def opened(data_dir: Path) -> Ragstone:
    return Ragstone(data_dir, embedder=HashingEmbedder())


def fill(engine: Ragstone, numbers: range) -> None:
    """Documents, sealed into a segment of their own."""
    engine.add([f"amber fjord number {n}" for n in numbers], uris=[f"note:{n}" for n in numbers])
    with engine._collection().writing():
        engine._collection().seal()


def content(engine: Ragstone, collection: str = "default") -> dict[str, str]:
    return {
        info.uri: engine.document(info.uri, collection=collection)[1]
        for info in engine.documents(collection=collection)
    }


def files_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_backup_restored_elsewhere_is_the_same_collection(engine: Ragstone, tmp_path: Path) -> None:
    engine.delete(["note:3"])
    engine.add(["waits for a segment"], uris=["late"])
    best = engine.search(QUERY).hits[0]
    engine.vote(QUERY, best.id, 1)
    report = engine.backup(tmp_path / "copy.tar")
    assert report.size_bytes == (tmp_path / "copy.tar").stat().st_size
    assert [(home.name, home.documents) for home in report.collections] == [("default", 40)]
    assert not {path.name for path in tmp_path.iterdir()} - {"data", "copy.tar"}
    with opened(tmp_path / "elsewhere") as other:
        other.restore(tmp_path / "copy.tar")
        assert content(other) == content(engine)
        for one in (engine, other):  # the keyword index counts words alike once it is whole
            with one._collection().writing():
                one._collection().rebuild_keyword()
        assert other.search(QUERY, top_k=50).hits == engine.search(QUERY, top_k=50).hits
        assert other.votes() == engine.votes()
        assert other.verify().problems == ()
        assert other.stats().segments == 1
        other.add(["one more"])
        assert len(other.documents()) == 41


def test_memories_go_along_and_are_renamed_with_their_collection(engine: Ragstone, tmp_path: Path) -> None:
    settings = Settings.load(overrides={"data_dir": tmp_path / "data"}, environ={})
    with open_memory(settings, embedder=HashingEmbedder()) as memory:
        memory.add("The boiler was serviced in May.")
    engine.backup(tmp_path / "copy.tar")
    report = engine.restore(tmp_path / "copy.tar", collection="notes")
    assert [home.name for home in report.collections] == ["notes.memory", "notes"]
    renamed = Settings.load(overrides={"data_dir": tmp_path / "data", "collection": "notes"}, environ={})
    with open_memory(renamed, embedder=HashingEmbedder(), create=False) as memory:
        assert [entry.text for entry in memory.entries()] == ["The boiler was serviced in May."]


def test_a_collection_named_twice_is_in_it_once(engine: Ragstone, tmp_path: Path) -> None:
    (
        tmp_path / "data/collections/default.memory"
    ).mkdir()  # what a process killed at its first statement leaves
    report = engine.backup(tmp_path / "copy.tar", collections=["default", "default"])
    assert [home.name for home in report.collections] == ["default"]


def test_of_several_collections_one_can_be_restored(engine: Ragstone, tmp_path: Path) -> None:
    engine.add(["in the other"], uris=["b"], collection="other")
    engine.backup(tmp_path / "copy.tar", collections=["default", "other"])
    with opened(tmp_path / "elsewhere") as elsewhere:
        elsewhere.restore(tmp_path / "copy.tar", collection="other")
        assert elsewhere.collections() == ["other"]
        with pytest.raises(NotFoundError, match="holds no collection 'third', but default, other"):
            elsewhere.restore(tmp_path / "copy.tar", collection="third")
        with pytest.raises(InputError, match="there is a collection 'other' already"):
            elsewhere.restore(tmp_path / "copy.tar")
        assert elsewhere.collections() == ["other"]
        elsewhere.restore(tmp_path / "copy.tar", replace=True)
        assert elsewhere.collections() == ["default", "other"]


def test_segments_compacted_away_while_they_are_copied_are_in_the_backup(
    engine: Ragstone, tmp_path: Path
) -> None:
    segments = tmp_path / "data/collections/default/segments"
    fill(engine, range(40, 44))
    before, names = content(engine), {path.name for path in segments.iterdir() if path.is_dir()}
    done = threading.Event()

    def compact(*_: int) -> None:
        if not done.is_set():
            done.set()
            engine.delete(["note:1"])
            engine.compact()
            assert not any((segments / name).exists() for name in names)

    engine.backup(tmp_path / "copy.tar", progress=compact)
    assert done.is_set()
    assert "note:1" not in content(engine)
    engine.restore(tmp_path / "copy.tar", collection="then")
    assert content(engine, "then") == before


def test_backups_made_while_another_thread_writes_are_moments_of_its_work(
    engine: Ragstone, tmp_path: Path
) -> None:
    stop = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        number = 40
        try:
            while not stop.is_set():  # one commit adds a pair, a later one removes a pair
                engine.add(["amber", "birch"], uris=[f"a:{number}", f"b:{number}"])
                engine.delete(
                    [f"a:{number - 3}", f"b:{number - 3}"] if number > 43 else ["note:0"][number - 40 :]
                )
                if number % 4 == 0:
                    engine.compact()
                number += 1
        except BaseException as error:  # noqa: BLE001  - shown by the test's own thread
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(6):
            engine.backup(tmp_path / f"{number}.tar")
    finally:
        stop.set()
        writer.join()
    assert not failed
    with opened(tmp_path / "elsewhere") as other:
        for number in range(6):
            other.restore(tmp_path / f"{number}.tar", replace=True)
            uris = set(content(other))
            assert {uri.replace("a:", "b:") for uri in uris} == {
                uri.replace("a:", "b:") for uri in uris if "a:" not in uri
            }
            assert other.verify().problems == ()
            other.embed_waiting()  # a moment may be between a text and its vector
            assert len(other.search("amber birch", mode="dense", top_k=1000).hits) == len(uris)


def test_a_file_that_is_there_is_never_overwritten(engine: Ragstone, tmp_path: Path) -> None:
    target = tmp_path / "copy.tar"
    target.write_text("precious")
    with pytest.raises(InputError, match="there is something at"):
        engine.backup(target)
    target.unlink()

    def another(*_: int) -> None:
        target.write_text("precious")

    with pytest.raises(InputError, match="there is something at"):
        engine.backup(target, progress=another)
    assert target.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"data", "copy.tar"}


def test_a_damaged_segment_is_not_backed_up(engine: Ragstone, tmp_path: Path) -> None:
    (index,) = (tmp_path / "data/collections/default/segments").glob("*/index.faiss")
    data = bytearray(index.read_bytes())
    data[-1] ^= 1
    replace_bytes(index, data)
    with pytest.raises(DamagedError, match="fails its checksum"):
        engine.backup(tmp_path / "copy.tar")
    index.unlink()
    with pytest.raises(DamagedError, match="cannot be backed up"):
        engine.backup(tmp_path / "copy.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_too_little_space_is_said_before_anything_is_written(engine: Ragstone, tmp_path: Path) -> None:
    with (tmp_path / "data/collections/default/segments/huge").open("wb") as file:
        file.truncate(1 << 43)  # a file with a hole: more than the disk has
    with pytest.raises(DiskFullError, match="the backup needs 8,796"):
        engine.backup(tmp_path / "copy.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_stopped_backup_leaves_no_file_and_a_stopped_restore_changes_nothing(
    engine: Ragstone, tmp_path: Path
) -> None:
    with pytest.raises(CancelledError, match="no file was left"):
        engine.backup(tmp_path / "copy.tar", cancelled=lambda: True)
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    engine.backup(tmp_path / "copy.tar")
    engine.delete(["note:1"])
    before = content(engine)
    there = files_below(tmp_path / "data/collections")
    with pytest.raises(CancelledError, match="nothing was changed"):
        engine.restore(tmp_path / "copy.tar", replace=True, cancelled=lambda: True)
    assert content(engine) == before
    assert files_below(tmp_path / "data/collections") == there


def test_what_is_there_is_kept_unless_it_is_to_be_replaced(engine: Ragstone, tmp_path: Path) -> None:
    then = content(engine)
    engine.backup(tmp_path / "copy.tar")
    engine.delete(["note:1"])
    with pytest.raises(InputError, match="there is a collection 'default' already"):
        engine.restore(tmp_path / "copy.tar")
    assert "note:1" not in content(engine)
    report = engine.restore(tmp_path / "copy.tar", replace=True)
    assert [home.replaced for home in report.collections] == [True]
    assert content(engine) == then
    assert [path.name for path in (tmp_path / "data/collections").iterdir()] == ["default"]


def test_a_name_that_leads_elsewhere_is_refused(engine: Ragstone, tmp_path: Path) -> None:
    engine.backup(tmp_path / "copy.tar")
    before = files_below(tmp_path)
    for name in ("../default2", "/srv/x", "a/b", ".hidden", "", "x" * 65):
        with pytest.raises(InputError, match="is no name for a collection"):
            engine.restore(tmp_path / "copy.tar", collection=name, replace=True)
    assert files_below(tmp_path) == before


def test_a_collection_that_is_being_written_is_not_replaced(engine: Ragstone, tmp_path: Path) -> None:
    engine.backup(tmp_path / "copy.tar")
    engine.delete(["note:1"])
    with (
        WriterLock(tmp_path / "data/collections/default/lock").held(),
        pytest.raises(LockedError, match="is being written by"),
    ):
        engine.restore(tmp_path / "copy.tar", replace=True)
    assert "note:1" not in content(engine)


def test_a_collection_with_a_damaged_catalog_is_replaced(engine: Ragstone, tmp_path: Path) -> None:
    then = content(engine)
    engine.backup(tmp_path / "copy.tar")
    engine.close()
    replace_bytes(tmp_path / "data/collections/default/catalog.sqlite", b"not a database" * 1000)
    with opened(tmp_path / "data") as again:
        with pytest.raises(DamagedError):
            again.documents()
        again.restore(tmp_path / "copy.tar", replace=True)
        assert content(again) == then


def test_what_could_be_mended_when_it_was_backed_up_is_mended_when_it_is_restored(
    engine: Ragstone, tmp_path: Path
) -> None:
    engine.delete(["note:1"])
    then = content(engine)
    with engine._collection().catalog.transaction() as db:
        db.execute("DELETE FROM tombstones")
    assert [problem.code for problem in engine.verify().problems] == ["tombstones_missing"]
    engine.backup(tmp_path / "copy.tar")
    with opened(tmp_path / "elsewhere") as other:
        other.restore(tmp_path / "copy.tar")
        assert other.verify().problems == ()
        assert content(other) == then


def test_every_engine_that_has_it_open_sees_the_restored_one(engine: Ragstone, tmp_path: Path) -> None:
    engine.backup(tmp_path / "copy.tar")
    engine.add(["amber fjord amber fjord"], uris=["newer"])
    with opened(tmp_path / "data") as other:
        for one in (engine, other):
            assert "newer" in {hit.uri for hit in one.search(QUERY, top_k=50).hits}
        versions = [one.version() for one in (engine, other)]
        stale = other._collection()
        engine.restore(tmp_path / "copy.tar", replace=True)
        with pytest.raises(StoreError, match="was dropped or replaced"), stale.writing():
            raise AssertionError("it was written to a collection that is gone")
        for one in (engine, other):
            assert "newer" not in {hit.uri for hit in one.search(QUERY, top_k=50).hits}
        assert all(one.version() != before for one, before in zip((engine, other), versions, strict=True))


def test_what_killed_runs_left_goes_with_the_next(engine: Ragstone, tmp_path: Path) -> None:
    left = [tmp_path / ".ragstone-backup-00", tmp_path / "data/collections/.restoring-00"]
    for folder in left:
        folder.mkdir()
        (folder / "archive").write_text("half")
    with WriterLock(left[0] / "lock").held():  # this one is not dead
        engine.backup(tmp_path / "copy.tar")
        assert left[0].exists()
    engine.backup(tmp_path / "second.tar")
    engine.restore(tmp_path / "copy.tar", replace=True)
    assert not any(folder.exists() for folder in left)


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_bit_is_refused_or_does_not_matter(engine: Ragstone, tmp_path: Path, seed: int) -> None:
    """Most bits are the catalog's; the first few tries are of the manifest, the sums and the headers."""
    target = tmp_path / "copy.tar"
    engine.backup(target)
    then = content(engine)
    data = bytearray(target.read_bytes())
    choice = random.Random(seed)
    data[choice.randrange(6_000 if seed < 25 else len(data))] ^= 1 << choice.randrange(8)
    target.write_bytes(data)
    try:
        engine.restore(target, collection="again")
    except DamagedError:
        assert engine.collections() == ["default"]
        assert {path.name for path in (tmp_path / "data/collections").iterdir()} == {"default"}
    else:
        assert content(engine, "again") == then


def test_the_guide_runs(tmp_path: Path) -> None:
    assert printed_by("operations.md", tmp_path) == ["['timetable']"]
