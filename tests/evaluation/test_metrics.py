"""Metrics against numbers worked out by hand and against a slow independent computation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.evaluation.metrics import ndcg, recall, reciprocal_rank


def test_ndcg_of_a_graded_ranking_worked_out_by_hand() -> None:
    grades = {"a": 3, "b": 2, "c": 1}
    # gains 2, 0, 3 at ranks 1 to 3: 2/1 + 0 + 3/2 = 3.5; ideal 3 + 2/log2(3) + 1/2 = 4.76186
    assert ndcg(["b", "x", "a"], grades, k=10) == pytest.approx(3.5 / 4.761859507)
    assert ndcg(["a", "b", "c"], grades, k=10) == 1.0
    assert ndcg(["x", "y"], grades, k=10) == 0.0
    assert ndcg(["x", "x2", "a"], grades, k=2) == 0.0
    # k = 1: the ideal is cut at k as well
    assert ndcg(["b"], grades, k=1) == pytest.approx(2 / 3)


def test_recall_counts_relevant_documents_that_are_not_in_the_corpus() -> None:
    grades = {"a": 1, "b": 1, "gone": 1, "judged irrelevant": 0}
    assert recall(["a", "x", "b"], grades, k=2) == pytest.approx(1 / 3)
    assert recall(["a", "x", "b"], grades, k=3) == pytest.approx(2 / 3)


def test_reciprocal_rank_is_that_of_the_first_relevant_document() -> None:
    assert reciprocal_rank(["x", "y", "a", "b"], {"a": 1, "b": 4}, k=10) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x", "y", "a"], {"a": 1}, k=2) == 0.0
    assert reciprocal_rank(["x"], {"x": 0}, k=10) == 0.0


DOCUMENTS = st.sampled_from("abcdefgh")


@given(
    ranking=st.lists(DOCUMENTS, unique=True),
    grades=st.dictionaries(DOCUMENTS, st.integers(0, 4)),
    k=st.integers(1, 10),
)
def test_metrics_equal_their_definitions(ranking: list[str], grades: dict[str, int], k: int) -> None:
    def dcg(order: list[str]) -> float:
        total = 0.0
        for position in range(min(k, len(order))):
            total += grades.get(order[position], 0) / (math.log(position + 2) / math.log(2))
        return total

    ideal = dcg(sorted(grades, key=lambda d: -grades[d]))
    assert ndcg(ranking, grades, k=k) == pytest.approx(dcg(ranking) / ideal if ideal else 0.0)
    relevant = [d for d in grades if grades[d] > 0]
    found = [d for d in relevant if d in ranking and ranking.index(d) < k]
    assert recall(ranking, grades, k=k) == pytest.approx(len(found) / len(relevant) if relevant else 0.0)
    first = min((ranking.index(d) for d in found), default=None)
    assert reciprocal_rank(ranking, grades, k=k) == pytest.approx(0.0 if first is None else 1 / (first + 1))
