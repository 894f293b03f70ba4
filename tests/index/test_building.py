"""Every plan becomes a FAISS index that finds what comparing all finds, the same each time."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from ragstone.index.building import build_index, search_parameters, takes_selector
from ragstone.index.plans import INDEX_TYPES, Effort, Metric, Plan, default_effort, efforts, knob, make_plan
from ragstone.index.synthetic import clustered_vectors

DIM = 32
ROWS = clustered_vectors(2_100, DIM)
QUERIES, VECTORS = ROWS[:50], ROWS[50:]


def small_plan(index_type: str) -> Plan:
    """A plan that is built in under a second."""
    given = {"nlist": 32} if "IVF" in index_type else {"ef_construction": 40} if "HNSW" in index_type else {}
    if index_type == "OPQ+HNSW":
        given |= {"n_subquantizers": 4, "m_pq": 5}
    return make_plan(index_type, dim=DIM, **given)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    faiss.omp_set_num_threads(1)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("index_type", INDEX_TYPES)
def test_an_index_finds_the_nearest_among_its_candidates(index_type: str, metric: Metric) -> None:
    plan = small_plan(index_type)
    index = build_index(plan, VECTORS, metric=metric)
    assert index.is_trained and index.ntotal == len(VECTORS) and index.d == DIM
    truth = np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :10]  # unit vectors: the same for all metrics
    dearest = efforts(plan, top_k=10, count=len(VECTORS))[-1]
    _, rows = index.search(
        QUERIES, max(10, dearest.candidates), params=search_parameters(plan, dearest, None)
    )
    assert np.mean([np.isin(true, found).mean() for true, found in zip(truth, rows, strict=True)]) >= 0.98


@pytest.mark.parametrize("index_type", INDEX_TYPES)
def test_building_twice_gives_the_same_index_also_from_halves(index_type: str) -> None:
    plan = small_plan(index_type)
    halves = VECTORS[:1_000].astype(np.float16)
    one, two, three = (
        build_index(plan, rows, metric="l2") for rows in (halves, halves, halves.astype(np.float32))
    )
    assert np.array_equal(faiss.serialize_index(one), faiss.serialize_index(two))
    assert np.array_equal(faiss.serialize_index(one), faiss.serialize_index(three))


@pytest.mark.parametrize("index_type", [name for name in INDEX_TYPES if knob(name)])
def test_spending_more_finds_more(index_type: str) -> None:
    plan = small_plan(index_type)
    index = build_index(plan, VECTORS, metric="l2")
    exact = build_index(Plan("Flat"), VECTORS, metric="l2")
    _, truth = exact.search(QUERIES, 1)
    found = []
    for probes in (1, 16):
        _, rows = index.search(QUERIES, 10, params=search_parameters(plan, Effort(probes), None))
        found.append(np.mean(rows == truth))
    assert found[0] <= found[1]


# Packed codes and bits are scanned whole: those types take no selector.
@pytest.mark.parametrize("index_type", [name for name in INDEX_TYPES if takes_selector(small_plan(name))])
def test_a_selector_passes_over_rows(index_type: str) -> None:
    plan = small_plan(index_type)
    index = build_index(plan, VECTORS, metric="l2")
    even = np.packbits(np.arange(len(VECTORS)) % 2 == 0, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(VECTORS), faiss.swig_ptr(even))
    effort = default_effort(plan, top_k=10, count=len(VECTORS))
    _, rows = index.search(QUERIES, 10, params=search_parameters(plan, effort, selector))
    assert (rows[rows >= 0] % 2 == 0).all() and (rows >= 0).mean() > 0.9
