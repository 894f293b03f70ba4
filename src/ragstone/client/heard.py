"""What a stream has said so far."""

from __future__ import annotations

from ragstone.client.steps import AnswerSource, StreamEvent
from ragstone.types import Answer, AnswerDone, AnswerToken, Hit


class Heard:
    """`sources` as they came, `text` as it was streamed, and the checked `answer` once it is there, else None."""

    def __init__(self) -> None:
        self.sources: list[Hit] = []
        self.text = ""
        self.answer: Answer | None = None

    def take(self, event: StreamEvent) -> StreamEvent:
        """Note an event and hand it on."""
        match event:
            case AnswerSource(hit=hit):
                self.sources.append(hit)
            case AnswerToken(text=text):
                self.text += text
            case AnswerDone(answer=answer):
                self.answer = answer
        return event
