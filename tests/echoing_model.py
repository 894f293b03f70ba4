"""A chat model that says back what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ragstone.answering.chat_model import ChatDelta, Message


class Echoing:
    """Says the end of the last message, with a citation of the first source."""

    @property
    def name(self) -> str:
        return "<b onclick=alert(1)>echo</b>"

    def stream(
        self,
        messages: Sequence[Message],
        *,
        timeout_s: float,
        max_tokens: int,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[ChatDelta]:
        yield ChatDelta(text=messages[-1].content[-600:])
        yield ChatDelta(text=" [1]\n\n- [2](javascript:alert(1))\n")
