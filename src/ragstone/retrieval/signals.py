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
    places = _places(texts, numbers)
    return TextSignals(
        coverage=_coverage(places, weights, len(texts)),
        order=_order(places, [numbers[word] for word in words], weights, len(texts)),
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


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the query's words stand in all texts, by distinct word and then by position.

    `keys` (occurrences + 1,): the position plus the word's number times `span`, ascending, the last one beyond all.
    The occurrences of word `i` are those from `bounds[i]` to before `bounds[i + 1]`.
    """

    keys: Positions
    bounds: Positions
    span: int
    stride: int

    @property
    def of_all(self) -> Positions:
        """The position of each occurrence."""
        return self.keys[:-1] % self.span

    def next_within(self, word: Positions, position: Positions, distance: int) -> npt.NDArray[np.bool_]:
        """Whether a word stands at a position or less than `distance` after it; the arguments are broadcast."""
        wanted = word * self.span + position
        found: npt.NDArray[np.bool_] = self.keys[np.searchsorted(self.keys, wanted)] < wanted + distance
        return found


def _places(texts: Sequence[Sequence[str]], numbers: dict[str, int]) -> _Places:
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    terms = np.fromiter(
        map(numbers.get, chain.from_iterable(texts), repeat(-1)), dtype=np.int64, count=lengths.sum()
    )
    stride = int(lengths.max(initial=0)) + WINDOW_TERMS + PAIR_DISTANCE
    span = stride * len(texts) + 1
    (known,) = np.nonzero(terms >= 0)
    before = np.cumsum(lengths) - lengths  # words in the texts before each
    text = np.searchsorted(before, known, side="right") - 1
    keys = np.sort(terms[known] * span + text * stride + known - before[text])
    bounds = np.searchsorted(keys, np.arange(len(numbers) + 1) * span)
    return _Places(np.append(keys, np.iinfo(np.int64).max), bounds, span, stride)


def _coverage(places: _Places, weights: npt.NDArray[np.float64], count: int) -> Scores:
    best = np.zeros(count)
    total = weights.sum()
    if total > 0:
        # The best window starts at an occurrence: for each, which words occur before its window ends?
        starts = places.of_all
        inside = places.next_within(np.arange(len(weights))[:, None], starts, WINDOW_TERMS)
        np.maximum.at(best, starts // places.stride, (weights[:, None] * inside).sum(axis=0) / total)
    return best.astype(np.float32)


def _order(places: _Places, words: list[int], weights: npt.NDArray[np.float64], count: int) -> Scores:
    pairs = np.array([pair for pair in dict.fromkeys(pairwise(words)) if pair[0] != pair[1]], np.int64)
    first, second = pairs.reshape(-1, 2).T
    worth = weights[first] + weights[second]
    if not worth.sum() > 0:
        return np.zeros(count, np.float32)
    # Each occurrence of a pair's first word: is the second one of the next few?
    occurrences = places.bounds[first + 1] - places.bounds[first]
    pair = np.repeat(np.arange(len(pairs)), occurrences)
    at = np.arange(len(pair)) + np.repeat(
        places.bounds[first] - (np.cumsum(occurrences) - occurrences), occurrences
    )
    starts = places.of_all[at]
    near = places.next_within(second[pair], starts + 1, PAIR_DISTANCE)
    has_pair = np.zeros((len(pairs), count), bool)
    has_pair[pair[near], starts[near] // places.stride] = True
    shares: Scores = (worth[:, None] / worth.sum() * has_pair).sum(axis=0).astype(np.float32)
    return shares
