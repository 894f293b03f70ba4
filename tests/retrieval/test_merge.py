"""Merging lists of hits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragstone.retrieval.merge import merge

Lists = list[list[tuple[int, float]]]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=8), max_size=4), st.integers(0, 20))
def test_merging_is_a_stable_sort_of_everything(scores: list[list[float]], top_k: int) -> None:
    lists: Lists = [
        [(number, score) for score in sorted(row, reverse=True)] for number, row in enumerate(scores)
    ]
    everything = [item for row in lists for item in row]
    expected = sorted(everything, key=lambda item: -item[1])[:top_k]
    assert merge(lists, top_k=top_k, score=lambda item: item[1]) == expected
