"""What the gate lets in: statements of facts and what becomes of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory.conftest import NOON, Clock
from ragstone.embedding import load_embedder
from ragstone.memory import writing
from ragstone.memory.gate import ANSWERS_KEPT, pair_hashes
from ragstone.memory.statements import Statement, same_statement, supersedes
from ragstone.memory.store import MemoryStore
from ragstone.types import Embedder

ALIKE = 0.95  # a cosine at which only words decide

SAME = (
    ("Anna lives in Berlin.", "anna lives in  berlin"),
    ("Anna lives in Berlin.", "ANNA LIVES IN BERLIN!"),
    ("The ferry leaves at 7:40.", "Ferry leaves at 7:40"),
    ("The ferry leaves at 7:40.", "Please note: the ferry really leaves at 7:40."),
    ("The boiler was serviced by Holm in May.", "In May the boiler was serviced by Holm."),
    ("The harbour master keeps the log.", "The harbuor master keeps the log."),
    ("The car is quick and cheap to run.", "The car is fast and cheap to run."),
)
DIFFERENT = (
    ("Anna lives in Berlin.", "Boris lives in Berlin."),
    ("The room of Anna Marin is small.", "The room of Anna Martin is small."),
    ("The ferry leaves at 7:40.", "The ferry leaves at 7:45."),
    ("Anna eats meat.", "Anna does not eat meat."),
    ("The meeting is on Monday.", "The meeting is on Tuesday."),
    ("Anna likes herring.", "Anna hates herring."),
    ("The gate is open.", "The gate is closed."),
    ("The letter from Anna to Boris is lost.", "The letter from Boris to Anna is lost."),
    ("The ferry leaves.", "The ferry leaves from the northern pier after a long stop at the customs office."),
    ("Chapter 3 is about birds.", "Chapter 4 is about birds."),
)
CONTRADICTIONS = (
    ("Anna lives in Berlin.", "Anna now lives in Munich."),
    ("The ferry to Holm leaves at 7:40.", "The ferry to Holm leaves at 8:10."),
    ("Bob eats meat.", "Bob does not eat meat."),
    ("Bob doesn't eat meat.", "Bob eats meat."),
    ("The weekly meeting is on Monday.", "The weekly meeting is on Tuesday."),
    ("Anna's birthday is on 3 May.", "Anna's birthday is on 4 May."),
    ("My favourite colour is blue.", "My favourite colour is teal."),
    ("The gate of the yard is open.", "The gate of the yard is closed."),
)
NO_CONTRADICTIONS = (
    ("Anna lives in Berlin.", "Boris lives in Berlin."),
    ("Anna likes apples.", "Anna likes pears."),
    ("Anna visited Holm on 3 May.", "Anna visited Holm on 4 May."),
    ("Chapter 3 is about birds.", "Chapter 4 is about birds."),
    ("Room 12 holds forty people.", "Room 13 holds forty people."),
    ("Anna lives in Berlin.", "Anna lives in Berlin."),
    ("Anna lives in Berlin.", "Anna plays the violin in an orchestra in Munich."),
)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_says_the_same_is_known_as_such_both_ways(one: str, other: str) -> None:
    assert same_statement(Statement(one), Statement(other), ALIKE)
    assert same_statement(Statement(other), Statement(one), ALIKE)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_in_a_fact_is_never_the_same_however_alike(one: str, other: str) -> None:
    assert not same_statement(Statement(one), Statement(other), 0.999)
    assert not same_statement(Statement(other), Statement(one), 0.999)


@pytest.mark.parametrize(("older", "newer"), CONTRADICTIONS)
def test_a_newer_value_supersedes_the_older(older: str, newer: str) -> None:
    assert supersedes(Statement(newer), Statement(older), 0.8)
    assert not supersedes(Statement(newer), Statement(older), 0.5)  # they are about different things


@pytest.mark.parametrize(("older", "newer"), NO_CONTRADICTIONS)
def test_what_can_both_be_true_supersedes_nothing(older: str, newer: str) -> None:
    assert not supersedes(Statement(newer), Statement(older), 0.99)
    assert not supersedes(Statement(older), Statement(newer), 0.99)


@pytest.mark.parametrize(
    ("text", "core", "ours"),
    [
        ("As I told you earlier, Anna lives in Berlin.", "Anna lives in Berlin.", True),
        ("Assistant: I recall that as you said, the gate is open.", "the gate is open.", True),
        ("The answer is: 42 boats. Let me know if you need anything else!", "42 boats.", True),
        ("Well, Anna lives in Berlin.", "Anna lives in Berlin.", False),
        ("As a child Anna lived in Berlin.", "As a child Anna lived in Berlin.", False),
        ("I recall that", "I recall that", True),
        ("Let me know.", "Let me know.", False),
    ],
)
def test_what_introduces_an_answer_is_set_apart(text: str, core: str, *, ours: bool) -> None:
    assert (Statement(text).core.text, Statement(text).quotes_us) == (core, ours)


def test_a_near_duplicate_refreshes_the_old_entry(store: MemoryStore, clock: Clock) -> None:
    first = store.add("Herons nest on the pier.", importance=0.4)
    clock.now_s += 3_000
    again = store.add("herons nest on the pier", importance=0.9, tier="long_term")
    assert (again.id, again.outcome) == (first.id, "refreshed")
    (entry,) = store.entries()
    assert (entry.tier, entry.importance, entry.refreshed) == ("short_term", 0.9, 1)
    assert (entry.created_s, entry.last_accessed_s, entry.expires_s) == (
        NOON,
        NOON + 3_000,
        NOON + 3_000 + 3_600,
    )
    store.add("HERONS nest on the pier", importance=0.1)
    assert store.entries()[0].importance == 0.9  # what was weighty stays so


def test_the_superseded_is_kept_ranked_lower_and_can_come_back(store: MemoryStore) -> None:
    old = store.add("Anna lives in Berlin.", importance=0.8)
    new = store.add("Anna lives in Munich.", importance=0.8)
    assert new.superseded == (old.id,)
    assert store.entry(str(old.id)).superseded_by == new.id
    first, second = store.recall("Anna lives in Berlin")  # though its words are the old one's
    assert (first.entry.id, second.entry.id) == (new.id, old.id)
    assert second.score == pytest.approx(second.sources["dense"] * 0.8 * 0.5, abs=1e-6)
    back = store.add("Anna lives in Berlin.")
    assert (back.outcome, back.id, back.superseded) == ("refreshed", old.id, (new.id,))
    assert store.entry(str(old.id)).superseded_by is None
    assert store.forget([str(old.id)]) == 1
    assert store.entry(str(new.id)).superseded_by is None  # nothing points at what is gone


def test_an_answer_of_ours_is_no_fact(store: MemoryStore) -> None:
    store.add("The ferry to Holm leaves at noon on weekdays.", importance=0.5)
    before = store.entries()
    for text, source in (
        ("The ferry to Holm leaves at noon on weekdays.", "assistant"),
        ("As I told you, the ferry to Holm leaves at noon on weekdays.", "user"),
        ("I recall that you said that the ferry to Holm leaves at noon on weekdays.", "assistant"),
    ):
        stored = store.add(text, source=source, importance=1.0)
        assert (stored.outcome, stored.id) == ("refused", None), text
    assert store.entries() == before  # nothing was refreshed or weighs more
    assert store.add("I have booked a table for Friday.", source="assistant").outcome == "added"


def test_an_answer_that_was_noted_is_refused_or_marked_when_a_person_insists(store: MemoryStore) -> None:
    store.note_answer("The lighthouse keeper is called Tom Arkwright and lights the lamp at dusk.")
    text = "the lighthouse keeper is called Tom Arkwright and lights the lamp at dusk"
    assert store.add(text, source="agent").outcome == "refused"
    assert store.add("Tom Arkwright was born in Holm in 1950.", source="agent").outcome == "added"
    marked = store.add(text, importance=0.9)
    assert marked.outcome == "marked"
    entry = store.entry(str(marked.id))
    assert (entry.loop, entry.importance) == (True, 0.3)
    assert entry not in store.candidates(entry.tier)


def test_of_answers_only_the_latest_are_kept_and_no_words(store: MemoryStore) -> None:
    answers = [f"heron{n} sits by kestrel{n} near osprey{n} above falcon{n}" for n in range(ANSWERS_KEPT + 5)]
    with store._collection.catalog.transaction() as db:
        for answer in answers:
            writing.note_answer(db, pair_hashes(Statement(answer)))
    with store._collection.catalog.reading() as db:
        (kept,) = db.execute("SELECT count(*) FROM memory_answers").fetchall()[0]
    assert kept == ANSWERS_KEPT
    assert store.add(answers[0], source="agent").outcome == "added"
    assert store.add(answers[-1], source="agent").outcome == "refused"
    assert not any(b"kestrel7 " in path.read_bytes() for path in store._collection.folder.glob("catalog*"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return load_embedder(cache_dir=tmp_path_factory.mktemp("models"))


def test_with_the_built_in_model_the_gate_judges_as_with_words(tmp_path: Path, model: Embedder) -> None:
    """Contradictions and duplicates as people write them, with the cosines they really have."""
    with MemoryStore(tmp_path / "memory", embedder=model) as store:
        outcomes = [
            store.add(text).outcome
            for text in (
                "Anna lives in Berlin.",
                "anna lives in berlin",
                "Please note: Anna lives in Berlin.",
            )
        ]
        assert outcomes == ["added", "refreshed", "refreshed"]
        assert len(store.add("Anna now lives in Munich.").superseded) == 1
        for one, other in (*CONTRADICTIONS[1:], *NO_CONTRADICTIONS[1:5]):
            store.add(one)
            assert bool(store.add(other).superseded) == ((one, other) in CONTRADICTIONS), other
