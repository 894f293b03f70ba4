"""Every layout comes over whole: ids, texts, metadata, and the source's own ranking, without embedding anything."""

from __future__ import annotations

import json
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from importers.foreign_stores import (
    WRITERS,
    add_chroma_collection,
    entries_of,
    vectors_of,
    write_chroma,
    write_faiss,
    write_index_and_meta,
    write_langchain,
    write_llamaindex,
    write_txtai,
)
from importers.imports import assert_same_ranking, engine_at, imported, records_of, scores_of
from ragstone.errors import InputError, NotFoundError
from ragstone.importers.formats import open_foreign
from ragstone.importers.records import Losses
from ragstone.importers.run import Options

COUNT = 40


@pytest.mark.parametrize("layout", WRITERS)
def test_a_layout_comes_over_with_its_ranking_and_nothing_is_embedded(layout: str, tmp_path: Path) -> None:
    entries, rows = entries_of(COUNT), vectors_of(COUNT)
    source = WRITERS[layout](tmp_path / "source", entries, rows)
    store = open_foreign("auto", source, allow_pickle=True)
    embedder = HashingEmbedder()
    with engine_at(tmp_path / "data", embedder=embedder) as engine:
        report = imported(engine, store, tmp_path / "data").report
        assert (report.added, report.left_out, report.embedded) == (COUNT, (), 0)
        assert embedder.embedded == []
        uris, found = records_of(store)
        np.testing.assert_allclose(found, rows, atol=1e-7)
        queries = vectors_of(20, seed=1)
        assert_same_ranking(engine, uris, queries, scores_of(queries, rows, store.metric))
        info, text = engine.document(uris[7])
        assert text == entries[7][1]
        assert info.metadata["author"] == "Lindqvist"
        assert info.metadata["imported_id"] == "node-7"
        assert engine.search("ferries", filter="path:docs/1.pdf*", mode="keyword", top_k=COUNT).hits
        again = imported(engine, store, tmp_path / "data").report
        assert (again.added, again.unchanged, again.replaced, again.gone) == (0, COUNT, 0, 0)


def test_the_source_file_and_node_make_the_uri_and_pages_count_from_one(tmp_path: Path) -> None:
    store = open_foreign("llamaindex", write_llamaindex(tmp_path / "s", entries_of(4), vectors_of(4)))
    records = list(store.read(Losses()))
    assert records[1].uri == "docs/1.pdf#node-1"
    assert records[1].title == "1.pdf"
    assert [record.metadata["page"] for record in records] == [1, 2, 3, 4]


def test_relationships_and_graphs_are_reported_as_not_carried_over(tmp_path: Path) -> None:
    source = write_llamaindex(tmp_path / "s", entries_of(4), vectors_of(4))
    (source / "graph_store.json").write_text(
        json.dumps({"graph_dict": {str(n): ["x"] * 9 for n in range(9)}})
    )
    with engine_at(tmp_path / "data") as engine:
        parts = imported(engine, open_foreign("auto", source), tmp_path / "data").report.not_carried
    assert parts == {
        "graph stores (graph_store.json)": 1,
        "relationships between nodes (previous, next, parent, child)": 4,
    }


def test_each_record_that_cannot_come_over_is_listed_with_its_reason(tmp_path: Path) -> None:
    entries, rows = entries_of(9), vectors_of(9)
    source = write_llamaindex(tmp_path / "s", [*entries[:6], ("node-6", " ", {}), *entries[7:]], rows)
    content = json.loads((source / "default__vector_store.json").read_text())
    vectors = content["embedding_dict"]
    vectors["node-1"] = [0.0] * 16
    vectors["node-2"] = [float("nan")] * 16
    vectors["node-3"] = [1.0] * 5
    vectors["node-4"] = ["a", "b"]
    vectors["stranger"] = vectors.pop("node-5")
    (source / "default__vector_store.json").write_text(json.dumps(content))
    with engine_at(tmp_path / "data") as engine:
        report = imported(engine, open_foreign("auto", source), tmp_path / "data").report
    reasons = {left.id: left.reason for left in report.left_out}
    assert report.added == 3
    assert {id_: reason.split(":")[0].split(" (")[0] for id_, reason in reasons.items()} == {
        "node-1": "its vector is zero",
        "node-2": "its vector holds numbers that are not finite",
        "node-3": "its vector has 5 dimensions, the others have 16",
        "node-4": "it has no vector of numbers",
        "node-5": "it has no vector of numbers",
        "node-6": "its text is empty",
        "stranger": "it has a vector but no text",
    }


def test_a_legacy_node_keeps_its_extra_info_and_document(tmp_path: Path) -> None:
    source = write_llamaindex(tmp_path / "s", entries_of(1), vectors_of(1), name="vector_store.json")
    node = {
        "text": "old text",
        "doc_id": "node-0",
        "extra_info": {"year": 2023},
        "relationships": {"1": "the-doc"},
    }
    (source / "docstore.json").write_text(
        json.dumps({"docstore/data": {"node-0": {"__data__": node, "__type__": "1"}}})
    )
    store = open_foreign("auto", source)
    (record,) = store.read(Losses())
    assert store.layout == "LlamaIndex of 2023"
    assert (record.uri, record.text, record.metadata) == ("the-doc#node-0", "old text", {"year": 2023})


