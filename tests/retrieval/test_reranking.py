"""How a judgement moves scores, for any scores and judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.retrieval.reranking import Reranking, rerank

SCORES = st.dictionaries(st.integers(1, 1000), st.floats(0, 1, width=32), min_size=2, max_size=40)


def hashed(id_: int) -> float:
    """A judgement that has nothing to do with the score."""
    return (id_ * 7919) % 101 / 10 - 5


def judged_by(judgements: Mapping[int, float]) -> Reranking:
    return Reranking(lambda ids: {id_: judgements[id_] for id_ in ids if id_ in judgements}, depth=3)


@given(SCORES, st.integers(2, 50))
def test_those_not_judged_stay_where_they_are_and_below_those_judged(
    scores: dict[int, float], depth: int
) -> None:
    seen: list[int] = []

    def judge(ids: Sequence[int]) -> dict[int, float]:
        seen.extend(ids)
        return {id_: hashed(id_) for id_ in ids}

    found = rerank(scores, Reranking(judge, depth))
    assert len(seen) == min(depth, len(scores))
    assert min(scores[id_] for id_ in seen) >= max(
        (scores[id_] for id_ in scores if id_ not in seen), default=0
    )
    lowest = min(scores[id_] for id_ in seen)
    for id_, score in found.scores.items():
        if id_ in seen:
            assert lowest - 1e-6 <= score <= max(scores.values()) + 1e-6
        else:
            assert score == scores[id_]
    assert found.judged == {id_: hashed(id_) for id_ in seen}


@given(SCORES, st.floats(0.01, 100), st.floats(-100, 100))
def test_the_scale_of_a_judge_does_not_matter(scores: dict[int, float], factor: float, shift: float) -> None:
    plain = rerank(scores, Reranking(lambda ids: {id_: hashed(id_) for id_ in ids}, 10))
    other = rerank(scores, Reranking(lambda ids: {id_: hashed(id_) * factor + shift for id_ in ids}, 10))
    assert other.scores == pytest.approx(plain.scores, abs=1e-6)


def test_a_judgement_decides_among_chunks_that_scored_nearly_alike() -> None:
    scores = {1: 0.9, 2: 0.89, 3: 0.5, 4: 0.4}
    found = rerank(scores, judged_by({1: -3.0, 2: 4.0, 3: -3.0, 4: 100.0})).scores
    assert sorted(found, key=lambda id_: -found[id_]) == [2, 1, 3, 4]


def test_equal_judgements_and_none_move_nothing() -> None:
    scores = {1: 0.9, 2: 0.8}
    assert rerank(scores, judged_by({1: 2.0, 2: 2.0})).scores == scores
    assert rerank(scores, judged_by({})).scores == scores
    assert rerank({1: 0.9}, judged_by({1: 2.0})).judged == {}
    assert rerank({}, judged_by({})).scores == {}


def test_a_chunk_deleted_meanwhile_keeps_its_score() -> None:
    found = rerank({1: 0.9, 2: 0.8, 3: 0.7}, judged_by({1: 0.0, 3: 1.0}))
    assert found.scores[2] == 0.8
    assert found.scores[3] > found.scores[1] - 1e-9
