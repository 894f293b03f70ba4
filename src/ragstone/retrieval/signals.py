"""What the texts of the best candidates say beyond BM25: do the query's words stand together, and in order?

Positions are counted in analysed terms. All candidates are looked at in one pass over flat arrays: a position of
text `i` is its index in the text plus `i` times a stride longer than any text, so no window spans two texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat

import numpy as np
import numpy.typing as npt

from ragstone.types import Expansion

Scores = npt.NDArray[np.float32]  # (n,)
Positions = npt.NDArray[np.int64]

# 16 terms: about a sentence; better than 32 and 64 on the development sets (LAB, "What hybrid search is made of").
WINDOW_TERMS = 16
# 3: two neighbours of the query may stand up to two words apart in the text; 1 is .0005 worse.
PAIR_DISTANCE = 3


@dataclass(frozen=True, slots=True)
class TextSignals:
    """All (n,) in [0, 1], by idf. `coverage`: the share of the query's words inside the best window of the
    text. `order`: the share of its neighbouring pairs that the text has near each other in the same order.
    `similarity`: late interaction (`late_interaction.similarity`); None where the model gives no token vectors."""

    coverage: Scores
    order: Scores
    similarity: Scores | None = None


def text_signals(texts: Sequence[Sequence[str]], *, words: Sequence[str], idf: Scores) -> TextSignals:
    """Signals of analysed `texts` for the analysed `words` of a query with their `idf` (n,)."""
    numbers: dict[str, int] = {}
    for word in words:
        numbers.setdefault(word, len(numbers))
    weights = np.zeros(len(numbers))
    weights[[numbers[word] for word in words]] = idf
    stride = max(map(len, texts), default=0) + WINDOW_TERMS + PAIR_DISTANCE
    positions = _positions(texts, numbers, stride)
    return TextSignals(
        coverage=_coverage(positions, weights, len(texts), stride),
        order=_order(positions, [numbers[word] for word in words], weights, len(texts), stride),
    )


def with_expansions(
    found: TextSignals,
    texts: Sequence[Sequence[str]],
    *,
    words: Sequence[str],
    idf: Scores,
    expansions: Sequence[Expansion],
) -> TextSignals:
    """The signals `found` in texts, raised where more is found once what may stand for the query's words does."""
    read = [_rewritten(text, expansions) for text in texts]
    if all(now is before for now, before in zip(read, texts, strict=True)):
        return found
    widened = text_signals(read, words=words, idf=idf)
    weight = max(expansion.weight for expansion in expansions)
    return TextSignals(
        found.coverage + weight * np.maximum(0, widened.coverage - found.coverage),
        found.order + weight * np.maximum(0, widened.order - found.order),
    )


def _rewritten(text: Sequence[str], expansions: Sequence[Expansion]) -> Sequence[str]:
    """A text with the query's terms in place of what may stand for them; the same object where nothing does."""
    for expansion in expansions:
        first, length = expansion.added_terms[0], len(expansion.added_terms)
        if first not in text:
            continue
        places = [
            at
            for at, term in enumerate(text)
            if term == first and tuple(text[at : at + length]) == expansion.added_terms
        ]
        for at in reversed(places):
            text = [*text[:at], *expansion.terms, *text[at + length :]]
    return text


def _positions(texts: Sequence[Sequence[str]], numbers: dict[str, int], stride: int) -> list[Positions]:
    """Per distinct query word its ascending positions in all texts."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    words = chain.from_iterable(texts)
    terms = np.fromiter(map(numbers.get, words, repeat(-1)), dtype=np.int64, count=lengths.sum())
    before = np.cumsum(lengths) - lengths  # words in the texts before each
    places = np.arange(len(terms)) + np.repeat(np.arange(len(texts)) * stride - before, lengths)
    places, terms = places[terms >= 0], terms[terms >= 0]
    return [places[terms == number] for number in range(len(numbers))]


def _coverage(
    positions: list[Positions], weights: npt.NDArray[np.float64], count: int, stride: int
) -> Scores:
    best = np.zeros(count)
    total = weights.sum()
    if total > 0:
        # The best window starts at an occurrence: for each, which words occur before its window ends?
        starts = np.sort(np.concatenate(positions))
        covered = np.zeros(starts.size)
        for weight, places in zip(weights, positions, strict=True):
            if places.size:
                covered += weight * (_next(places, starts) < starts + WINDOW_TERMS)
        np.maximum.at(best, starts // stride, covered / total)
    return best.astype(np.float32)


def _order(
    positions: list[Positions], words: list[int], weights: npt.NDArray[np.float64], count: int, stride: int
) -> Scores:
    shares = np.zeros(count)
    pairs = {(a, b) for a, b in pairwise(words) if a != b}
    total = sum(weights[a] + weights[b] for a, b in pairs)
    for a, b in pairs:
        if positions[a].size and positions[b].size:
            near = _next(positions[b], positions[a] + 1) <= positions[a] + PAIR_DISTANCE
            has_pair = np.zeros(count, bool)
            has_pair[positions[a][near] // stride] = True
            shares[has_pair] += (weights[a] + weights[b]) / total
    return shares.astype(np.float32)


def _next(places: Positions, starts: Positions) -> Positions:
    """The first of the ascending `places` at or after each of `starts`; far beyond everything if none."""
    at = np.searchsorted(places, starts)
    return np.where(at < places.size, places[np.minimum(at, places.size - 1)], np.iinfo(np.int64).max)