def test_namespaces_come_together_or_one_by_one_and_images_stay_behind(tmp_path: Path) -> None:
    entries, rows = entries_of(6), vectors_of(6)
    source = write_llamaindex(tmp_path / "s", entries, rows)
    whole = json.loads((source / "default__vector_store.json").read_text())["embedding_dict"]
    for name, part in (("default", entries[:2]), ("notes", entries[2:5]), ("image", entries[5:])):
        content = {"embedding_dict": {id_: whole[id_] for id_, _, _ in part}}
        (source / f"{name}__vector_store.json").write_text(json.dumps(content))
    losses = Losses()
    records = list(open_foreign("auto", source).read(losses))
    assert [record.id for record in records if record.vector is not None] == [f"node-{n}" for n in range(5)]
    assert losses.parts["image vectors"] == 1
    only = open_foreign("llamaindex", source, only="notes")
    found = [record.id for record in only.read(Losses()) if record.vector is not None]
    assert found == ["node-2", "node-3", "node-4"]
    with pytest.raises(NotFoundError, match="nothing"):
        open_foreign("llamaindex", source, only="nothing")


@pytest.mark.parametrize("in_segment", [0, 11, 30])
def test_chromas_vectors_are_found_in_the_segment_and_in_the_queue(in_segment: int, tmp_path: Path) -> None:
    rows = vectors_of(30)
    source = write_chroma(tmp_path / "s", entries_of(30), rows, in_segment=in_segment)
    store = open_foreign("auto", source)
    _, found = records_of(store)
    np.testing.assert_array_equal(found, rows)
    assert store.metric == "cosine"


def test_chromas_queue_is_replayed_in_order(tmp_path: Path) -> None:
    rows = vectors_of(8)
    source = write_chroma(tmp_path / "s", entries_of(4), rows[:4], in_segment=4)
    with sqlite3.connect(source / "chroma.sqlite3") as db:
        steps = [
            (0, "node-0", rows[4]),  # added again: Chroma leaves what is there
            (1, "node-1", rows[5]),  # updated
            (3, "node-2", None),  # deleted, and added anew
            (0, "node-2", rows[6]),
            (2, "node-3", rows[7]),  # upserted
        ]
        for operation, id_, row in steps:
            db.execute(
                "INSERT INTO embeddings_queue (operation, topic, id, vector, encoding) VALUES (?, ?, ?, ?, 'FLOAT32')",
                (
                    operation,
                    "persistent://default/default/id-papers",
                    id_,
                    None if row is None else row.tobytes(),
                ),
            )
    db.close()
    _, found = records_of(open_foreign("auto", source))
    np.testing.assert_array_equal(found, rows[[0, 5, 6, 7]])


def test_chromas_collections_come_together_unless_they_differ_in_dim(tmp_path: Path) -> None:
    source = write_chroma(tmp_path / "s", entries_of(3), vectors_of(3), name="a")
    with sqlite3.connect(source / "chroma.sqlite3") as db:
        add_chroma_collection(db, source, entries_of(2), vectors_of(2), in_segment=0, name="b")
    db.close()
    store = open_foreign("chroma", source)
    assert [record.metadata["chroma_collection"] for record in store.read(Losses())] == ["a"] * 3 + ["b"] * 2
    assert len(list(open_foreign("chroma", source, only="b").read(Losses()))) == 2
    with sqlite3.connect(source / "chroma.sqlite3") as db:
        add_chroma_collection(db, source, entries_of(2), vectors_of(2, dim=8), in_segment=0, name="c")
    db.close()
    with pytest.raises(InputError, match=r"a \(16\), b \(16\), c \(8\)"):
        open_foreign("chroma", source)
    with pytest.raises(NotFoundError) as error:
        open_foreign("chroma", source, only="z")
    assert "a, b, c" in error.value.hint


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_langchain_pickles_of_every_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    source = write_langchain(tmp_path / "s", entries_of(5), vectors_of(5), protocol=protocol)
    assert [record.text for record in open_foreign("auto", source).read(Losses())] == [
        text for _, text, _ in entries_of(5)
    ]


def test_a_txtai_index_names_its_model_and_repeated_ids_stay_apart(tmp_path: Path) -> None:
    entries = entries_of(3)
    source = write_txtai(tmp_path / "s", entries, vectors_of(3))
    with sqlite3.connect(source / "documents") as db:
        db.execute("UPDATE sections SET id = 'node-0' WHERE indexid = 1")
    db.close()
    store = open_foreign("auto", source)
    assert [record.id for record in store.read(Losses())] == ["node-0#0", "node-0#1", "node-2"]
    assert store.model == "sentence-transformers/all-MiniLM-L6-v2"


