"""Entries go up one tier a pass, never live shorter, and never crowd others out."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from memory.conftest import NOON, Clock, Open
from ragstone.errors import InputError, NotFoundError
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import DAY_S, Policy, Tier

TINY = Policy(
    tiers=(
        Tier("working", 900, 5),
        Tier("short_term", 3_600, 2),
        Tier("long_term", DAY_S, 2),
        Tier("semantic", None, 9),
    )
)


def tiers(store: MemoryStore) -> dict[str, str]:
    return {entry.text: entry.tier for entry in store.entries()}


def test_a_fresh_entry_of_full_importance_goes_up_one_tier_a_pass(store: MemoryStore) -> None:
    store.add("herons", tier="working", importance=1.0)
    seen = [(tiers(store)["herons"], len(store.consolidate().promoted)) for _ in range(6)]
    assert seen == [
        ("working", 1),
        ("short_term", 1),
        ("long_term", 1),
        ("episodic", 1),
        ("semantic", 0),
        ("semantic", 0),
    ]


def test_what_is_not_relevant_stays(store: MemoryStore, clock: Clock) -> None:
    store.add("herons", tier="long_term", importance=0.89)  # .445 + .3 = .745
    store.add("swans", tier="long_term", importance=0.90)  # .45 + .3 = .75
    assert [p.from_tier for p in store.consolidate().promoted] == ["long_term"]
    clock.now_s += DAY_S  # .45 + .27
    assert store.consolidate().promoted == ()
    assert tiers(store) == {"herons": "long_term", "swans": "episodic"}


def test_five_recalls_promote_an_ordinary_entry(store: MemoryStore) -> None:
    store.add("herons", tier="working")
    for _ in range(4):
        store.recall("herons")
    assert store.consolidate().promoted == ()
    store.recall("herons")
    assert [p.to_tier for p in store.consolidate().promoted] == ["short_term"]


def test_a_promotion_never_shortens_a_life(store: MemoryStore, clock: Clock) -> None:
    store.add("herons", tier="long_term", importance=1.0)
    clock.now_s += DAY_S
    store.consolidate()
    (entry,) = store.entries()
    assert (entry.tier, entry.expires_s) == ("episodic", NOON + 2_592_000)  # a week from now would be earlier
    store.add("swans", tier="working", importance=1.0)
    assert store.promote("m2", "short_term")
    assert store.entry("m2").expires_s == NOON + DAY_S + 3_600


def test_a_full_tier_takes_the_most_relevant_and_pushes_nobody_out(opened: Open, clock: Clock) -> None:
    store = opened(TINY)
    for n, importance in enumerate((0.91, 0.99, 0.95, 0.92)):
        store.add(f"heron{n} nests alone", tier="working", importance=importance)
    done = store.consolidate()
    assert ({p.id for p in done.promoted}, done.no_room) == ({"m2", "m3"}, 2)
    # The two above make room for the two below them in one and the same pass.
    done = store.consolidate()
    assert [(p.id, p.to_tier) for p in done.promoted] == [
        ("m2", "long_term"),
        ("m3", "long_term"),
        ("m4", "short_term"),
        ("m1", "short_term"),
    ]
    assert not store.promote("m1", "long_term")
    assert store.entry("m1").tier == "short_term"
    clock.now_s += DAY_S + 1
    assert store.entries() == []


def test_a_promotion_to_nowhere_is_refused(store: MemoryStore, clock: Clock) -> None:
    store.add("herons", tier="long_term", importance=1.0)
    for tier in ("long_term", "working", "eternal"):
        with pytest.raises(InputError):
            store.promote("m1", tier)
    with pytest.raises(NotFoundError):
        store.promote("m7", "semantic")
    assert tiers(store) == {"herons": "long_term"}
    assert store.promote("m1", "semantic")  # by hand further than one step
    assert store.entry("m1").expires_s is None
    store.add("swans", tier="working")
    clock.now_s += 901
    with pytest.raises(NotFoundError):
        store.promote("m2", "short_term")


def test_a_pass_that_fails_midway_changes_nothing(store: MemoryStore) -> None:
    for n in range(5):
        store.add(f"heron{n} nests alone", tier="working", importance=1.0)
    before = store.entries()
    catalog = store._collection.catalog
    with catalog.transaction() as db:
        db.execute(
            "CREATE TRIGGER third BEFORE UPDATE OF tier ON memory_entries WHEN NEW.document_id = 3"
            " BEGIN SELECT RAISE(ABORT, 'the third fails'); END"
        )
    with pytest.raises(apsw.ConstraintError, match="the third fails"):
        store.consolidate()
    assert store.entries() == before
    with catalog.transaction() as db:
        db.execute("DROP TRIGGER third")
    assert len(store.consolidate().promoted) == 5


def test_candidates_are_what_the_next_pass_moves(opened: Open, tmp_path: Path) -> None:
    store = opened()
    for n in range(6):
        store.add(f"heron{n} nests alone", tier="short_term", importance=0.85 + n / 50)
    chosen = [entry.id for entry in store.candidates("short_term")]
    assert chosen == ["m6", "m5", "m4"]
    assert [p.id for p in store.consolidate().promoted] == chosen
    assert store.candidates("semantic") == []


def test_searches_know_of_a_promotion_at_once(store: MemoryStore) -> None:
    store.add("herons nest alone", tier="working", importance=1.0)
    assert store.search("herons", tier="short_term") == []
    store.consolidate()
    assert (
        len(store.search("herons", tier="short_term")) == len(store.recall("herons", tier="short_term")) == 1
    )
    assert store.search("herons", tier="working") == []
