"""The source is only read; an import can be undone, and a source moved aside comes back bit-identical."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from importers.foreign_stores import entries_of, vectors_of, write_chroma, write_llamaindex
from importers.imports import engine_at, imported
from ragstone.errors import DamagedError, DiskFullError, NotFoundError, StoreError
from ragstone.importers import journal
from ragstone.importers.formats import open_foreign
from ragstone.importers.records import Losses
from ragstone.importers.rollback import roll_back
from ragstone.importers.run import Options, already_moved

IN_PLACE = Options(in_place=True)


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file below a folder with its checksum and time."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A LlamaIndex store of 30 nodes."""
    return write_llamaindex(tmp_path / "unified_index", entries_of(30), vectors_of(30))


def test_import_then_rollback_leaves_the_source_bit_identical_and_no_collection(
    source: Path, tmp_path: Path
) -> None:
    before, data = tree(source), tmp_path / "data"
    with engine_at(data) as engine:
        imported(engine, open_foreign("auto", source), data)
        report = roll_back(engine, data_dir=data)
    assert tree(source) == before
    assert (report.documents, report.collection_removed, report.source_intact) == (30, True, True)
    assert not (data / "collections" / "default").exists()
    assert not list((data / "imports").rglob("*.json"))


def test_an_in_place_import_moves_the_source_aside_and_rollback_brings_it_back(
    source: Path, tmp_path: Path
) -> None:
    before, data = tree(source), tmp_path / "data"
    earlier = tmp_path / "unified_index_backup_json"
    earlier.mkdir()  # a backup that is there already is never written over
    (earlier / "keep").write_text("me")
    with engine_at(data) as engine:
        moved_to = imported(engine, open_foreign("auto", source), data, IN_PLACE).moved_to
        assert moved_to == tmp_path / "unified_index_backup_json-2"
        assert not source.exists()
        assert tree(moved_to) == before
        known = already_moved(data, "default", source)
        assert known is not None
        assert known.moved_to == str(moved_to)
        assert len(engine.documents()) == 30
        report = roll_back(engine, data_dir=data)
    assert tree(source) == before
    assert (report.source_restored, report.source_intact) == (True, True)
    assert (earlier / "keep").read_text() == "me"
    assert not moved_to.exists()


def test_a_move_that_was_killed_before_it_was_noted_is_completed(source: Path, tmp_path: Path) -> None:
    before, data = tree(source), tmp_path / "data"
    with engine_at(data) as engine:
        moved_to = imported(engine, open_foreign("auto", source), data, IN_PLACE).moved_to
        assert moved_to is not None
        ((folder, entry),) = journal.journals(data, "default")
        journal.write(folder, replace(entry, state="moving"))
        found = already_moved(data, "default", source)
        assert found is not None
        assert (found.state, found.moved_to) == ("moved", str(moved_to))
        assert roll_back(engine, data_dir=data).source_restored
    assert tree(source) == before


