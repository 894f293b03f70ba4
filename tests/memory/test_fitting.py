"""What makes an entry fit a query beyond its own words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from memory.conftest import NOON, Clock
from ragstone.embedding import load_embedder
from ragstone.errors import StoreError
from ragstone.memory import recalling
from ragstone.memory.fitting import BESIDE, LENGTH_WEIGHT, SESSION_S, beside
from ragstone.memory.store import MemoryStore
from ragstone.types import Embedder, SearchMode

FIRST, SECOND = (share for _, share in BESIDE)


def added(ids: list[int], scores: list[float], said_s: list[float]) -> list[float]:
    chunks = np.arange(10, 10 + len(said_s))
    found = beside(np.array(ids), np.array(scores, np.float32), chunks, np.array(said_s))
    return [round(float(value), 6) for value in found]


def test_what_is_said_right_before_and_after_adds_its_share() -> None:
    # 10 and 14 are too far from 12 to matter twice; 13 is no candidate and adds nothing.
    assert added([10, 11, 12, 14], [0.4, 0.2, 0.0, 0.8], [0, 60, 120, 180, 240]) == pytest.approx(
        [0.2 * FIRST, 0.4 * FIRST, 0.2 * FIRST + (0.4 + 0.8) * SECOND, 0.0]
    )


def test_another_conversation_and_what_was_taken_over_at_once_add_nothing() -> None:
    assert added([10, 11], [0.4, 0.2], [0, SESSION_S]) == pytest.approx([0.2 * FIRST, 0.4 * FIRST])
    assert added([10, 11], [0.4, 0.2], [0, SESSION_S + 1]) == [0, 0]
    assert added([10, 11], [0.4, 0.2], [5, 5]) == [0, 0]
    assert added([10], [0.4], [5]) == [0]


def test_an_answer_is_found_by_the_question_before_it(store: MemoryStore, clock: Clock) -> None:
    for text, pause_s in (
        ("fennel, and plenty", 7_200),
        ("which herb grows here", 10),
        ("gravel, and plenty", 0),
    ):
        store.add(text, tier="long_term")
        clock.now_s += pause_s
    fennel, herb, gravel = ids_of(store)
    found = store.search("plenty of which herb")
    assert [item.entry.id for item in found] == [herb, gravel, fennel]
    assert all(0 < item.score < 0.5 for item in found)  # importance is .5
    store.forget([herb])
    assert [item.entry.id for item in store.search("plenty of which herb")] == [fennel, gravel]


def test_where_nothing_else_speaks_the_one_that_says_more_comes_first(store: MemoryStore) -> None:
    short, long = store.take_over(["herons", "swans winter on rotten piles where ferries no longer land"])
    found = store.search("kestrel")
    assert [item.entry.id for item in found] == [long, short]
    assert found[0].score <= LENGTH_WEIGHT


def ids_of(store: MemoryStore) -> list[str]:
    return [entry.id for entry in store.entries()]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return load_embedder(cache_dir=tmp_path_factory.mktemp("models"))


def test_tokens_tell_two_entries_of_like_meaning_apart(
    model: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    texts = [
        "Caroline: I planted two plum trees, and I grow nothing else.",  # says `grow`, alone it fits better
        "Melanie: We harvested carrots and lettuce behind the shed.",
    ]
    with MemoryStore(tmp_path_factory.mktemp("memory"), embedder=model, clock=lambda: NOON) as store:
        store.take_over(texts)
        with store._collection.catalog.reading() as db:
            ((kept,),) = db.execute("SELECT count(*) FROM token_signs WHERE length(signs) > 0").fetchall()
        assert kept == 2
        found = store.search("Who grows vegetables?", limit=2)
        assert found[0].entry.text == texts[1]


def test_an_index_that_is_being_rebuilt_is_said_and_not_taken_for_an_empty_memory(
    store: MemoryStore, embedder: HashingEmbedder
) -> None:
    store.add("herons nest on the pier", tier="long_term")
    missing = replace(store._collection.snapshot(), keyword=None)
    among = store._field(NOON, None, 0.0)

    def search(mode: SearchMode) -> int:
        asked = recalling.asked("herons", mode, embedder)
        return len(recalling.by_search(missing, asked, among, 5, load_signs=lambda ids: [b""] * len(ids)).ids)

    for mode in ("hybrid", "keyword"):
        with pytest.raises(StoreError, match="being rebuilt"):
            search(mode)
    assert search("dense") == 1
