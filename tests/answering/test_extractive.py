"""Answers without a chat model: short, verbatim, cited."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import FERRY, LIGHTHOUSE, WordEmbedder, hit

from ragstone.answering.extractive import PASSAGES_MAX, WORDS_MAX, extract
from ragstone.answering.kinds import AnswerKind, asked_kind
from ragstone.answering.passages import score_passages
from ragstone.answering.terms import analyse_question, holds_kind
from ragstone.types import Citation, Hit


def answer(question: str, hits: list[Hit]) -> tuple[str, tuple[Citation, ...]]:
    return extract(hits, score_passages(analyse_question(question), hits, embedder=WordEmbedder()))


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


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When does it open?", AnswerKind.TIME),
        ("Wann öffnet es?", AnswerKind.TIME),
        ("灯塔什么时候建成？", AnswerKind.TIME),
        ("Who keeps bees?", AnswerKind.PERSON),
        ("Wo steht der Turm?", AnswerKind.PLACE),
        ("What does a car cost?", AnswerKind.NUMBER),
        ("岛上有多少只猫？", AnswerKind.NUMBER),
        ("Warum fährt sie nicht?", AnswerKind.REASON),
        ("Is it open?", AnswerKind.OTHER),
    ],
)
def test_question_words_of_three_languages_say_what_is_asked_for(question: str, kind: AnswerKind) -> None:
    assert asked_kind(question) is kind


@pytest.mark.parametrize(
    ("kind", "passage"),
    [
        (AnswerKind.TIME, "It is closed on Mondays."),
        (AnswerKind.TIME, "The last boat leaves at 16:10."),
        (AnswerKind.TIME, "date: 2026-03-30; work: Magnetron replaced"),
        (AnswerKind.NUMBER, "We stayed outside for seventeen hours."),
        (AnswerKind.NUMBER, "六千二百对"),
        (AnswerKind.REASON, "Gestreut wird nicht, denn Salz frisst das Lager."),
    ],
)
def test_expressions_of_time_number_and_reason_are_known(kind: AnswerKind, passage: str) -> None:
    assert holds_kind(kind, passage, {})


FARES = """route | ticket | single
route: Hollin – Sandwick; ticket: adult; single: 14.80
route: Hollin – Sandwick; ticket: car; single: 48.00
route: Hollin – Orra Quay; ticket: car; single: 31.00"""
WINDS = """## Wind limits

