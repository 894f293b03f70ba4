"""Choosing among measured settings: the front, the best, the nearest miss, and what is written and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.index.plans import Effort, make_plan
from ragstone.index.tuning_results import (
    OBJECTIVES,
    Confirmation,
    Objective,
    TuningResult,
    pareto_front,
    select_best,
)


def result(p95_ms: float, memory_mb: float, recall: float, *, probes: int = 0) -> TuningResult:
    return TuningResult(
        plan=make_plan("HNSW", dim=8),
        effort=Effort(probes, 0),
        dim=8,
        count=100,
        metric="cosine",
        recall_10=recall,
        recall_100=recall,
        p50_ms=p95_ms / 2,
        p95_ms=p95_ms,
        p99_ms=p95_ms * 2,
        build_s=1.0,
        memory_bytes=round(memory_mb * 1e6),
    )


def beats(one: TuningResult, other: TuningResult) -> bool:
    """The definition of the front, written out."""
    gains = (
        other.p95_ms - one.p95_ms,
        other.memory_bytes - one.memory_bytes,
        one.recall_10 - other.recall_10,
    )
    return min(gains) >= 0 and max(gains) > 0


# Few different values, so that ties and domination happen.
RESULTS = st.lists(
    st.builds(
        result,
        st.sampled_from([0.1, 0.2, 0.3, 0.5]),
        st.sampled_from([1, 2, 3, 5]),
        st.sampled_from([0.8, 0.9, 0.95, 1.0]),
        probes=st.integers(0, 1000),
    ),
    min_size=1,
    max_size=30,
)


@given(RESULTS)
def test_the_front_is_what_no_other_result_beats(results: list[TuningResult]) -> None:
    front = pareto_front(results)
    kept = {(r.p95_ms, r.memory_bytes, r.recall_10) for r in front}
    expected = {
        (r.p95_ms, r.memory_bytes, r.recall_10) for r in results if not any(beats(o, r) for o in results)
    }
    assert kept == expected
    assert len(kept) == len(front)
    assert [r.p95_ms for r in front] == sorted(r.p95_ms for r in front)


@given(
    RESULTS,
    st.sampled_from(OBJECTIVES),
    st.none() | st.sampled_from([0.85, 0.95, 1.0]),
    st.none() | st.sampled_from([0.15, 0.3]),
    st.none() | st.sampled_from([1.5, 4.0]),
)
def test_the_best_is_never_beaten_and_meets_the_targets_if_any_result_does(
    results: list[TuningResult],
    objective: Objective,
    recall: float | None,
    p95_ms: float | None,
    memory_mb: float | None,
) -> None:
    best = select_best(results, objective, recall=recall, p95_ms=p95_ms, memory_mb=memory_mb)
    assert not any(beats(other, best) for other in results)

    def meets(r: TuningResult) -> bool:
        return (
            (recall is None or r.recall_10 >= recall)
            and (p95_ms is None or r.p95_ms <= p95_ms)
            and (memory_mb is None or r.memory_bytes <= memory_mb * 1e6)
        )

    assert (best.missed == ()) == any(map(meets, results))
    if best.missed == ():
        assert meets(best)

        def axis(r: TuningResult) -> float:
            return {"latency": r.p95_ms, "memory": r.memory_bytes, "recall": -r.recall_10}[objective]

        assert axis(best) == min(axis(r) for r in results if meets(r))


def test_when_nothing_meets_the_targets_the_nearest_miss_says_which_it_misses() -> None:
    far = result(0.1, 1, 0.5)
    near = result(0.12, 1, 0.945)
    best = select_best([far, near], recall=0.95, p95_ms=0.1)
    assert best.p95_ms == 0.12
    assert best.missed == ("recall@10 is 0.945, not 0.95", "p95 is 0.12 ms, not 0.1 ms")


def test_each_objective_takes_its_own_winner() -> None:
    quick, small, thorough = result(0.1, 9, 0.96), result(0.5, 1, 0.96), result(0.9, 9, 1.0)
    results = [quick, small, thorough]
    found = [select_best(results, objective, recall=0.95) for objective in OBJECTIVES]
    assert found == [quick, small, thorough]


@pytest.mark.parametrize(
    "wrong",
    [{"objective": "speed"}, {"recall": 0.0}, {"recall": 1.5}, {"p95_ms": 0.0}, {"memory_mb": float("nan")}],
)
def test_targets_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        select_best([result(1, 1, 1)], **wrong)


def test_no_results_are_nothing_to_choose_from() -> None:
    with pytest.raises(InputError, match="no results"):
        select_best([])


def test_a_result_survives_json() -> None:
    plan = make_plan("IVF,PQ,FastScan", dim=8, nlist=7)
    confirmed = Confirmation(0.1, 0.2, 0.3, 0.97, 12345)
    whole = TuningResult(
        plan, Effort(3, 40), 8, 100, "l2", 0.97, 0.9, 0.1, 0.2, 0.3, 1.5, 999, ("why",), ("miss",), confirmed
    )
    fields = json.loads(json.dumps(whole.to_json()))
    assert fields["index_type"] == "IVF,PQ,FastScan"
    assert fields["parameters"]["nlist"] == 7
    assert fields["effort"] == {"probes": 3, "candidates": 40}
    assert TuningResult.from_json(fields) == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("index_type", "Magic"),
        ("parameters", {"m": 1_000_000, "ef_construction": 200}),
        ("effort", None),
        ("dim", "8"),
        ("metric", "hamming"),
        ("recall_10", float("nan")),
        ("p95_ms", None),
        ("memory_bytes", -1),
        ("reasons", "none"),
        ("confirmed", 3),
    ],
)
def test_json_that_no_result_wrote_is_refused(name: str, value: object) -> None:
    with pytest.raises(InputError):
        TuningResult.from_json({**result(1, 1, 1).to_json(), name: value})
