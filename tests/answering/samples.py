"""Small real things for the tests of answering: hits, an embedder of words, a scripted chat model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ragstone.answering.chat_model import ChatDelta, Message
from ragstone.errors import ModelError
from ragstone.types import Hit, Matrix, Usage, Vector

LIGHTHOUSE = (
    "The lighthouse on Skerry Point was built in 1888 by the engineer Anna Berg. "
    "It is 41 metres tall and its lamp is seen for 19 nautical miles. "
    "Keepers lived there until 1973, when the lamp was automated. "
    "Visitors may climb the 204 steps on Sundays."
)
FERRY = (
    "The ferry Solveig crosses the sound four times a day. A return ticket costs 12 euros. "
    "Dogs travel free of charge. In January the ferry is overhauled in the Varde shipyard."
)


def hit(
    text: str,
    *,
    n: int = 1,
    start: int = 0,
    title: str = "Notes",
    uri: str = "",
    page: int | None = None,
    sources: Mapping[str, float] | None = None,
) -> Hit:
    """A hit as hybrid search gives it; on the subject unless `sources` says otherwise."""
    return Hit(
        id=n,
        uri=uri or f"/docs/{n}.md",
        title=title,
        text=text,
        score=0.8,
        start=start,
        end=start + len(text),
        page=page,
        time_s=None,
        headings=(),
        sources={"dense": 0.7, "keyword": 12.0} if sources is None else sources,
        metadata={},
        collection="default",
    )


class WordEmbedder:
    """Unit vectors of hashed words: texts with the same words are near. A small real `Embedder`."""

    model_id = "words"
    dim = 512
    max_tokens = 256

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(self.token_spans(text)) + 2 for text in texts]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [m.span() for m in re.finditer(r"\w{1,6}|[^\w\s]", text)]

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vector:
        vector = np.full(self.dim, 1e-3, np.float32)
        for word in re.findall(r"\w{3,}", text.lower()):
            vector[zlib.crc32(word.encode()) % self.dim] += 1
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    def close(self) -> None:
        pass


class ScriptedModel:
    """A chat model that says given pieces; an exception among them is raised. Records what it was told."""

    name = "scripted"

    def __init__(
        self, *pieces: str | Exception, reply: Callable[[Sequence[Message]], str] | None = None
    ) -> None:
        self.pieces = pieces
        self.reply = reply
        self.prompts: list[Sequence[Message]] = []
        self.closed = 0

    def stream(
        self,
        messages: Sequence[Message],
        *,
        timeout_s: float,
        max_tokens: int,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[ChatDelta]:
        self.prompts.append(messages)
        try:
            for piece in (self.reply(messages),) if self.reply else self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield ChatDelta(piece)
            yield ChatDelta(usage=Usage(100, 7))
        finally:
            self.closed += 1


def down() -> ModelError:
    return ModelError("cannot reach the model server at http://127.0.0.1:1", code="model_unreachable")
