"""Batches: every text in exactly one, within the limits, longest first; pooling ignores padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.embedding.batches import Pooling, pad, plan_batches, pool


@given(st.lists(st.integers(1, 300)), st.integers(1, 9), st.integers(1, 600))
def test_every_text_is_in_one_batch_within_the_limits(
    lengths: list[int], max_texts: int, max_tokens: int
) -> None:
    batches = plan_batches(lengths, max_texts=max_texts, max_padded_tokens=max_tokens)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[position] for position in batch)
        assert len(batch) == 1 or (len(batch) <= max_texts and padded <= max_tokens)
    in_order = [lengths[position] for batch in batches for position in batch]
    assert in_order == sorted(lengths, reverse=True)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_pooling_does_not_see_the_padding(pooling: Pooling, lengths: list[int]) -> None:
    random = np.random.default_rng(sum(lengths))
    ids, mask = pad([np.arange(1, length + 1) for length in lengths], 0)
    vectors = random.normal(size=(*ids.shape, 3)).astype(np.float32)
    pooled = pool(vectors, mask, pooling)
    for row, length in enumerate(lengths):
        alone = vectors[row, :length]
        expected = {"mean": alone.mean(axis=0), "cls": alone[0], "last": alone[-1]}[pooling]
        np.testing.assert_allclose(pooled[row], expected, atol=1e-5)
