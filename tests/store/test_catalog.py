"""The catalog: what is stored comes back, transactions are whole, damage is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.errors import DamagedError, MismatchError, NotFoundError, StoreError
from ragstone.store import documents, storing, vectors
from ragstone.store.catalog import Catalog, Identity
from ragstone.types import Block, BlockKind, Chunk, ParsedDocument

IDENTITY = Identity("model", 8, "cosine", 1)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    opened = Catalog.open(tmp_path_factory.mktemp("catalog") / "catalog.sqlite")
    yield opened
    opened.close()


def put(
    catalog: Catalog, uri: str, text: str, spans: list[tuple[int, int]], context: str = ""
) -> storing.Stored:
    document = ParsedDocument(text, (Block(BlockKind.PARAGRAPH, 0, max(1, len(text))),), "", "text")
    chunks = [Chunk(s, e, (), None, None, 3, context + text[s:e]) for s, e in spans]
    with catalog.transaction() as db:
        return storing.put_document(db, storing.Source(uri, len(text), 0, b"\0" * 32), document, chunks)


@given(data=st.data(), text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
@settings(max_examples=150, deadline=None)
def test_the_text_of_a_document_comes_back_whole_however_it_was_cut(
    catalog: Catalog, data: st.DataObject, text: str
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(lambda cuts: sorted({*cuts})))
    spans = [(s, e) for s, e in zip(cuts[::2], cuts[1::2], strict=False) if s < e] or [(0, len(text))]
    stored = put(catalog, "doc", text, spans, context="above\n")
    with catalog.reading() as db:
        assert documents.document_text(db, stored.document_id) == text
        waiting = vectors.queued_chunks(db, 0, 10_000)
        assert sorted(chunk.embedding_text for chunk in waiting) == sorted(
            f"above\n{text[s:e]}" for s, e in spans
        )
        entries = documents.keyword_entries(db, [chunk.id for chunk in waiting])
        assert [entry.text for entry in entries] == [chunk.embedding_text for chunk in waiting]
        ids = [chunk.id for chunk in waiting]
        hits = documents.hits(db, ids, [0.0] * len(ids), {id_: {} for id_ in ids}, collection="notes")
        assert [hit.id for hit in hits] == ids
        for hit in hits:
            assert hit.text == text[hit.start : hit.end]
        assert documents.altered_chunks(db) == []


def test_a_kept_chunk_takes_the_context_it_has_now(catalog: Catalog) -> None:
    put(catalog, "kept", "B", [(0, 1)], context="A\n")
    stored = put(catalog, "kept", "A\nB", [(0, 3)])  # the model sees the same, so the chunk is kept
    assert stored.new_chunks == ()
    with catalog.reading() as db:
        (found,) = [c for c in vectors.queued_chunks(db, 0, 10_000) if c.document_id == stored.document_id]
        assert found.embedding_text == "A\nB"


def test_a_transaction_that_fails_leaves_nothing(catalog: Catalog) -> None:
    with pytest.raises(ZeroDivisionError), catalog.transaction() as db:
        db.execute("INSERT INTO failures VALUES ('x', 1, 1, 'c', 'm')")
        raise ZeroDivisionError
    with catalog.reading() as db:
        assert documents.failures_below(db, "x") == {}


def test_a_reader_sees_one_state_for_the_length_of_its_block(catalog: Catalog) -> None:
    with catalog.reading() as db:
        before = documents.counts(db)
        put(catalog, "later", "text", [(0, 4)])
        assert documents.counts(db) == before
    with catalog.reading() as db:
        assert documents.counts(db).documents == before.documents + 1


def test_every_commit_is_seen_by_the_version_also_one_of_another_connection(tmp_path: Path) -> None:
    one, two = Catalog.open(tmp_path / "c.sqlite"), Catalog.open(tmp_path / "c.sqlite")
    before = one.version()
    assert one.version() == before
    two.settle_identity(IDENTITY)
    assert one.version() != before
    assert one.identity() == IDENTITY
    one.close()
    two.close()


def test_an_identity_that_differs_is_refused_and_named(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "c.sqlite")
    catalog.settle_identity(IDENTITY)
    catalog.settle_identity(IDENTITY)
    for other, says in (
        (Identity("other", 8, "cosine", 1), "model_id 'model', not 'other'"),
        (Identity("model", 9, "cosine", 1), "dim 8, not 9"),
        (Identity("model", 8, "l2", 1), "metric 'cosine', not 'l2'"),
        (Identity("model", 8, "cosine", 2), "chunker_version 1, not 2"),
    ):
        with pytest.raises(MismatchError, match=says):
            catalog.settle_identity(other)
    catalog.close()


def test_a_folder_does_not_contain_one_whose_name_begins_with_its_own(catalog: Catalog) -> None:
    for uri in ("/a/b/x", "/a/bc/x", "/a/b"):
        put(catalog, uri, "text", [(0, 4)])
    with catalog.reading() as db:
        assert set(documents.states_below(db, "/a/b")) == {"/a/b", "/a/b/x"}
        with pytest.raises(NotFoundError, match="'/a/c'"):
            documents.document_ids(db, ["/a/b", "/a/c"])


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"\0" * 4096])
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(damage)
    with pytest.raises(DamagedError, match=r"catalog\.sqlite is damaged"):
        Catalog.open(path)
    assert path.read_bytes() == damage


def test_a_wrong_value_in_a_sound_catalog_is_not_blamed_on_damage(catalog: Catalog) -> None:
    with pytest.raises(TypeError, match="NoneType"), catalog.reading():
        len(None)  # type: ignore[arg-type]


def test_a_closed_catalog_says_so(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path / "c.sqlite")
    catalog.close()
    catalog.close()
    with pytest.raises(StoreError, match="has been closed"), catalog.transaction():
        pass
