"""`ragstone import`, `rollback` and `config migrate` as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.shells import Run, Shell
from importers.foreign_stores import Entry, entries_of, vectors_of, write_langchain, write_llamaindex
from importers.test_rollback import tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A LlamaIndex store of 12 nodes."""
    return write_llamaindex(tmp_path / "storage", entries_of(12), vectors_of(12))


def test_an_index_is_imported_searched_and_rolled_back(shell: Shell, source: Path) -> None:
    before = tree(source)
    done = shell.run("import", "llamaindex", source, "--collection", "papers")
    assert (done.status, done.out.splitlines()[0].split(" · ")[:3]) == (
        0,
        ["12 imported, 0 unchanged", "LlamaIndex → papers", "0 embedded"],
    )
    assert "does not say which model made its vectors" in done.err
    assert "not carried over 12 × relationships" in done.err
    found = shell.run("search", "number 7 ferries", "--collection", "papers", "--json").json
    assert "docs/1.pdf#node-7" in {hit["uri"] for hit in found["hits"]}
    assert found["degraded"][0]["source"] == "dense"
    again = shell.run("import", source, "--collection", "papers", "--json").json
    assert (again["format"], again["added"], again["unchanged"]) == ("llamaindex", 0, 12)
    undone = shell.run("rollback", "--collection", "papers")
    assert (undone.status, undone.out.splitlines()[0]) == (
        0,
        "12 documents removed, collection papers removed",
    )
    assert tree(source) == before
    assert shell.run("rollback", "--collection", "papers").status == 2


def test_a_dry_run_says_what_would_happen_and_writes_nothing(here: Run, indexed: Shell, source: Path) -> None:
    before = tree(indexed.data_dir)
    done = here("import", "auto", source, "--dry-run", "--collection", "papers", "--json").json
    assert (done["added"], done["dry_run"], done["collection"], done["shadow"]) == (12, True, "papers", None)
    assert tree(indexed.data_dir) == before


def test_shadow_compares_the_answers_of_both(shell: Shell, source: Path) -> None:
    done = shell.run("import", source, "--shadow", "9", "--json").json
    assert done["shadow"] == {"queries": 9, "overlap_at_10": 1.0, "same_first": 1.0}


def test_a_second_in_place_import_has_nothing_to_do(shell: Shell, source: Path) -> None:
    assert shell.run("import", source, "--in-place").status == 0
    again = shell.run("import", source, "--in-place")
    assert again.status == 0
    assert again.out.startswith("already imported into default; the old index is at ")
    log = (shell.data_dir / "logs" / "ragstone.log").read_text()
    for line in ("Detected LlamaIndex index", "Backed up old index to", "Created FAISS-backed vector index"):
        assert line in log


def test_records_left_out_are_listed_and_set_the_exit_status(here: Run, tmp_path: Path) -> None:
    entries = [*entries_of(3), ("empty", "", {})]
    source = write_langchain(tmp_path / "s", entries, vectors_of(4))
    done = here("import", "langchain", source, "--dry-run", "--collection", "p")
    assert done.status == 1
    assert done.out.startswith("3 to import, 0 unchanged, 1 left out")
    assert "left out empty: its text is empty" in done.err


def test_texts_can_be_embedded_instead_and_then_searched_by_meaning(shell: Shell, tmp_path: Path) -> None:
    entries: list[Entry] = [("a", "The ferry leaves at noon.", {}), ("b", "Bread is baked at night.", {})]
    source = write_llamaindex(tmp_path / "s", entries, vectors_of(2))
    done = shell.run("import", source, "--reembed", "--json").json
    assert (done["added"], done["embedded"], done["dim"]) == (2, 2, 384)
    found = shell.run("search", "when does the boat depart?", "--mode", "dense", "--json").json
    assert found["hits"][0]["text"] == "The ferry leaves at noon."


def test_vectors_of_the_built_in_model_are_searchable_once_it_is_named(shell: Shell, tmp_path: Path) -> None:
    source = write_llamaindex(tmp_path / "s", entries_of(3), vectors_of(3, dim=384))
    done = shell.run("import", source, "--model", "minilm", "--json").json
    assert (done["left_out"], done["notes"]) == ([], [])
    found = shell.run("search", "ferries", "--mode", "dense", "--json")
    assert len(found.json["hits"]) == 3
    other = write_llamaindex(tmp_path / "t", entries_of(3), vectors_of(3))
    refused = shell.run("import", other, "--model", "minilm", "--collection", "other")
    assert refused.status == 1
    assert "makes vectors of 384 dimensions, the source's have 16" in refused.err


def test_a_collection_of_another_model_is_refused_before_anything_is_written(
    here: Run,
    indexed: Shell,
    source: Path,
) -> None:
    before = here("stats", "--json").json["documents"]
    done = here("import", source, "--dry-run")
    assert done.status == 1
    assert "hint: choose another --collection" in done.err
    assert here("stats", "--json").json["documents"] == before


def test_config_migrate_shows_a_diff_and_writes_only_when_told(here: Run, tmp_path: Path) -> None:
    file = tmp_path / "faiss.yaml"
    file.write_text("faiss:\n  index_type: IVF\n  nlist: 100\n")
    done = here("config", "migrate", file)
    assert "-  index_type: IVF\n-  nlist: 100\n+  index_type: HNSW\n" in done.out
    assert "IVF" in file.read_text()
    assert here("config", "migrate", file, "--write").status == 0
    assert file.read_text() == "faiss:\n  index_type: HNSW\n"
    assert (tmp_path / "faiss.yaml.bak").read_text().endswith("nlist: 100\n")
    assert here("config", "migrate", file).out == "nothing to change\n"
