"""Word coverage and word order against loops that try every window and every pair."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragstone.retrieval.signals import PAIR_DISTANCE, WINDOW_TERMS, text_signals

WORD = st.sampled_from("abcdefgxyz")


def slow_coverage(text: list[str], weights: dict[str, float]) -> float:
    windows = [text[i : i + WINDOW_TERMS] for i in range(len(text))]
    return max(
        (sum(weights[w] for w in set(window) & set(weights)) for window in windows), default=0.0
    ) / sum(weights.values())


def slow_order(text: list[str], words: list[str], weights: dict[str, float]) -> float:
    pairs = {(a, b) for a, b in pairwise(words) if a != b}
    near = {
        (text[i], text[j])
        for i in range(len(text))
        for j in range(i + 1, min(i + PAIR_DISTANCE + 1, len(text)))
    }
    total = sum(weights[a] + weights[b] for a, b in pairs)
    return sum(weights[a] + weights[b] for a, b in pairs & near) / total if pairs else 0.0


@given(
    texts=st.lists(st.lists(WORD, max_size=60), max_size=6),
    words=st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=8),
)
def test_signals_equal_the_obvious_loops(texts: list[list[str]], words: list[str]) -> None:
    weights = {word: 0.5 + (ord(word) - 97) / 3 for word in words}
    idf = np.array([weights[word] for word in words], np.float32)
    signals = text_signals(texts, words=words, idf=idf)
    np.testing.assert_allclose(signals.coverage, [slow_coverage(t, weights) for t in texts], rtol=1e-5)
    np.testing.assert_allclose(signals.order, [slow_order(t, words, weights) for t in texts], rtol=1e-5)


def test_words_that_stand_together_cover_more_than_scattered_ones() -> None:
    near, far = ["a", "b", *"x" * 40], ["a", *"x" * 40, "b"]
    signals = text_signals([near, far], words=["a", "b"], idf=np.ones(2, np.float32))
    assert signals.coverage.tolist() == [1.0, 0.5]
    assert signals.order.tolist() == [1.0, 0.0]


def test_no_texts_and_no_known_words_are_no_signal() -> None:
    assert text_signals([], words=["a"], idf=np.ones(1, np.float32)).coverage.size == 0
    signals = text_signals([["x"], []], words=["a", "b"], idf=np.zeros(2, np.float32))
    assert signals.coverage.tolist() == signals.order.tolist() == [0.0, 0.0]
