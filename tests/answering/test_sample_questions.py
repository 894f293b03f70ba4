"""The questions of the sample documents' README, answered without a chat model, by the real engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragstone import Ragstone, Settings
from ragstone.types import Answer

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "sample-docs"
# The documented fact of each question, as a pattern: what a reader must find in the answer.
FACTS = {
    "Who founded the Varrow Line?": r"Agnes Tull founded.*14 May 1931",
    "How many shares can a member hold?": r"exactly one share",
    "What does the alarm at 58 degrees mean on the Orra Light?": r"stop the motor.*water mist",
    "How long does charging the Orra Light take?": r"38 minutes",
    "How many crossings were cancelled in 2025?": r"\b316\b",
    "Which yard builds the new electric ferry, and for how much?": r"Halvorsen.*9\.4 million",
    "How much diesel does the company burn in a year?": r"2\.1 million litres",
    "How much money is budgeted for fuel in 2026?": r"Fuel.*pounds 2026: 1184000",
    "When is the café at Wick Mill closed?": r"closed on Mondays",
    "Why did the bow ramp of the Kittiwake get stuck?": r"sheared|rusted",
    "Who owns the cello that was found on the ferry?": r"Noor Haddad",
    "How long was the captain's longest night at sea?": r"seventeen hours",
    "Where is smoking allowed?": r"aft outer deck",
    "What is the single fare for a car from Hollin to Sandwick?": r"Sandwick; ticket: car.*single_pounds: 48\.00",
    "Which radio channel is for distress?": r"channel: 16; use: distress",
    "When does the last boat leave Skell?": r"16:10",
    "Is my ticket still valid if the crossing is cancelled?": r"60 days",
    "What tide does the Kittiwake need at Orra Quay?": r"0\.9 m",
    "How far apart must two ships be at one berth?": r"\b12\b",
    "What is the extension of the dispatcher?": r"Dispatcher.*extension: 150",
    "When was the magnetron of the radar replaced?": r"2026-03-30.*Magnetron",
    "Where is the Kittiwake on 21 April?": r"dry dock in Leith",
    "How old is the oldest puffin?": r"at least 38 years",
    "How high is the lighthouse?": r"31 metres",
    "How many life-jackets for infants are on the Agnes Tull?": r"Agnes Tull: .*12 for infants",
    "How much haddock goes into the chowder?": r"4 kg smoked haddock",
    "Wie viele Fahrräder passen auf die Kittiwake?": r"Kittiwake\* für acht",
    "Warum wird auf den Decks kein Salz gestreut?": r"Salz frisst die Rampenlager",
    "几岁以下的儿童免费?": r"五岁以下",
    "岛上有多少对海鹦?": r"六千二百对",
}
UNANSWERED = (
    "How much does a helicopter to Skell cost?",
    "Who won the football world cup in 2018?",
    "What is the capital of Mongolia?",
)
# 28 of 33: what the acceptance of extractive answers asks for.
RIGHT_MIN = 28


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Answer, bool]]]:
    """The answer to each question, and whether all its quotes stand in their documents word for word."""
    with Ragstone(tmp_path_factory.mktemp("data"), settings=Settings()) as engine:
        engine.index([SAMPLES])
        given: dict[str, tuple[Answer, bool]] = {}
        for question in (*FACTS, *UNANSWERED):
            answer = engine.ask(question)
            verbatim = all(engine.document(c.uri)[1][c.start : c.end] == c.quote for c in answer.citations)
            given[question] = answer, verbatim
        yield given


def test_the_questions_asked_here_are_those_of_the_readme() -> None:
    readme = (SAMPLES / "README.md").read_text()
    rows = re.findall(r"^\| (.+?) \| .+? \| `.+$", readme, re.MULTILINE)
    assert rows == list(FACTS)
    assert re.findall(r"^- (.+\?)$", readme, re.MULTILINE) == list(UNANSWERED)


def test_most_questions_get_the_documented_fact_and_those_without_one_are_refused(
    answers: dict[str, tuple[Answer, bool]],
) -> None:
    wrong = [
        f"{question} -> {answers[question][0].text}"
        for question, fact in FACTS.items()
        if not re.search(fact, answers[question][0].text)
    ]
    wrong += [
        f"{question} -> {answers[question][0].text}"
        for question in UNANSWERED
        if answers[question][0].grounded
    ]
    assert len(answers) - len(wrong) >= RIGHT_MIN, "\n".join(wrong)


def test_every_quote_stands_in_its_document(answers: dict[str, tuple[Answer, bool]]) -> None:
    assert [question for question, (_, verbatim) in answers.items() if not verbatim] == []


def test_front_matter_and_the_heads_of_mails_are_not_quoted(answers: dict[str, tuple[Answer, bool]]) -> None:
    quotes = [c.quote for answer, _ in answers.values() for c in answer.citations]
    assert [quote for quote in quotes if re.match(r"---|title: |Subject: |From: ", quote)] == []
