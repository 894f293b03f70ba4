"""Late interaction by signs, against the same sum written out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.retrieval.late_interaction import similarity, token_weights
from ragstone.types import QueryTokens, Scores, TokenSigns


def signs(random: np.random.Generator, count: int) -> TokenSigns:
    return random.integers(0, 2**64, (count, 3), dtype=np.uint64)


def agreement(a: TokenSigns, b: TokenSigns) -> float:
    equal = sum(
        bin(int(x) >> bit & 1) == bin(int(y) >> bit & 1)
        for x, y in zip(a, b, strict=True)
        for bit in range(64)
    )
    return (equal - (192 - equal)) / 192


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    weights=st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=1, max_size=4),
)
def test_each_token_is_compared_with_the_most_alike_one_of_each_text(
    seed: int, lengths: list[int], weights: list[float]
) -> None:
    random = np.random.default_rng(seed)
    query = signs(random, len(weights))
    texts = [signs(random, length) for length in lengths]
    for text in texts:  # something to find
        if len(text) > 1:
            text[0] = query[0]
    found = similarity(
        QueryTokens(query, [(0, 1)] * len(weights)),
        np.array(weights, np.float32),
        [text.astype("<u8").tobytes() for text in texts],
    )
    total = sum(weights)
    if not total or not any(lengths):
        assert not found.any()
        return
    wanted = [
        max(
            0.0,
            sum(w * max(agreement(q, t) for t in text) for w, q in zip(weights, query, strict=True)) / total,
        )
        if len(text)
        else None
        for text in texts
    ]
    known = [score for score in wanted if score is not None]
    mean = sum(known) / len(known)  # nothing is known of the others: neither a gain nor a loss
    np.testing.assert_allclose(found, [mean if s is None else s for s in wanted], atol=1e-6)


def test_a_word_counts_by_its_idf_shared_among_its_tokens() -> None:
    def idf(words: Sequence[str]) -> Scores:
        return np.array([{"the": 0.0, "rotorblades": 6.0, "stall": 2.0}[word] for word in words], np.float32)

    query = "the rotorblades, stall?"
    spans = [(0, 3), (4, 9), (9, 12), (12, 15), (15, 16), (17, 22), (22, 23)]
    assert token_weights(query, spans, idf).tolist() == [0, 2, 2, 2, 0, 2, 0]


@pytest.mark.parametrize("query", ["", "?!", "…"])
def test_a_query_without_words_weighs_nothing(query: str) -> None:
    spans = [(i, i + 1) for i in range(len(query))]
    assert not token_weights(query, spans, lambda words: np.ones(len(words), np.float32)).any()
