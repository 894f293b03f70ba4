"""Fit hits into a token budget: best first, repeated text left out, the last one cut instead of dropped.

Knows hits and a way to count tokens, nothing of prompts or models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ragstone.answering.terms import shingles
from ragstone.types import Hit

CountTokens = Callable[[str], int]

# Share of a hit's word triples already packed from which it is a repetition: two chunks of one text that
# overlap in half still add the other half; boilerplate variants (dates, names changed) share more than this.
REPEATED_SHARE = 0.8
# A cut source below this says too little to be cited.
TOKENS_MIN = 24


def pack(
    hits: Sequence[Hit], *, budget: int, count_tokens: CountTokens, overhead: Callable[[Hit], str]
) -> tuple[Hit, ...]:
    """Hits, best first, whose texts with their `overhead` (heading lines, markers) fit into `budget` tokens.

    A hit whose text is already packed, wholly or nearly, is left out; overlapping stretches of one document
    are trimmed to what is new. The first hit that does not fit is cut at a word; `text`, `start` and `end`
    still agree with the document. `count_tokens` must not fall when text is appended.
    """
    packed: list[Hit] = []
    seen: set[int] = set()
    left = budget
    for hit in hits:
        fresh = _without_overlap(hit, packed)
        if fresh is None:
            continue
        marks = shingles(fresh.text)
        if marks and len(marks & seen) >= REPEATED_SHARE * len(marks):
            continue
        fitted = _fit(fresh, left, count_tokens, overhead)
        if fitted is None:
            break
        packed.append(fitted)
        seen |= marks
        left -= count_tokens(overhead(fitted) + fitted.text)
        if fitted.end < fresh.end:
            break
    return tuple(packed)


def cut(hit: Hit, start: int, end: int) -> Hit:
    """The hit narrowed to document characters `[start, end)`, white space at both ends left out."""
    text = hit.text[start - hit.start : end - hit.start]
    lead = len(text) - len(text.lstrip())
    text = text.strip()
    return replace(hit, text=text, start=start + lead, end=start + lead + len(text))


def _without_overlap(hit: Hit, packed: Sequence[Hit]) -> Hit | None:
    """What of `hit` no packed hit of the same document covers (one stretch), None if nothing is left."""
    start, end = hit.start, hit.end
    for other in packed:
        if other.uri != hit.uri or other.collection != hit.collection:
            continue
        if other.start <= start < other.end:
            start = min(other.end, end)
        if other.start < end <= other.end:
            end = max(other.start, start)
    if (start, end) == (hit.start, hit.end):
        return hit if hit.text.strip() else None
    rest = cut(hit, start, end)
    return rest if rest.text else None


def _fit(hit: Hit, budget: int, count_tokens: CountTokens, overhead: Callable[[Hit], str]) -> Hit | None:
    """`hit`, cut at a word if it must be; None if less than `TOKENS_MIN` of it would fit."""
    lead = overhead(hit)
    if count_tokens(lead + hit.text) <= budget:
        return hit
    if count_tokens(lead) + TOKENS_MIN > budget:
        return None
    low, high = 0, len(hit.text)  # longest prefix that fits, by bisection
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(lead + hit.text[:middle]) <= budget:
            low = middle
        else:
            high = middle - 1
    space = max(hit.text.rfind(mark, 0, low + 1) for mark in " \n\t")
    end = space if space > low // 2 else low  # text without spaces is cut between characters
    shorter = cut(hit, hit.start, hit.start + end)
    return shorter if shorter.text else None
