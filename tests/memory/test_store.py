"""What is remembered is there, is found, ends with its time, and is gone when forgotten."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from memory.conftest import NOON, Clock, Open
from ragstone import Ragstone, Settings
from ragstone.errors import InputError, MismatchError, NotFoundError
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import TIERS, Policy, Tier

SMALL = Policy(tiers=(Tier("working", 900, 2), Tier("short_term", 3_600, 3), Tier("semantic", None, 9)))


def ids(store: MemoryStore, tier: str | None = None) -> list[str]:
    return [entry.id for entry in store.entries(tier=tier)]


def test_a_stored_text_comes_back_with_its_facts_after_reopening(opened: Open) -> None:
    store = opened()
    stored = store.add("Herons nest on the pier.", tier="long_term", importance=0.7, tags=["birds", "pier"])
    store.close()
    (entry,) = opened().entries()
    assert (entry.id, entry.text, entry.tier, entry.importance) == (
        stored.id,
        "Herons nest on the pier.",
        "long_term",
        0.7,
    )
    assert (entry.created_s, entry.expires_s, entry.access_count) == (NOON, NOON + 2_592_000, 0)
    assert (entry.source, entry.tags) == ("user", ("birds", "pier"))


@pytest.mark.parametrize("tier", TIERS)
def test_an_entry_lives_as_long_as_its_tier_says(store: MemoryStore, clock: Clock, tier: Tier) -> None:
    store.add("herons nest here", tier=tier.name)
    clock.now_s += (tier.ttl_s or 1e10) - 0.5
    assert len(store.entries()) == len(store.recall("herons")) == len(store.search("herons")) == 1
    clock.now_s += 1
    alive = tier.ttl_s is None
    assert len(store.entries()) == len(store.recall("herons")) == len(store.search("herons")) == alive
    assert store.cleanup_expired() == (not alive)
    assert store.cleanup_expired() == 0


def test_recall_counts_and_search_does_not(store: MemoryStore, clock: Clock) -> None:
    store.add("herons nest on the pier")
    store.add("bread is baked at night")
    for _ in range(3):
        clock.now_s += 10
        (found,) = store.recall("herons", limit=1)
    store.search("herons bread")
    assert (found.entry.access_count, found.entry.last_accessed_s) == (3, NOON + 30)
    assert [(entry.access_count, entry.last_accessed_s) for entry in store.entries()] == [
        (3, NOON + 30),
        (0, NOON),
    ]
    store.count_recall(store.search("bread", limit=1))
    assert [entry.access_count for entry in store.entries()] == [3, 1]


def test_recall_ranks_by_cosine_times_importance(store: MemoryStore, embedder: HashingEmbedder) -> None:
    rng = np.random.default_rng(3)
    texts = [f"kestrel{n} over the {'harbour ' * int(rng.integers(1, 4))}wall{n}" for n in range(40)]
    importances = [float(rng.random()) for _ in texts]
    for text, importance in zip(texts, importances, strict=True):
        store.add(text, importance=importance)
    query = embedder.embed_query("over the harbour")
    half = embedder.embed_documents(texts).astype(np.float16).astype(np.float32)
    expected = sorted(range(40), key=lambda n: (-float(half[n] @ query) * importances[n], n))
    found = store.recall("over the harbour", limit=40)
    assert [item.entry.text for item in found] == [texts[n] for n in expected]
    assert found[0].score == pytest.approx(found[0].sources["dense"] * found[0].entry.importance, abs=1e-6)
    assert [item.entry.id for item in store.recall("over the harbour", limit=3, min_importance=0.5)] == [
        item.entry.id for item in found if item.entry.importance >= 0.5
    ][:3]


def test_a_tier_is_searched_alone(store: MemoryStore) -> None:
    for tier in ("working", "long_term", "semantic"):
        store.add(f"herons nest in {tier}", tier=tier)
    for find in (store.recall, store.search):
        assert [item.entry.tier for item in find("herons", tier="long_term")] == ["long_term"]
        with pytest.raises(InputError, match="no tier 'eternal'"):
            find("herons", tier="eternal")


def test_a_full_tier_lets_its_least_relevant_entry_go(opened: Open, clock: Clock) -> None:
    store = opened(SMALL)
    first = store.add("herons nest on the pier", tier="short_term", importance=0.9)
    second = store.add("bread is baked at night", tier="short_term", importance=0.1)
    clock.now_s += 60
    store.add("ferries leave at noon", tier="short_term", importance=0.5)
    fourth = store.add("lamps are lit at dusk", tier="short_term", importance=0.05)
    assert fourth.evicted == (second.id,)
    assert fourth.id in ids(store) and first.id in ids(store)
    assert len(ids(store, "short_term")) == 3
    clock.now_s += 3_600  # all have expired: nothing has to be pushed out
    assert store.add("swans winter here", tier="short_term").evicted == ()
    assert len(ids(store)) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"text": " \n"}, "empty"),
        ({"text": "x" * 10_001}, "10,001 characters"),
        ({"text": "half \ud800"}, "surrogate"),
        ({"text": "a", "importance": 1.01}, "importance is 1.01"),
        ({"text": "a", "importance": float("nan")}, "importance is nan"),
        ({"text": "a", "tier": "eternal"}, "no tier 'eternal'"),
    ],
)
def test_what_cannot_be_remembered_is_refused(
    store: MemoryStore, wrong: dict[str, object], message: str
) -> None:
    wrong = dict(wrong)
    text = str(wrong.pop("text"))
    with pytest.raises(InputError, match=message):
        store.add(text, **wrong)  # type: ignore[arg-type]
    assert store.entries() == []


def test_an_empty_memory_finds_nothing_and_audits(store: MemoryStore) -> None:
    assert store.recall("herons") == store.search("herons") == []
    assert store.audit().counts["entries"] == 0
    for query, limit in ((" ", 5), ("x" * 10_001, 5), ("herons", 0), ("herons", 1_001)):
        with pytest.raises(InputError):
            store.recall(query, limit=limit)


def files_with(folder: Path, needle: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


def test_no_file_holds_what_was_forgotten_or_had_expired(opened: Open, tmp_path: Path, clock: Clock) -> None:
    store = opened()
    stored = [
        store.add(f"the keeper wrote qzvx{n}wk in the log and rang bell number{n}", tier="long_term").id
        for n in range(30)
    ]
    store.add("the password of the boathouse was brillig", tier="working")
    store.note_answer("The keeper wrote qzvx3wk in the log and rang bell number3, as far as I know.")
    store.recall("keeper")
    clock.now_s += 1_000
    assert files_with(tmp_path, b"qzvx3wk") and files_with(tmp_path, b"brillig")
    gone = [stored[3], stored[17], stored[29]]
    assert store.forget([str(id_) for id_ in gone]) == 3
    for when in ("open", "closed"):
        for needle in (b"qzvx3wk", b"qzvx17wk", b"qzvx29wk", b"brillig"):
            assert files_with(tmp_path, needle) == [], (needle, when)
        store.close()
    store = opened()
    assert ids(store) == [id_ for id_ in stored if id_ not in gone]
    assert len(store.search("keeper", mode="keyword", limit=100)) == 27
    # An answer that held it is not known any more either: the same words are a new statement again.
    text = "the keeper wrote qzvx3wk in the log and rang bell number3"
    assert store.add(text, source="visitor").outcome == "added"


def test_forgetting_what_is_not_there_forgets_nothing(store: MemoryStore) -> None:
    first = str(store.add("herons nest on the pier").id)
    for unknown in ("m99", "herons", "m", "m²", "m-1"):
        with pytest.raises(NotFoundError, match=unknown):
            store.forget([first, unknown])
    assert ids(store) == [first]
    assert store.forget([first, first]) == 1
    assert store.entries() == []
    assert store.add("herons nest on the pier").id != first  # ids are not used again


def test_two_open_memories_see_each_other(opened: Open) -> None:
    one, two = opened(), opened()
    one.add("herons nest on the pier", tier="long_term")
    two.add("bread is baked at night", tier="long_term")
    assert len(one.entries()) == len(two.recall("herons bread")) == 2
    assert [entry.access_count for entry in one.entries()] == [1, 1]
    assert two.add("Herons nest on the pier!").outcome == "refreshed"
    assert one.forget([ids(one)[0]]) == 1
    assert [item.entry.text for item in two.search("herons")] == ["bread is baked at night"]


def test_threads_that_store_the_same_at_once_store_it_once(store: MemoryStore) -> None:
    threads = [
        threading.Thread(target=store.add, args=(f"herons nest on pier number {n % 5}",)) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.entries()) == 5
    assert sum(entry.refreshed for entry in store.entries()) == 15


@pytest.mark.parametrize("kind", ["disk"], indirect=True)
def test_a_text_deleted_through_the_collection_takes_its_entry_along(
    opened: Open, tmp_path: Path, embedder: HashingEmbedder
) -> None:
    store = opened()
    store.add("herons nest on the pier")
    store.add("bread is baked at night")
    store.close()
    (tmp_path / "collections").mkdir()
    (tmp_path / "memory").rename(tmp_path / "collections" / "memory")
    with Ragstone(
        tmp_path, settings=Settings(data_dir=tmp_path, collection="memory"), embedder=embedder
    ) as engine:
        engine.delete([engine.search("herons", mode="keyword").hits[0].uri])
        engine.add(["a text that is no memory"])
        assert engine.verify().ok
    (tmp_path / "collections" / "memory").rename(tmp_path / "memory")
    store = opened()
    assert [entry.text for entry in store.entries()] == ["bread is baked at night"]
    assert [item.entry.text for item in store.recall("a text herons")] == ["bread is baked at night"]


@pytest.mark.parametrize("kind", ["disk"], indirect=True)
def test_another_models_memory_is_refused(opened: Open, tmp_path: Path) -> None:
    opened().add("herons nest on the pier")
    with pytest.raises(MismatchError):
        MemoryStore(tmp_path / "memory", embedder=HashingEmbedder(name="other"))


def test_many_entries_are_sealed_and_still_exact(opened: Open) -> None:
    roomy = Policy(tiers=(Tier("long_term", 1e6, 5_000),))
    store = opened(roomy)
    store.take_over([f"kestrel{n} circles tower{n % 50}" for n in range(1_500)], tier="long_term")
    assert list((store._collection.folder / "segments").glob("*/manifest.json"))
    store.add("kestrel1500 circles tower7", tier="long_term")
    best = store.recall("kestrel1234 circles tower34", limit=1)[0]
    assert best.entry.text == "kestrel1234 circles tower34"
    with pytest.raises(InputError, match="has room for 3,499"):
        store.take_over([f"osprey{n}" for n in range(3_500)], tier="long_term")
    assert len(store.entries()) == 1_501
