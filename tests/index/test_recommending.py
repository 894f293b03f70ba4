"""Which plan is recommended for which size, memory and recall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.index.plans import INDEX_TYPES, plan_from_json
from ragstone.index.recommending import recommend


@pytest.mark.parametrize(
    ("count", "dim", "index_type"),
    [
        (0, 384, "Flat,FP16"),
        (10_000, 384, "Flat,FP16"),
        (10_001, 384, "PQ,FastScan"),
        (30_000, 1024, "PQ,FastScan"),
        (200_000, 384, "PQ,FastScan"),
        (200_001, 384, "IVF,PQ,FastScan"),
        (2_000_000, 384, "IVF,PQ,FastScan"),
        (2_000_001, 384, "IVF,SQ8"),
        (50_000, 383, "HNSW,SQ8"),  # 383 is prime: there are no codes to split it into
    ],
)
def test_the_size_decides_where_memory_does_not(count: int, dim: int, index_type: str) -> None:
    assert recommend(count, dim).plan.index_type == index_type


@pytest.mark.parametrize(
    ("memory_mb", "index_type"),
    [(700, "IVF,PQ,FastScan"), (130, "IVF,PQ,FastScan"), (100, "PQ,FastScan")],
)
def test_a_million_vectors_get_the_quickest_plan_that_fits_the_memory(
    memory_mb: float, index_type: str
) -> None:
    found = recommend(1_000_000, 384, memory_mb)
    assert found.plan.index_type == index_type
    assert found.memory_bytes <= memory_mb * 1e6
    assert ("over the" in found.reasons[0]) == (index_type != "IVF,PQ,FastScan")


def test_a_budget_that_nothing_fits_gets_the_smallest_plan_and_is_told_so() -> None:
    found = recommend(1_000_000, 384, 50)
    assert found.plan.index_type == "PQ,FastScan"
    assert found.reasons[0] == "no plan that reaches recall 0.95 fits 50 MB; this is the smallest"


def test_perfect_recall_is_an_exact_scan() -> None:
    assert recommend(1_000_000, 384, recall=1.0).plan.index_type == "Flat,FP16"


@given(
    count=st.integers(0, 10_000_000),
    dim=st.integers(1, 2048),
    memory_mb=st.none() | st.floats(0.001, 10_000),
    recall=st.floats(0.5, 1.0),
)
def test_whatever_is_asked_the_plan_can_be_built_and_is_explained(
    count: int, dim: int, memory_mb: float | None, recall: float
) -> None:
    found = recommend(count, dim, memory_mb, recall)
    assert found.plan.index_type in INDEX_TYPES
    assert plan_from_json(found.plan.to_json(), dim=dim) == found.plan
    assert len(found.reasons) >= 3
    assert found.memory_bytes >= 0 and found.build_s >= 0 and found.latency_ms >= 0


@pytest.mark.parametrize(
    ("count", "dim", "memory_mb", "recall"),
    [(-1, 384, None, 0.9), (10, 0, None, 0.9), (10, 384, 0, 0.9), (10, 384, None, 0), (10, 384, None, 1.1)],
)
def test_what_cannot_be_is_refused(count: int, dim: int, memory_mb: float | None, recall: float) -> None:
    with pytest.raises(InputError):
        recommend(count, dim, memory_mb, recall)
