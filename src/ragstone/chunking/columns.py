"""The chunks of a document, held as numbers.

A document of 45 MB has 200,000 chunks. As objects they would be walked at every collection of garbage while it is
being cut, with everybody else waiting; as columns they are a few arrays, and texts are cut out as they are asked for.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import overload

from ragstone.chunking.context import Context
from ragstone.types import Chunk

_NUMBERS = 5  # of each chunk: start, end, tokens, page (0: none), and which headings


class Chunks(Sequence[Chunk]):
    """Chunks of one text, in the order in which they are appended. Each access makes a new, equal `Chunk`: 2 µs."""

    def __init__(self, text: str, contexts: Mapping[tuple[str, ...], Context]) -> None:
        """`contexts` has what goes above a chunk, by its path of headings."""
        self._text = text
        self._contexts = contexts
        self._paths = list(contexts)
        self._number_of = {path: number for number, path in enumerate(self._paths)}
        self._numbers = array("q")
        self._times_s = array("d")  # NaN: none

    def append(
        self,
        start: int,
        end: int,
        *,
        headings: tuple[str, ...],
        page: int | None,
        time_s: float | None,
        tokens: int,
    ) -> None:
        """Add `text[start:end]`, which has `tokens` with its context."""
        self._numbers.extend((start, end, tokens, page or 0, self._number_of[headings]))
        self._times_s.append(math.nan if time_s is None else time_s)

    def __len__(self) -> int:
        return len(self._times_s)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Chunk]: ...

    def __getitem__(self, index: int | slice) -> Chunk | Sequence[Chunk]:
        if isinstance(index, slice):
            return [self._chunk(number) for number in range(len(self))[index]]
        return self._chunk(range(len(self))[index])

    def _chunk(self, number: int) -> Chunk:
        at = number * _NUMBERS
        start, end, tokens, page, path = self._numbers[at : at + _NUMBERS]
        time_s = self._times_s[number]
        headings = self._paths[path]
        return Chunk(
            start=start,
            end=end,
            headings=headings,
            page=page or None,
            time_s=None if math.isnan(time_s) else time_s,
            tokens=tokens,
            embedding_text=self._contexts[headings].above(self._text[start:end]),
        )

    def __repr__(self) -> str:
        return f"<{len(self)} chunks of {len(self._text):,} characters>"
