"""Answers without a chat model: short, verbatim, cited."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import FERRY, LIGHTHOUSE, WordEmbedder, hit

from ragstone.answering.extractive import SENTENCES_MAX, WORDS_MAX, extract, is_statement
from ragstone.answering.passages import score_sentences
from ragstone.answering.terms import AnswerKind, analyse_question, holds_kind
from ragstone.types import Citation, Hit


def answer(question: str, hits: list[Hit]) -> tuple[str, tuple[Citation, ...]]:
    return extract(hits, score_sentences(analyse_question(question), hits, embedder=WordEmbedder()))


def test_the_sentence_that_answers_comes_with_its_number() -> None:
    text, citations = answer(
        "What does a return ticket cost?", [hit(LIGHTHOUSE, n=1), hit(FERRY, n=2, start=50)]
    )
    assert "A return ticket costs 12 euros." in text
    quoted = next(c for c in citations if "12 euros" in c.quote)
    assert (quoted.n, quoted.uri) == (2, "/docs/2.md")
    assert "[2]" in text
    assert FERRY[quoted.start - 50 : quoted.end - 50] == quoted.quote


def test_line_breaks_of_the_document_stay_in_the_quote_and_leave_the_text() -> None:
    text, (citation,) = answer("Who keeps bees?", [hit("Anna keeps\nbees on the\nisland.")])
    assert citation.quote == "Anna keeps\nbees on the\nisland."
    assert text == "Anna keeps bees on the island. [1]"


def test_a_sentence_said_twice_is_quoted_once() -> None:
    text, citations = answer("Who keeps bees?", [hit("Anna keeps bees.", n=1), hit("Anna keeps bees.", n=2)])
    assert text == "Anna keeps bees. [1]"
    assert len(citations) == 1


def test_a_sentence_longer_than_an_answer_is_cut_to_fit() -> None:
    long = "The bees " + "fly and " * 100 + "rest."
    text, (citation,) = answer("Do the bees fly?", [hit(long)])
    assert len(text.split()) == WORDS_MAX  # the citation's number counted
    assert long.startswith(citation.quote)
    assert text.endswith("[1]")


def test_chinese_sentences_are_found_and_quoted() -> None:
    text, citations = answer("灯塔什么时候建成？", [hit("灯塔建成于1888年。岛上有三只猫。", title="岛")])
    assert text.startswith("灯塔建成于1888年。")
    assert citations[0].start == 0


def test_when_asks_for_a_time_and_how_many_for_a_number() -> None:
    when = analyse_question("When was the tower of 1888 opened?")
    assert when.kind is AnswerKind.TIME
    assert holds_kind(when.kind, "It opened in May 1890.", when.terms)
    assert not holds_kind(when.kind, "The tower of 1888 opened.", when.terms)
    many = analyse_question("Wie viele Stufen hat der Turm?")
    assert many.kind is AnswerKind.NUMBER
    assert holds_kind(many.kind, "Er hat zwölf Stufen, also 12.", many.terms)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(alphabet="ab .!?\n。猫", max_size=300), min_size=1, max_size=4), st.integers(0, 99))
def test_every_quote_is_verbatim_and_the_answer_is_short(texts: list[str], start: int) -> None:
    hits = [hit(text, n=i + 1, start=start) for i, text in enumerate(texts)]
    text, citations = answer("ab ba 猫 aab?", hits)
    assert len(citations) <= SENTENCES_MAX
    assert sum(len(c.quote.split()) for c in citations) <= WORDS_MAX
    for citation in citations:
        source = hits[citation.n - 1]
        assert source.text[citation.start - source.start : citation.end - source.start] == citation.quote
        assert citation.quote.strip() == citation.quote != ""
        assert f"[{citation.n}]" in text


@pytest.mark.parametrize(
    "quote",
    [
        "# Tides and boats",
        "How high is the tide?",
        "From: Ruth <ruth@example.org>\nTo: all",
        "---\ntitle: Tides\n---",
    ],
)
def test_headings_questions_and_headers_are_not_statements(quote: str) -> None:
    assert not is_statement(quote)


@pytest.mark.parametrize(
    "quote", ["The tide is 3 m.", "- 12 boats", "item: Fuel; pounds: 12", "# Tides\n\nHigh at six."]
)
def test_sentences_rows_and_items_are_statements(quote: str) -> None:
    assert is_statement(quote)
