"""What the bot says, without Discord: an answer as a text that grows, with its sources, within a message's limits."""

from __future__ import annotations

import re
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ragstone import AsyncClient
from ragstone.client.errors import ClientError, ServiceError
from ragstone.types import Answer, AnswerDone, AnswerToken, Turn

MESSAGE_CHARACTERS = 2000  # Discord's limit
EDIT_S = 1.2  # Discord takes five edits in five seconds
QUESTIONS_PER_MINUTE = 6  # of one person
REMEMBERED_TURNS = 6  # of one channel
REMEMBERED = 1000  # channels, and people

T = TypeVar("T")
Show = Callable[[str], Awaitable[None]]  # put this text in place of the message so far


class Answers:
    """Answers questions by a service; remembers the last turns of each channel."""

    def __init__(self, client: AsyncClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._turns: OrderedDict[int, deque[Turn]] = OrderedDict()
        self._asked: OrderedDict[int, deque[float]] = OrderedDict()

    async def answer(self, question: str, show: Show, *, channel: int, person: int) -> None:
        """Show an answer as it grows, at most one edit in `EDIT_S` seconds, and at last the whole with its sources."""
        if not self._may_ask(person):
            await show(f"That was {QUESTIONS_PER_MINUTE} questions in a minute; please wait a little.")
            return
        turns = _slot(self._turns, channel, REMEMBERED_TURNS)
        text, shown_s = "", self._clock()
        try:
            async with self._client.ask_stream(question, history=list(turns)) as stream:
                async for event in stream:
                    if isinstance(event, AnswerToken):
                        text += event.text
                        if self._clock() - shown_s >= EDIT_S:
                            shown_s = self._clock()
                            await show(fitted(harmless(text) + " …"))
                    elif isinstance(event, AnswerDone):
                        turns += [Turn("user", question), Turn("assistant", event.answer.text)]
                        await show(message(event.answer))
        except ServiceError as error:
            await show(refusal(error))
        except ClientError:
            await show(
                "The answer broke off. Please ask again." if text else "The search does not answer now."
            )

    def _may_ask(self, person: int) -> bool:
        asked = _slot(self._asked, person, QUESTIONS_PER_MINUTE)
        now_s = self._clock()
        if len(asked) == QUESTIONS_PER_MINUTE and now_s - asked[0] < 60:
            return False
        asked.append(now_s)
        return True


def message(answer: Answer) -> str:
    """The whole answer; its sources stand below it, also when the text has to be cut."""
    lines = []
    for citation in answer.citations:
        page = f", page {citation.page}" if citation.page is not None else ""
        lines.append(f"-# [{citation.n}] {harmless(citation.title)[:80]}{page}")
    sources = "\n".join(lines)[: MESSAGE_CHARACTERS // 2]
    return fitted(harmless(answer.text), keep=f"\n{sources}" if sources else "")


def fitted(text: str, *, keep: str = "") -> str:
    """`text` and `keep` within one message; what does not fit of the text is cut."""
    room = MESSAGE_CHARACTERS - len(keep)
    return (text if len(text) <= room else text[: room - 2] + " …") + keep


def harmless(text: str) -> str:
    """Text from documents that calls nobody and formats nothing: mentions and Markdown lose their effect."""
    return re.sub(r"([\\*_~`|<>#])", r"\\\1", text).replace("@", "@\u200b")


def refusal(error: ServiceError) -> str:
    """What went wrong, for people; nothing of the inside."""
    if error.status in {429, 503}:
        seconds = f" in {error.retry_after_s:.0f} s" if error.retry_after_s else " a little later"
        return f"Many people are asking. Please try again{seconds}."
    if error.status == 422:
        return "That question cannot be asked: it is empty or too long."
    return "The search cannot answer now. Whoever runs it finds more in its log" + (
        f" under {error.request_id}." if error.request_id else "."
    )


def _slot(kept: OrderedDict[int, deque[T]], key: int, length: int) -> deque[T]:
    """What is remembered under a key; the one that was not used for longest gives way."""
    found = kept.setdefault(key, deque(maxlen=length))
    kept.move_to_end(key)
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
    return found
