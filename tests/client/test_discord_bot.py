"""The Discord bot's logic, over the Python client and a real service; a list stands for the message that is edited."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from client.scripted import ScriptedServer, refusal, stream
from client.test_faults import DONE
from ragstone import AsyncClient
from server.live import LiveService

sys.path.append(str(Path(__file__).parents[2] / "examples" / "discord_bot"))
from discord_answers import MESSAGE_CHARACTERS, QUESTIONS_PER_MINUTE, Answers, fitted, harmless

QUESTION = "Who finished the third lighthouse?"


def asked(
    url: str, *questions: str, clock: Callable[[], float] = lambda: 0.0, person: int = 1, retries: int = 0
) -> list[str]:
    """What the message said, one state after the other."""
    shown: list[str] = []

    async def show(text: str) -> None:
        assert 0 < len(text) <= MESSAGE_CHARACTERS
        shown.append(text)

    async def run() -> None:
        answers = Answers(AsyncClient(url, retries=retries), clock=clock)
        for question in questions:
            await answers.answer(question, show, channel=1, person=person)

    asyncio.run(run())
    return shown


def test_it_answers_with_its_sources_below(service: LiveService) -> None:
    (said,) = asked(service.url, QUESTION)
    assert "Smeaton" in said
    assert said.splitlines()[-1].startswith("-# [")
    assert "Eddystone Lighthouse" in said


def test_the_message_grows_no_oftener_than_discord_takes(scripted: ScriptedServer) -> None:
    ticks = iter(range(100))
    tokens = [("token", {"text": f"{n} "}) for n in range(6)]
    scripted.plays(stream(*tokens, ("done", DONE)))
    shown = asked(scripted.url, "x", clock=lambda: next(ticks) * 0.5)
    assert shown[-1] == "So."
    assert shown[0].endswith(" …")
    assert 1 < len(shown) < 1 + len(tokens)


def test_a_conversation_goes_on_in_its_channel(scripted: ScriptedServer) -> None:
    scripted.plays(stream(("token", {"text": "So."}), ("done", DONE)))
    asked(scripted.url, "first?", "second?")
    assert b"history" not in scripted.requests[0]
    assert (
        b'"history": [{"role": "user", "text": "first?"}, {"role": "assistant", "text": "So."}]'
        in scripted.requests[1]
    )


def test_one_person_cannot_ask_without_end(scripted: ScriptedServer) -> None:
    scripted.plays(stream(("done", DONE)))
    shown = asked(scripted.url, *["x"] * (QUESTIONS_PER_MINUTE + 1))
    assert len(scripted.requests) == QUESTIONS_PER_MINUTE
    assert "wait" in shown[-1]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (refusal(429, retry_after="9"), "Please try again in 9 s."),
        (refusal(503), "a little later"),
        (refusal(422), "empty or too long"),
        (refusal(500), "under r-1."),
        (b"", "does not answer now"),
        (stream(("token", {"text": "Because"})), "broke off"),
    ],
)
def test_what_goes_wrong_is_said_to_people(scripted: ScriptedServer, script: bytes, said: str) -> None:
    scripted.plays(script)
    shown = asked(scripted.url, "x")
    assert said in shown[-1]
    assert "Not now" not in shown[-1]  # the service's own words stay inside


def test_text_of_documents_calls_nobody_and_formats_nothing(service: LiveService) -> None:
    assert harmless("@everyone **a** `b` <@1>") == "@\u200beveryone \\*\\*a\\*\\* \\`b\\` \\<@\u200b1\\>"
    (said,) = asked(service.url, "How long are the arms of the kraken?")
    assert "<b>" not in said


def test_long_answers_are_cut_and_keep_their_sources() -> None:
    said = fitted("x" * 5000, keep="\n[1] source")
    assert len(said) == MESSAGE_CHARACTERS
    assert said.endswith(" …\n[1] source")
