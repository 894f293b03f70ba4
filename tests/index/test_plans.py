"""Plans: checked where they come in, fitted to the data there is, the same after a trip through JSON."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.index.plans import (
    INDEX_TYPES,
    MAX_EFFORT,
    TRAIN_ROWS_PER_LIST,
    Effort,
    Plan,
    bytes_per_vector,
    default_effort,
    default_probes,
    efforts,
    fitted,
    fitted_effort,
    is_exact,
    knob,
    make_plan,
    plan_from_json,
)

DIMS = st.sampled_from([1, 2, 7, 32, 97, 384, 768, 1024])
TYPES = st.sampled_from(INDEX_TYPES)


def any_plan(index_type: str, dim: int) -> Plan:
    """A plan with defaults, where the dimension allows them."""
    return make_plan(index_type, dim=dim, **({"n_subquantizers": 1} if index_type == "OPQ+HNSW" else {}))


@given(index_type=TYPES, dim=DIMS)
@settings(deadline=None)
def test_a_plan_is_complete_and_survives_json(index_type: str, dim: int) -> None:
    plan = any_plan(index_type, dim)
    assert plan_from_json(json.loads(json.dumps(plan.to_json())), dim=dim) == plan
    assert index_type in str(plan)
    assert all(f"{name}={value}" in str(plan) for name, value in plan.parameters.items())
    assert dim % plan.parameters.get("n_subquantizers", 1) == 0


@pytest.mark.parametrize(
    ("index_type", "given", "fault"),
    [
        ("Annoy", {}, "no index type 'Annoy'"),
        ("HNSW", {"nlist": 3}, "HNSW has no parameter 'nlist'"),
        ("HNSW", {"m": 3}, "m of HNSW is 3, the range is 4 to 128"),
        ("HNSW", {"m": True}, "m of HNSW is True"),
        ("IVF", {"nlist": 1.5}, "nlist of IVF is 1.5"),
        ("OPQ+HNSW", {"m_pq": 32}, r"m_pq of OPQ\+HNSW is 32, the range is 4 to 8"),
        ("OPQ+HNSW", {"n_subquantizers": 50}, "which does not divide the dimension 384"),
    ],
)
def test_what_cannot_be_built_is_named(index_type: str, given: dict[str, int], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        make_plan(index_type, dim=384, **given)


@pytest.mark.parametrize("fields", [None, [], {}, {"index_type": "HNSW", "parameters": 3}, {"index_type": 3}])
def test_other_json_is_no_plan(fields: object) -> None:
    with pytest.raises(InputError):
        plan_from_json(fields, dim=384)


@given(index_type=TYPES, dim=DIMS, count=st.integers(0, 5_000))
def test_a_fitted_plan_can_be_built_and_says_why_it_differs(index_type: str, dim: int, count: int) -> None:
    plan = any_plan(index_type, dim)
    carried, reason = fitted(plan, count=count, dim=dim)
    assert (carried == plan) == (reason is None)
    assert fitted(carried, count=count, dim=dim) == (carried, None)
    lists = carried.parameters.get("nlist", 1)
    assert lists == 1 or lists * TRAIN_ROWS_PER_LIST <= count
    assert "n_subquantizers" not in carried.parameters or count >= 16


@given(
    index_type=TYPES,
    top_k=st.integers(1, 2_000),
    count=st.integers(1, 100_000),
    probes=st.integers(0, 1 << 20),
)
def test_an_effort_can_find_what_is_asked_for(index_type: str, top_k: int, count: int, probes: int) -> None:
    plan = any_plan(index_type, 32)
    tried = [*efforts(plan, top_k=top_k, count=count), default_effort(plan, top_k=top_k, count=count)]
    tried.append(fitted_effort(plan, Effort(probes, probes), top_k=top_k, count=count))
    for effort in tried:
        assert effort.candidates == 0 or min(top_k, count) <= effort.candidates <= count
        if knob(index_type) == "ef_search":
            assert max(effort.candidates, min(top_k, count)) <= effort.probes <= MAX_EFFORT
        elif knob(index_type) == "nprobe":
            assert 1 <= effort.probes <= plan.parameters["nlist"]
        else:
            ranked_by_codes = index_type == "SQ8" or probes == 0  # asked for none: the codes' own order
            assert is_exact(plan) or effort.candidates > 0 or ranked_by_codes


@pytest.mark.parametrize("index_type", INDEX_TYPES)
def test_efforts_grow_from_cheap_to_dear(index_type: str) -> None:
    grid = efforts(make_plan(index_type, dim=384), top_k=10, count=100_000)
    assert len(grid) == len(set(grid)) > (0 if is_exact(make_plan(index_type, dim=384)) else 7)
    for before, after in itertools.pairwise(grid):
        assert after.probes > before.probes or after.candidates > before.candidates


def test_knobs_start_where_the_reference_says() -> None:
    assert default_probes("HNSW") == 64 and default_probes("IVF") == 10 and default_probes("Flat") == 0
    assert default_effort(make_plan("HNSW", dim=384), top_k=10, count=10_000) == Effort(64, 0)
    assert make_plan("OPQ+HNSW", dim=384).parameters == {
        "n_subquantizers": 32,
        "m_pq": 8,
        "m_hnsw": 16,
        "ef_construction": 200,
    }


def test_bytes_of_a_vector_are_those_of_the_format() -> None:
    sizes = {name: bytes_per_vector(make_plan(name, dim=384), dim=384) for name in INDEX_TYPES}
    assert sizes["Flat"] == 1536 and sizes["SQ8"] == 384 and sizes["PQ,FastScan"] == 96
    assert sizes["HNSW"] == 1536 + 64 * 4 + 8  # 2m links on the lowest level, most of what a graph has
    assert sizes["OPQ+HNSW"] < 0.4 * sizes["HNSW"]
