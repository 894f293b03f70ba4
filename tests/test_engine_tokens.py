"""Late interaction through the whole engine: what is stored, what it changes, what goes with a deleted text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from older_catalog import set_back_before
from ragstone import Ragstone
from ragstone.store.schema import m003_token_signs
from ragstone.store.sql import rows

TEXTS = {
    "bank": "She sat on the bank of the river and watched the boats.",
    "loan": "The bank refused the loan because the interest could not be paid.",
    "boat": "A boat on the river carries grain to the mill.",
    "mill": "Interest in old mills grows, and the grain is ground by water.",
}


@pytest.fixture
def engine(tmp_path: Path) -> Ragstone:
    engine = Ragstone(tmp_path)
    engine.add(list(TEXTS.values()), uris=list(TEXTS))
    return engine


def stored(engine: Ragstone) -> dict[str, int]:
    """Tokens held of each document."""
    query = (
        "SELECT d.uri, length(t.signs) / 24 FROM token_signs t JOIN chunks c ON c.id = t.chunk_id"
        " JOIN documents d ON d.id = c.document_id"
    )
    with engine._collection().catalog.reading() as db:
        return dict(rows(db, query))


def test_every_text_is_stored_with_its_telling_tokens_and_deleted_with_them(engine: Ragstone) -> None:
    assert stored(engine)["bank"] == 5  # sat, bank, river, watched, boats
    assert set(stored(engine)) == set(TEXTS)
    engine.delete(["bank"])
    with engine._collection().catalog.reading() as db:
        assert db.execute("SELECT count(*) FROM token_signs").fetchall() == [(3,)]


def test_it_changes_scores_and_its_absence_is_no_error(engine: Ragstone) -> None:
    query = "money lent by a bank"
    with_it = engine.search(query)
    assert with_it.hits[0].uri == "loan"
    with engine._collection().catalog.transaction() as db:
        db.execute("DELETE FROM token_signs")
    without = engine.search(query)
    assert not without.degraded
    assert {hit.uri for hit in without.hits} == {hit.uri for hit in with_it.hits}
    assert [hit.score for hit in without.hits] != [hit.score for hit in with_it.hits]
    assert all(0 <= hit.score <= 1 for hit in with_it.hits)


def test_a_text_that_moves_takes_its_tokens_along(engine: Ragstone) -> None:
    engine.add([TEXTS["bank"]], uris=["moved"])
    assert stored(engine)["moved"] == stored(engine)["bank"]


def test_vectors_of_ones_own_are_searched_without_it(tmp_path: Path) -> None:
    with Ragstone(tmp_path) as engine:
        engine.add(list(TEXTS.values()), uris=list(TEXTS), vectors=np.eye(4, 384, dtype=np.float32))
        assert not stored(engine)
        assert engine.search("river", vector=np.eye(4, 384)[2]).hits[0].uri == "boat"


def test_a_store_from_before_is_brought_up_to_date_and_searched(engine: Ragstone, tmp_path: Path) -> None:
    found = [hit.uri for hit in engine.search("grain").hits]
    engine.close()
    set_back_before(tmp_path / "collections" / "default" / "catalog.sqlite", m003_token_signs)
    with Ragstone(tmp_path) as reopened:
        assert sorted(hit.uri for hit in reopened.search("grain").hits) == sorted(found)
        reopened.add(["wheat and barley"], uris=["new"])
        assert set(stored(reopened)) == {"new"}
        assert reopened.verify().ok