def test_a_backup_that_was_tampered_with_stops_the_rollback_before_anything_is_removed(
    source: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with engine_at(data) as engine:
        moved_to = imported(engine, open_foreign("auto", source), data, IN_PLACE).moved_to
        assert moved_to is not None
        (moved_to / "docstore.json").write_text("{}")
        with pytest.raises(DamagedError, match=r"docstore\.json"):
            roll_back(engine, data_dir=data)
        assert len(engine.documents()) == 30


def test_a_new_source_in_the_old_place_is_not_written_over(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_at(data) as engine:
        imported(engine, open_foreign("auto", source), data, IN_PLACE)
        source.mkdir()
        with pytest.raises(StoreError, match="exists again"):
            roll_back(engine, data_dir=data)


def test_documents_that_were_there_before_stay(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_at(data) as engine:
        engine.add(["mine"], uris=["mine"], vectors=vectors_of(1), model="external:llamaindex")
        imported(engine, open_foreign("auto", source), data)
        report = roll_back(engine, data_dir=data)
    assert (report.documents, report.collection_removed) == (30, False)
    with engine_at(data) as engine:
        assert [info.uri for info in engine.documents()] == ["mine"]


def test_two_imports_are_undone_one_by_one(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    other = write_llamaindex(
        tmp_path / "other", [(f"o{n}", "other text", {}) for n in range(5)], vectors_of(5, seed=3)
    )
    with engine_at(data) as engine:
        imported(engine, open_foreign("auto", source), data)
        imported(engine, open_foreign("auto", other), data)
        assert roll_back(engine, data_dir=data, source=source).documents == 30
    with engine_at(data) as engine:
        assert len(engine.documents()) == 5
        assert roll_back(engine, data_dir=data).documents == 5
    with engine_at(data) as engine, pytest.raises(NotFoundError, match="no import"):
        roll_back(engine, data_dir=data)


def test_a_copy_brings_back_files_that_are_gone_and_leaves_changed_ones_alone(
    source: Path, tmp_path: Path
) -> None:
    before, data = tree(source), tmp_path / "data"
    with engine_at(data) as engine:
        copied = imported(engine, open_foreign("auto", source), data, Options(backup=True)).copied_to
        assert copied is not None
        assert tree(copied) == before
        (source / "docstore.json").unlink()
        (source / "default__vector_store.json").write_text("newer")
        report = roll_back(engine, data_dir=data)
    assert tree(source)["docstore.json"] == before["docstore.json"]
    assert (source / "default__vector_store.json").read_text() == "newer"
    assert (report.source_changed, report.source_intact) == (("default__vector_store.json",), False)
    assert tree(copied) == before  # it may be all that is left of the imported state


def test_the_second_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_at(data) as engine:
        imported(engine, open_foreign("auto", source), data)
    before = tree(data)
    with engine_at(data) as engine:
        assert imported(engine, open_foreign("auto", source), data).report.unchanged == 30
    assert tree(data) == before


def test_a_dry_run_reports_everything_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_at(data) as engine:
        report = imported(engine, open_foreign("auto", source), data, Options(dry_run=True)).report
    assert (report.added, report.dry_run, report.dim) == (30, True, 16)
    assert not data.exists()


def test_an_import_without_room_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    os.truncate(source / "default__vector_store.json", 1 << 43)  # 8.8 TB, all of it a hole
    with engine_at(data) as engine, pytest.raises(DiskFullError, match="needs 17,59") as error:
        imported(engine, open_foreign("auto", source), data)
    assert "nothing was changed" in error.value.hint
    assert not data.exists()


def test_changed_records_are_replaced_and_vanished_ones_are_counted(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_at(data) as engine:
        imported(engine, open_foreign("auto", source), data)
        entries = [("node-0", "a new text", {"file_path": "docs/0.pdf", "page": 0}), *entries_of(20)[1:]]
        write_llamaindex(source, entries, vectors_of(30)[:20])
        report = imported(engine, open_foreign("auto", source), data).report
        assert (report.added, report.replaced, report.unchanged, report.gone) == (0, 1, 19, 10)
        assert engine.document("docs/0.pdf#node-0")[1] == "a new text"


def test_a_journal_that_cannot_be_read_is_an_error_that_names_it(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with engine_at(data) as engine:
        imported(engine, open_foreign("auto", source), data)
        ((folder, _),) = journal.journals(data, "default")
        (folder / journal.FILE).write_text(json.dumps({"version": 9}))
        with pytest.raises(DamagedError, match=r"import\.json"):
            roll_back(engine, data_dir=data)


def test_a_database_in_use_is_refused_and_no_file_appears_beside_it(tmp_path: Path) -> None:
    source = write_chroma(tmp_path / "s", entries_of(3), vectors_of(3))
    before = tree(source)
    list(open_foreign("auto", source).read(Losses()))
    assert tree(source) == before
    (source / "chroma.sqlite3-wal").write_bytes(b"x")
    with pytest.raises(StoreError, match="in use or was not closed"):
        open_foreign("auto", source)
