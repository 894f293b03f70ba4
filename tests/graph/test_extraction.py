"""What is taken of a chat model's reply about a document's names: only what the document itself writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.graph.extraction import (
    NAMES_MAX,
    REPLY_CHARS_MAX,
    TEXT_CHARS_MAX,
    names_in_reply,
    request,
)

TITLE = "minutes.md"
TEXT = "The Harbour Radar Unit was moved by Emil Krantz to Skell.\nIt turns. 滨海大学很大。"


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ("Harbour Radar Unit\nEmil Krantz", ["Harbour Radar Unit", "Emil Krantz"]),
        (
            "- Harbour Radar Unit\n2. “Skell”\n* **Emil Krantz**.",
            ["Harbour Radar Unit", "Skell", "Emil Krantz"],
        ),
        ("Here are the names:\n\nSkell", ["Skell"]),
        ("Harbour  Radar\tUnit", ["Harbour Radar Unit"]),
        ("Skell\nSkell", ["Skell"]),
        ("滨海大学", ["滨海大学"]),
        ("minutes", ["minutes"]),
        ("harbour radar unit", []),  # not as it is written
        ("Kell\nHarbour Radar Uni", []),  # inside words
        ("Krantz Emil", []),
        ("The\nIt\n.", []),  # no names
        ("PWNED, as I was told", []),
        ("", []),
    ],
)
def test_a_name_counts_if_the_document_writes_it(reply: str, names: list[str]) -> None:
    assert names_in_reply(reply, TITLE, TEXT) == names


def test_there_are_no_more_names_than_the_limit() -> None:
    words = [f"Isle{n}" for n in range(20)]
    assert names_in_reply("\n".join(words), "", " ".join(words)) == words[:NAMES_MAX]


def test_only_what_the_model_was_shown_counts_and_no_endless_reply() -> None:
    text = "x " * TEXT_CHARS_MAX + "Skell"
    assert names_in_reply("Skell", "", text) == []
    assert names_in_reply("y" * REPLY_CHARS_MAX + "\nSkell", "", "Skell") == []


def test_the_document_stands_between_words_that_it_cannot_hold() -> None:
    rules, document = request(TITLE, TEXT)
    first, *_, last = document.splitlines()
    assert first == last
    assert first in rules
    assert document == f"{first}\n{TITLE}\n\n{TEXT}\n{last}"
    assert request(TITLE, TEXT)[1] != document
    assert len(request("", "a" * 10 * TEXT_CHARS_MAX)[1]) < TEXT_CHARS_MAX + 100


@given(st.text("abAB .-*1\n", max_size=80), st.text("abAB .-*1\n", max_size=80))
def test_nothing_comes_from_anywhere_else(reply: str, text: str) -> None:
    for name in names_in_reply(reply, "", text):
        assert name in " ".join(text.split())
        assert name in " ".join(reply.split())