| Ship | Mean wind | Gusts |
|---|--:|--:|
| Agnes Tull | 48 | 62 |
| Kittiwake | 40 | 52 |"""


def test_the_row_that_answers_is_quoted_and_no_other() -> None:
    text, (citation,) = answer("What does a car from Hollin to Sandwick cost?", [hit(FARES, title="fares")])
    assert text == "route: Hollin – Sandwick; ticket: car; single: 48.00 [1]"
    assert FARES[citation.start : citation.end] == citation.quote


def test_a_value_in_a_table_stands_behind_its_columns_name_and_both_are_cited() -> None:
    text, (header, row) = answer("What gusts may the Kittiwake sail in?", [hit(WINDS, start=70)])
    assert text == "Ship: Kittiwake; Mean wind: 40; Gusts: 52 [1]"
    assert (header.quote, row.quote) == ("| Ship | Mean wind | Gusts |", "| Kittiwake | 40 | 52 |")
    assert {header.n, row.n} == {1}
    assert [WINDS[c.start - 70 : c.end - 70] for c in (header, row)] == [header.quote, row.quote]


def test_a_line_of_a_form_does_not_answer_for_its_title_alone() -> None:
    form = hit(
        "Built: 1994\nCars: 12\n\nThe ramp of the ship got stuck in May.", title="The ramp of the Kittiwake"
    )
    assert answer("Why did the ramp of the Kittiwake get stuck?", [form])[0].startswith(
        "The ramp of the ship"
    )
    assert answer("How many cars fit on the Kittiwake?", [form])[0].startswith("Cars: 12 [1]")


def test_a_record_comes_with_the_field_that_names_it() -> None:
    roster = (
        "name: Agnes Tull\n\nday: Monday; captain: Ines\nday: Saturday; captain: Joan\n\nname: Kittiwake\n\n"
    )
    roster += "day: Monday; captain: Per\nday: Saturday; captain: Mo"
    text, citations = answer("Who is captain of the Kittiwake on Saturday?", [hit(roster)])
    assert text.startswith("name: Kittiwake; day: Saturday; captain: Mo [1]")
    assert [c.quote for c in citations[:2]] == ["name: Kittiwake", "day: Saturday; captain: Mo"]


def test_of_a_long_record_the_name_and_what_is_asked_for_are_quoted() -> None:
    record = "name: Jonah Prill; " + "; ".join(f"note {n}: two words" for n in range(20)) + "; extension: 150"
    text, citations = answer("What is the extension of Jonah?", [hit(record)])
    assert text == "name: Jonah Prill; extension: 150 [1]"
    assert [c.quote for c in citations] == ["name: Jonah Prill", "extension: 150"]


def test_the_question_in_a_document_is_shown_with_its_answer() -> None:
    faq = "Can I bring my dog?\n\nYes. On a lead.\n\nIs there food?\n\nThere is soup until eight."
    text, citations = answer("May I bring a dog?", [hit(faq)])
    assert text == "Can I bring my dog? Yes. On a lead. [1]"
    assert [c.quote for c in citations] == ["Can I bring my dog?\n\nYes. On a lead."]


def test_a_heading_stands_before_its_sentence_where_it_has_words_of_the_question() -> None:
    report = "8 November: bow ramp\n\nA pin sheared.\n\n9 November: tea\n\nThe kettle broke."
    text, (citation,) = answer("Why was the bow ramp stuck?", [hit(report)])
    assert text == "8 November: bow ramp: A pin sheared. [1]"
    assert citation.quote == "8 November: bow ramp\n\nA pin sheared."


def test_a_year_that_a_document_does_not_know_counts_against_it() -> None:
    rule = hit("A crossing is cancelled after 120 minutes. It counts as a cancelled crossing.", n=1)
    report = hit("Of 900 crossings 31 were lost.", n=2, title="Report 2025")
    assert answer("How many crossings were lost in 2025?", [rule, report])[0].startswith("Of 900 crossings")
    asked = analyse_question("How many crossings were lost in 2025?")
    assert asked.numbers_missing({"cross", "2025"}) == 0.0
    assert asked.numbers_missing({"cross"}) == 1.0
    assert analyse_question("How many crossings were lost?").numbers_missing(set()) == 0.0


def test_a_sentence_about_the_one_before_it_follows_it() -> None:
    text, _ = answer(
        "Who owns the cello that was found?", [hit("A cello was found. It belongs to Noor. Tea is hot.")]
    )
    assert text == "A cello was found. It belongs to Noor. [1]"


def test_the_author_in_the_front_matter_answers_only_who_asks_for_it() -> None:
    notes = hit("---\nauthor: Elspeth\ndate: 2025-09-30\n---\n\n# Birds\n\nThe birds of Skell nest in May.")
    text, _ = answer("Who is the author of the notes on birds?", [notes])
    assert text.startswith("author: Elspeth [1]")
    assert "Elspeth" not in answer("When do the birds nest?", [notes])[0]


def test_who_sent_a_mail_and_when_stand_in_its_head() -> None:
    assert answer("Who sent the mail about the cello?", [hit(MAIL)])[0].startswith("From: Ruth")
    assert answer("When was the mail about the cello sent?", [hit(MAIL)])[0].startswith("Date: Tue, 3 Feb")


def test_a_date_in_figures_is_found_by_the_name_of_its_month() -> None:
    log = "date: 2026-02-11; work: Kettle replaced\ndate: 2026-03-15; work: Sensor cleaned"
    assert answer("What was done on 15 March 2026?", [hit(log)])[0].startswith("date: 2026-03-15")
    assert answer("Was geschah im März 2026?", [hit(log)])[0].startswith("date: 2026-03-15")


MAIL = """From: Ruth <ruth@example.org>
Subject: The found cello
Date: Tue, 3 Feb 2026

Dear all,

the cello stands in my office.

Ruth Adeyemi
Harbour master"""


def test_the_head_of_a_mail_a_salutation_and_a_signature_are_no_answers() -> None:
    assert answer("Where is the cello?", [hit(MAIL)])[0] == "the cello stands in my office. [1]"


def test_labels_are_quoted_where_there_is_nothing_else() -> None:
    assert answer("Birds of Skell", [hit("Birds\n\nof Skell")])[0].endswith("[1]")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(alphabet="ab .!?\n。猫#|:;-=", max_size=300), min_size=1, max_size=4), st.integers(0, 99)
)
def test_every_quote_is_verbatim_and_the_answer_is_short(texts: list[str], start: int) -> None:
    hits = [hit(text, n=i + 1, start=start) for i, text in enumerate(texts)]
    text, citations = answer("ab ba 猫 aab?", hits)
    assert len(citations) <= 2 * PASSAGES_MAX  # itself and what heads it
    assert sum(len(c.quote.split()) for c in citations) <= WORDS_MAX
    for citation in citations:
        source = hits[citation.n - 1]
        assert source.text[citation.start - source.start : citation.end - source.start] == citation.quote
        assert citation.quote.strip() == citation.quote != ""
        assert f"[{citation.n}]" in text
