"""Names in titles, texts and queries."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.graph.names import (
    NAME_WORDS_MAX,
    QUERY_WORDS_MAX,
    chosen,
    name_key,
    names_of,
    places_in_query,
    places_in_text,
)

TITLES = [
    ("Rush (band)", ("rush band", "rush")),
    ("The Beatles", ("beatles",)),
    ("A Hard Day's Night", ("hard day night",)),
    ("Leland, North Carolina", ("leland north carolina", "leland")),
    ("heat transfer, a review of methods", ("heat transfer a review of methods",)),
    ("Kerry Saxby-Junna", ("kerry saxby junna",)),
    ("useEffect", ("useeffect",)),
    ("Straße der Nationen", ("strasse der nationen",)),
    ("北京大学", ("北 京 大 学",)),
    ("Mu\N{COMBINING DIAERESIS}nchen", ("münchen",)),
    ("It", ()),
    ("2012", ()),
    ("", ()),
    ("(", ()),
    ("One two three four five six seven eight nine", ()),
]
TEXTS = [
    ("He drummed for the band Rush in St. Louis.", {"rush", "st louis"}),
    ("They saw Rush's show. Louis left.", {"rush"}),
    ("In a rush he left saint louis.", set()),  # in texts a name has capitals
    ("Then came The Bridge on the River Kwai.", {"bridge on the river kwai"}),
    ("We crossed the Bridge. On the River Kwai nothing moved.", set()),  # a sentence ends inside
    ("We crossed the Bridge\non the River Kwai.", set()),
    ("Ein Haus in der Straße der Nationen.", {"strasse der nationen"}),
    ("他毕业于北京大学。", {"北 京 大 学"}),
    ("The `useEffect` hook runs later.", {"useeffect"}),
    ("Kerry Saxby‑Junna walked.", {"kerry saxby junna"}),  # a hyphen that does not break
]
KNOWN = {
    "rush",
    "st louis",
    "louis",
    "bridge on the river kwai",
    "strasse der nationen",
    "北 京 大 学",
    "京 大",
    "useeffect",
    "kerry saxby junna",
} - {"louis"}


@pytest.mark.parametrize(("title", "names"), TITLES)
def test_a_title_gives_its_names(title: str, names: tuple[str, ...]) -> None:
    assert names_of(title) == names


@pytest.mark.parametrize(("text", "names"), TEXTS)
def test_a_text_names_documents_where_it_writes_names(text: str, names: set[str]) -> None:
    assert {place.name for place in chosen(places_in_text(text), KNOWN)} == names


def test_a_query_names_documents_without_capitals() -> None:
    places = chosen(places_in_query("who played in rush before the bridge on the river kwai"), KNOWN)
    assert [place.name for place in places] == ["rush", "bridge on the river kwai"]


def test_the_longest_name_is_taken_and_each_once() -> None:
    text = "New York University is in New York, New York."
    known = {"new york", "new york university", "york"}
    found = chosen(places_in_text(text), known)
    assert [text[place.start : place.end] for place in found] == ["New York University", "New York"]


WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=40)


@given(title=WORDS)
def test_a_query_that_is_a_title_names_its_document(title: str) -> None:
    names = names_of(title)
    found = {place.name for place in chosen(places_in_query(title), set(names))}
    assert bool(found) == bool(names)


@given(text=WORDS)
def test_a_place_is_called_by_what_is_written_there(text: str) -> None:
    for place in places_in_text(text):
        assert names_of(text[place.start : place.end])[:1] == (place.name,)


def test_long_and_hostile_texts_cost_no_more_than_their_limits() -> None:
    started_s = time.perf_counter()
    for text in ("A" * 10**6, "A " * 10**6, "( " * 10**6, "A'" * 10**6, "\n" * 10**6, "京" * 10**6):
        names_of(text)
        places_in_text(text)
        assert len(places_in_query(text)) <= QUERY_WORDS_MAX * NAME_WORDS_MAX
    assert time.perf_counter() - started_s < 5  # each takes milliseconds; quadratic time would take minutes


def test_what_is_stored_of_a_name_stays_what_it_is() -> None:
    """Stored in catalogs: if this fails, `NAMES_VERSION` has to be raised."""
    assert [name_key(name) for name in ("rush", "北 京 大 学")] == KEYS
    assert -(2**63) <= min(KEYS) <= max(KEYS) < 2**63


KEYS = [3324324843555530065, 7293300904855137601]
