"""Scores of several sources as one: ranges, missing vectors, diffusion against the formula written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragstone.retrieval.fusion import DIFFUSION, NEIGHBOURS, diffused, fuse, with_signals
from ragstone.retrieval.signals import TextSignals
from ragstone.types import Matrix

UNIT = st.floats(0, 1, width=32)


def array(*values: float) -> np.typing.NDArray[np.float32]:
    return np.array(values, np.float32)


@given(
    st.lists(st.tuples(st.floats(0, 40, width=32), st.floats(-1, 1, width=32)), max_size=20),
    st.one_of(st.just(0.0), st.floats(1e-3, 30)),
)
def test_fused_scores_lie_in_0_to_1(pairs: list[tuple[float, float]], bound: float) -> None:
    scores = fuse(array(*(p[0] for p in pairs)), array(*(p[1] for p in pairs)), bm25_bound=bound)
    assert scores.shape == (len(pairs),)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_fusion_is_the_weighted_sum_of_both_scores() -> None:
    np.testing.assert_allclose(
        fuse(array(5, 0), array(0.5, 0.25), bm25_bound=10), [0.6 * 0.5 + 0.4 * 0.5, 0.1], rtol=1e-6
    )


def test_a_missing_vector_counts_as_the_mean_of_the_others() -> None:
    np.testing.assert_allclose(
        fuse(array(0, 0, 0), array(0.2, np.nan, 0.6), bm25_bound=1)[1], 0.16, rtol=1e-6
    )
    np.testing.assert_allclose(fuse(array(1, 2), array(np.nan, np.nan), bm25_bound=4), [0.15, 0.3], rtol=1e-6)


@given(st.lists(st.tuples(UNIT, UNIT, UNIT), min_size=1, max_size=10))
def test_signals_never_lower_a_score_below_that_of_one_without_them(
    rows: list[tuple[float, float, float]],
) -> None:
    fused, coverage, order = (array(*column) for column in zip(*rows, strict=True))
    without = with_signals(fused, TextSignals(fused * 0, fused * 0))
    scores = with_signals(fused, TextSignals(coverage, order))
    assert ((scores >= without) & (scores <= 1)).all()


def slow_diffused(scores: list[float], vectors: Matrix) -> list[float]:
    result = []
    for i, own in enumerate(scores):
        cosines = sorted(
            ((float(vectors[i] @ vectors[j]), s) for j, s in enumerate(scores) if j != i), reverse=True
        )
        weights = [
            (max(cosine, 0.0) ** 2 * DIFFUSION / NEIGHBOURS, score) for cosine, score in cosines[:NEIGHBOURS]
        ]
        result.append(own + sum(weight * (score - own) for weight, score in weights))
    return result


@given(st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_diffusion_follows_its_formula_and_stays_in_range(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = random.random(count).astype(np.float32)
    drawn = diffused(scores, vectors)
    np.testing.assert_allclose(drawn, slow_diffused(scores.tolist(), vectors), rtol=1e-3, atol=1e-5)
    if count:
        assert drawn.min() >= scores.min() - 1e-6
        assert drawn.max() <= scores.max() + 1e-6


def test_a_candidate_without_a_vector_keeps_its_score_and_lends_none() -> None:
    vectors = np.array([[1, 0], [1, 0], [np.nan, np.nan]], np.float32)
    scores = diffused(array(0.9, 0.5, 0.1), vectors)
    assert scores[2] == np.float32(0.1)
    np.testing.assert_allclose(scores[:2], [0.9 - 0.16 * 0.4, 0.5 + 0.16 * 0.4], rtol=1e-5)