def test_an_older_txtai_configuration_is_a_pickle_and_read_as_data(tmp_path: Path) -> None:
    source = write_txtai(tmp_path / "s", entries_of(3), vectors_of(3))
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").unlink()
    (source / "config").write_bytes(pickle.dumps(config))
    store = open_foreign("auto", source)
    assert (store.format, store.model) == ("txtai", "sentence-transformers/all-MiniLM-L6-v2")
    assert len(list(store.read(Losses()))) == 3


def test_a_node_may_keep_its_text_in_a_resource(tmp_path: Path) -> None:
    source = write_llamaindex(tmp_path / "s", entries_of(1), vectors_of(1))
    node = {
        "id_": "node-0",
        "text_resource": {"text": "from a resource"},
        "image_resource": {"path": "a.png"},
    }
    (source / "docstore.json").write_text(json.dumps({"docstore/data": {"node-0": {"__data__": node}}}))
    losses = Losses()
    (record,) = open_foreign("auto", source).read(losses)
    assert (record.text, losses.parts) == ("from a resource", {"images": 1})


def test_a_meta_pickle_is_read_only_when_asked_for(tmp_path: Path) -> None:
    source = write_index_and_meta(tmp_path / "s", entries_of(40), vectors_of(40))
    with pytest.raises(InputError, match="is a pickle") as error:
        open_foreign("faiss", source)
    assert "--allow-pickle-layout" in error.value.hint
    assert len(list(open_foreign("faiss", source, allow_pickle=True).read(Losses()))) == 40


def test_a_record_of_fields_only_becomes_a_text_of_them(tmp_path: Path) -> None:
    source = write_index_and_meta(tmp_path / "s", entries_of(2), vectors_of(2), kind="Flat")
    state = {
        "id_map": {0: "a", 1: "b"},
        "metadata": {"a": {"severity": "high", "host": "db1"}, "b": {"host": "db2"}},
    }
    (source / "alerts.meta").write_bytes(pickle.dumps(state))
    losses = Losses()
    records = list(open_foreign("faiss", source, allow_pickle=True).read(losses))
    assert [record.text for record in records] == ["severity: high\nhost: db1", "host: db2"]
    assert losses.parts == {"records without a text: their fields became it": 2}


def test_texts_for_a_bare_faiss_file_can_be_named_and_match_by_id(tmp_path: Path) -> None:
    rows = vectors_of(3)
    index = write_faiss(tmp_path / "bare.faiss", rows, kind="IDMap,Flat", ids=[70, 5, 12])
    texts = tmp_path / "elsewhere.json"
    texts.write_text(
        json.dumps([{"id": 5, "text": "five"}, {"id": 12, "text": "twelve"}, {"id": 70, "text": "seventy"}])
    )
    with pytest.raises(InputError, match="not clear"):
        open_foreign("auto", index)
    records = {
        record.text: record.vector for record in open_foreign("auto", index, texts=texts).read(Losses())
    }
    for text, row in (("seventy", rows[0]), ("five", rows[1]), ("twelve", rows[2])):
        np.testing.assert_array_equal(records[text], row)


def test_vectors_that_are_not_of_unit_length_are_announced_where_the_order_can_differ(tmp_path: Path) -> None:
    source = WRITERS["documented"](tmp_path / "s", entries_of(20), vectors_of(20, unit=False))
    with engine_at(tmp_path / "data") as engine:
        outcome = imported(engine, open_foreign("auto", source), tmp_path / "data", Options(shadow=20))
    assert any("the order of hits can differ" in note for note in outcome.report.notes)
    assert outcome.overlap is not None
    assert outcome.overlap.overlap_at_10 < 1


def test_what_holds_no_index_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no index of a known format"):
        open_foreign("auto", tmp_path)
    with pytest.raises(InputError, match="no format 'word'"):
        open_foreign("word", tmp_path)
    with pytest.raises(NotFoundError, match="no file or folder"):
        open_foreign("auto", tmp_path / "absent")


@pytest.mark.parametrize("format_", ["auto", "chroma"])
def test_the_files_of_an_early_chroma_are_refused_with_the_way_out(format_: str, tmp_path: Path) -> None:
    for name in ("chroma-embeddings.parquet", "chroma-collections.parquet"):
        (tmp_path / name).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"Chroma before 0\.4") as error:
        open_foreign(format_, tmp_path)
    assert "pip install chroma-migrate" in error.value.hint


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_note_on_the_missing_model_says_what_to_do_from_here(dry_run: bool, tmp_path: Path) -> None:  # noqa: FBT001
    source = write_llamaindex(tmp_path / "s", entries_of(3), vectors_of(3, dim=384))
    with engine_at(tmp_path / "data") as engine:
        (note,) = imported(
            engine, open_foreign("auto", source), tmp_path / "data", Options(dry_run=dry_run)
        ).report.notes
    again = "; import with" if dry_run else "; roll back and import with"
    assert f"{again} --model NAME (minilm, if all-MiniLM-L6-v2 made them)" in note
