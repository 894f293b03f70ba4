"""One engine over several collections: each is written, listed, counted and dropped by its name; memories are apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError, InputError, NotFoundError
from ragstone.explaining import explain
from ragstone.given_files import GivenFile
from ragstone.memory.opening import open_memory


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as opened:
        yield opened


def test_every_change_goes_to_the_collection_named_and_no_other(engine: Ragstone, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "a.txt").write_text("granite from Cornwall")
    engine.add(["limestone"], uris=["l"])
    engine.index([folder], collection="letters")
    engine.add(["dovetails"], uris=["d"], collection="letters")
    assert [found.uri for found in engine.documents()] == ["l"]
    assert len(engine.documents(collection="letters")) == 2
    assert (engine.stats().documents, engine.stats(collection="letters").documents) == (1, 2)
    assert engine.delete(["d"], collection="letters") == 1
    (hit,) = engine.search("granite", collections=["letters"], mode="keyword").hits
    engine.vote("granite", hit.id, collection="letters")
    assert (len(engine.votes()), len(engine.votes(collection="letters"))) == (0, 1)
    assert engine.take_back_votes(collection="letters") == 1
    assert len(engine.sample_vectors(10, collection="letters")) == 1


def test_a_dropped_collection_leaves_no_file_and_its_name_can_be_used_again(engine: Ragstone) -> None:
    engine.add(["granite", "limestone"], collection="letters")
    home = engine.settings.data_dir / "collections"
    assert engine.drop("letters") == 2
    assert list(home.iterdir()) == []
    with pytest.raises(NotFoundError):
        engine.search("granite", collections=["letters"])
    with pytest.raises(NotFoundError):
        engine.drop("letters")
    engine.add(["slate"], collection="letters")
    assert [hit.text for hit in engine.search("granite", collections=["letters"]).hits] == ["slate"]


def test_another_engine_sees_a_collection_go_and_come_again(engine: Ragstone) -> None:
    engine.add(["granite"], collection="letters")
    with Ragstone(engine.settings.data_dir, embedder=HashingEmbedder()) as other:
        assert other.search("granite", collections=["letters"]).hits
        engine.drop("letters")
        with pytest.raises(NotFoundError):
            other.search("granite", collections=["letters"])
        engine.add(["slate"], collection="letters")
        assert [hit.text for hit in other.search("slate", collections=["letters"]).hits] == ["slate"]


def test_a_memory_is_in_no_list_and_takes_no_documents(engine: Ragstone, tmp_path: Path) -> None:
    engine.add(["granite"])
    with open_memory(engine.settings, embedder=HashingEmbedder()) as memory:
        memory.add("The boiler was serviced in May.")
        assert engine.collections() == ["default"]
        assert engine.stats().collections == ("default",)
        for name in ("default.memory", "default.memory-redis"):
            for change in (
                lambda name=name: engine.add(["x"], collection=name),
                lambda name=name: engine.index([tmp_path], collection=name),
                lambda name=name: engine.delete(["x"], collection=name),
                lambda name=name: engine.drop(name),
            ):
                with pytest.raises(InputError, match="memory"):
                    change()
        assert len(memory.entries()) == 1


def test_given_files_are_known_by_their_uris_and_may_go(engine: Ragstone, tmp_path: Path) -> None:
    titled, plain, broken = tmp_path / "x1.md", tmp_path / "x2.txt", tmp_path / "x3.pdf"
    titled.write_text("# Smeaton's tower\n\nGranite blocks.")
    plain.write_text("Oil lamps.")
    broken.write_bytes(b"%PDF-1.7 and no more")
    seen: list[str | None] = []
    report = engine.add_files(
        [
            GivenFile(titled, "upload:tower.md", "tower.md"),
            GivenFile(plain, "upload:lamps.txt", "lamps.txt"),
            GivenFile(broken, "upload:plan.pdf", "plan.pdf"),
        ],
        progress=lambda moment: seen.append(moment.uri),
    )
    assert (report.indexed, [failed.path for failed in report.failed]) == (2, ["upload:plan.pdf"])
    assert seen[:2] == ["upload:tower.md", "upload:lamps.txt"]
    for path in (titled, plain):
        path.unlink()
    titles = {found.uri: found.title for found in engine.documents()}
    assert titles == {"upload:tower.md": "Smeaton's tower", "upload:lamps.txt": "lamps"}
    assert engine.search("oil lamps", top_k=1).hits[0].uri == "upload:lamps.txt"


def test_giving_files_stops_when_told_and_keeps_what_was_acknowledged(
    engine: Ragstone, tmp_path: Path
) -> None:
    files = []
    for number in range(5):
        path = tmp_path / f"{number}.txt"
        path.write_text(f"words {number}")
        files.append(GivenFile(path, f"upload:{number}", path.name))
    acknowledged: list[str | None] = []
    with pytest.raises(CancelledError):
        engine.add_files(
            files,
            progress=lambda moment: acknowledged.append(moment.uri),
            cancelled=lambda: len(acknowledged) >= 2,
        )
    assert [found.uri for found in engine.documents()] == acknowledged


def test_explaining_tells_found_below_and_filtered_apart(engine: Ragstone) -> None:
    engine.add([f"lighthouse keeper number {n}" for n in range(8)], uris=[f"k{n}" for n in range(8)])
    ranked = [hit.uri for hit in engine.search("lighthouse keeper number 3", top_k=8).hits]
    first, last = ranked[0], ranked[-1]
    found = explain(engine, "lighthouse keeper number 3", first, top_k=3)
    assert (found.reason, found.standings[0].rank, found.best and found.best.uri) == ("found", 1, first)
    below = explain(engine, "lighthouse keeper number 3", last, top_k=3)
    assert (below.reason, below.standings[0].rank) == ("below", 8)
    filtered = explain(engine, "lighthouse keeper number 3", first, filter="type:pdf")
    assert (filtered.reason, filtered.best) == ("filtered", None)
    with pytest.raises(NotFoundError):
        explain(engine, "lighthouse", "nothing")
