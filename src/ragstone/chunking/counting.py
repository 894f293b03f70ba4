"""What text costs in tokens: counted in bounded batches, measured inside long blocks. Knows no structure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Protocol

# A stretch costs at least one token of budget per this many characters, so that padding, and words that a
# tokenizer maps to one unknown token, cannot make chunks of any size. Prose has 4–5 characters per token;
# the most padded tables of the Python documentation have 11.
MAX_CHARS_PER_TOKEN = 16

# A tokenizer holds some 100 bytes per token while it counts; 1 MB of text at once stays below 50 MB of memory.
BATCH_CHARS = 1_000_000


class TokenCounter(Protocol):
    """The part of an `Embedder` that the chunker needs."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as the model would see it as a document, special tokens included."""

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token of `text`, ascending, special tokens left out, never cut off."""


def count_in_batches(tokens: TokenCounter, texts: Sequence[str]) -> list[int]:
    """`tokens.count_tokens(texts)`, in calls of at most `BATCH_CHARS` characters (or one text)."""
    counts: list[int] = []
    first = size = 0
    for index, text in enumerate(texts):
        if size + len(text) > BATCH_CHARS and index > first:
            counts += tokens.count_tokens(texts[first:index])
            first, size = index, 0
        size += len(text)
    return counts + tokens.count_tokens(texts[first:]) if first < len(texts) else counts


class Ruler:
    """Measures stretches of one long block in tokens, after tokenising it once.

    A stretch costs the number of marks that end in it: the ends of its tokens, and for a token of more
    than `MAX_CHARS_PER_TOKEN` characters one more mark per that many.
    """

    def __init__(self, spans: Sequence[tuple[int, int]], offset: int) -> None:
        """`spans` of the tokens, relative to `offset`, ascending (equal or empty spans allowed)."""
        self.marks: list[int] = []
        for start, end in spans:
            if end - start > MAX_CHARS_PER_TOKEN:
                self.marks.extend(
                    range(offset + start + MAX_CHARS_PER_TOKEN, offset + end, MAX_CHARS_PER_TOKEN)
                )
            self.marks.append(offset + end)

    def cost(self, start: int, end: int) -> int:
        """Tokens of budget that `start:end` takes, ≥ 1."""
        tokens = bisect_right(self.marks, end) - bisect_right(self.marks, start)
        return stretch_cost(tokens, end - start)

    def cuts(self, start: int, end: int, parts: int) -> list[int]:
        """Positions strictly inside `start:end` that divide it into about `parts` equal parts, at marks."""
        first, last = bisect_right(self.marks, start), bisect_left(self.marks, end)
        inside = self.marks[first:last]
        if len(inside) < parts - 1:
            step = max(1, (end - start) // parts)
            return list(range(start + step, end, step))
        return [inside[len(inside) * n // parts] for n in range(1, parts)]


def stretch_cost(tokens: int, chars: int) -> int:
    """Tokens of budget for a stretch: its tokens, but at least one per `MAX_CHARS_PER_TOKEN` characters."""
    return max(tokens, -(-chars // MAX_CHARS_PER_TOKEN), 1)
