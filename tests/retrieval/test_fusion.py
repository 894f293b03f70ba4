"""Scores of several sources as one: ranges, missing vectors, diffusion against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.retrieval.fusion import DIFFUSION, NEIGHBOURS, diffused, fuse, with_signals, words_weight
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


def test_words_that_count_less_take_only_their_own_share_of_a_score() -> None:
    np.testing.assert_allclose(
        fuse(array(5, 0), array(0.5, 0.25), bm25_bound=10, words=0.5), [0.5 * 0.3 + 0.2, 0.1], rtol=1e-6
    )


def cosines(drop: float, *, count: int = 100) -> np.typing.NDArray[np.float32]:
    """(count,) best first: the best 1, the tenth `drop` below, the median and all after it 0."""
    falling = np.full(count, 1 - drop)
    falling[0] = 1
    falling[10:] = 0
    return falling.astype(np.float32)


@pytest.mark.parametrize(
    ("known", "drop", "expected"),
    [
        (1.0, 0.9, 1.0),  # the question's words are known
        (0.75, 0.9, 1.0),
        (0.0, 0.4, 1.0),  # nothing stands out: names are the best there is
        (0.0, 0.6, 0.0),
        (0.375, 0.9, 0.125),  # half of what is enough, to the third power
        (0.375, 0.5, 0.5625),  # half decided: midway between that and 1
    ],
)
def test_words_count_less_where_few_are_known_and_the_vector_decides(
    known: float, drop: float, expected: float
) -> None:
    assert words_weight(known, cosines(drop)) == pytest.approx(expected, abs=1e-5)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_words_never_count_more_for_knowing_fewer(drop: float, one: float, other: float) -> None:
    fewer, more = (words_weight(known, cosines(drop)) for known in sorted((one, other)))
    assert 0 <= fewer <= more <= 1


def test_a_small_collection_is_not_judged_by_the_words_it_knows() -> None:
    assert words_weight(0.0, cosines(0.9, count=99)) == 1
    assert words_weight(0.0, cosines(0.9)) == 0
    assert words_weight(0.0, np.zeros(100, np.float32)) == 1  # all alike: nothing decides


def test_what_words_count_does_not_depend_on_a_models_scale_or_on_how_many_are_asked_for() -> None:
    weight = words_weight(0.4, cosines(0.5))
    assert 0.2 < weight < 0.9
    assert words_weight(0.4, 0.7 + 0.1 * cosines(0.5)) == pytest.approx(weight, abs=1e-4)
    assert words_weight(0.4, np.append(cosines(0.5), np.full(300, -1, np.float32))) == weight


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
