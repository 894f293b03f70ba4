"""Tuning on real indexes: what is reported is what an independent look finds."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from ragstone import FAISSIndex, FAISSTuner
from ragstone.errors import CancelledError, InputError, StoreError
from ragstone.index.building import build_index
from ragstone.index.grids import plans_to_try
from ragstone.index.measuring import Ground, Searcher
from ragstone.index.plans import Effort, efforts, make_plan
from ragstone.index.prospects import Prospects
from ragstone.index.synthetic import clustered_vectors
from ragstone.index.tuner import TuningProgress, held_out
from ragstone.index.tuning_report import picture, write_results
from ragstone.index.tuning_results import Targets, TuningResult, TuningRun, pareto_front
from ragstone.types import Matrix

DIM = 16
COUNT = 1_200


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Builds of the tests' own on one thread, as the tuner's: several contend with whatever else runs."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="module")
def vectors() -> Matrix:
    return clustered_vectors(COUNT, DIM, seed=5)


@pytest.fixture(scope="module")
def queries() -> Matrix:
    return clustered_vectors(COUNT + 60, DIM, seed=5)[COUNT:]


@pytest.fixture(scope="module")
def run(vectors: Matrix, queries: Matrix) -> TuningRun:
    """A short run over everything that fits into some seconds."""
    return FAISSTuner(DIM, min_recall=0.9).tune(vectors=vectors, queries=queries, budget_s=4)


def test_the_documented_lines_run() -> None:
    tuner = FAISSTuner(dimension=16)
    results = tuner.tune(n_vectors=500, n_queries=20, budget_s=1)
    best = tuner.select_best(results)
    assert best.missed == ()
    assert best.recall_10 >= 0.95
    assert best.p99_ms <= 10


def test_every_plan_of_the_documented_grids_is_tried_or_reported() -> None:
    plans, skipped = plans_to_try(count=100_000, dim=384)
    hnsw = {(p.parameters["m"], p.parameters["ef_construction"]) for p in plans if p.index_type == "HNSW"}
    assert hnsw == {(m, ef) for m in (8, 16, 32, 64) for ef in (100, 200, 400)}
    opq = [
        (p.parameters["n_subquantizers"], p.parameters["m_hnsw"]) for p in plans if p.index_type == "OPQ+HNSW"
    ]
    assert sorted(opq) == sorted((codes, m) for codes in (16, 32, 64) for m in (8, 16, 32))
    invalid = [(s.parameters["m_pq"], s.why) for s in skipped if s.index_type == "OPQ+HNSW"]
    assert sorted(invalid) == [(16, "invalid")] * 9 + [(32, "invalid")] * 9
    assert all("m_pq" in s.reason for s in skipped if s.index_type == "OPQ+HNSW")
    probes = {effort.probes for effort in efforts(make_plan("HNSW", dim=384), top_k=10, count=100_000)}
    assert probes >= {16, 32, 64, 128, 256}


def test_recall_is_that_of_a_brute_force_comparison(run: TuningRun, vectors: Matrix, queries: Matrix) -> None:
    truth = [set(np.argsort(-(vectors @ query))[:10]) for query in queries]
    exact = build_index(make_plan("Flat,FP16", dim=DIM), vectors, metric="cosine")
    kinds = {result.plan.index_type: result for result in run}  # one plan of each type
    for result in kinds.values():
        index = build_index(result.plan, vectors, metric="cosine")
        search = Searcher(result.plan, index, exact).prepared(result.effort, top_k=10)
        found = [set(search(query[None])[0]) for query in queries]
        recall = sum(len(true & got) for true, got in zip(truth, found, strict=True)) / (10 * len(queries))
        assert result.recall_10 == pytest.approx(recall, abs=0.02), result


def test_memory_is_the_size_of_the_stored_index(run: TuningRun, vectors: Matrix, tmp_path: Path) -> None:
    for plan in {result.plan.index_type: result.plan for result in run}.values():
        faiss.write_index(build_index(plan, vectors, metric="cosine"), str(tmp_path / "index"))
        size = (tmp_path / "index").stat().st_size
        reported = {result.memory_bytes for result in run if str(result.plan) == str(plan)}
        assert len(reported) == 1
        # The levels of a graph are drawn anew in each build.
        assert reported.pop() == pytest.approx(size, rel=0.01)


def test_times_are_in_order_and_the_exact_scan_is_always_there_to_compare_with(run: TuningRun) -> None:
    assert str(run[0].plan) == "Flat,FP16"
    assert run[0].recall_10 >= 0.99  # half precision: two rows can change places
    for result in run:
        assert 0 < result.p50_ms <= result.p95_ms <= result.p99_ms
        assert 0 <= result.recall_100 <= 1


def test_the_best_is_measured_again_in_a_process_of_its_own(run: TuningRun) -> None:
    tuner = FAISSTuner(DIM, min_recall=0.9)
    best = tuner.select_best(run)
    assert best.confirmed is not None
    assert best.confirmed.recall_10 == pytest.approx(best.recall_10, abs=0.001)
    assert best.confirmed.p50_ms == pytest.approx(best.p50_ms, rel=1.0)
    assert 0 <= best.confirmed.resident_bytes < best.memory_bytes + 10_000_000
    assert [result for result in run if result.confirmed is not None] == [best]


def test_with_a_budget_efforts_stop_once_recall_is_met_with_room(run: TuningRun) -> None:
    for plan in {str(result.plan) for result in run}:
        recalls = [result.recall_10 for result in run if str(result.plan) == plan]
        assert all(lower < higher for lower, higher in pairwise(recalls)), plan
        assert sum(recall >= 0.95 for recall in recalls) <= 1, plan  # 0.95: half of what .9 may lose


def test_every_plan_ends_measured_or_left_out_with_a_reason(run: TuningRun) -> None:
    plans, invalid = plans_to_try(count=run.count, dim=DIM)
    measured = {str(result.plan) for result in run}
    left_out = [plan for plan in run.skipped if plan.why != "invalid"]
    assert len(measured) + len(left_out) == len(plans)
    assert len(run.skipped) - len(left_out) == len(invalid)
    assert all(plan.reason for plan in run.skipped)
    assert run.queries == "given"


def test_a_spent_budget_leaves_the_exact_scan_and_says_what_had_no_time(vectors: Matrix) -> None:
    run = FAISSTuner(DIM).tune(vectors=vectors, budget_s=0.001)
    assert [str(plan) for plan in {str(result.plan) for result in run}] == ["Flat,FP16"]
    assert {plan.why for plan in run.skipped} == {"invalid", "budget"}
    assert run.queries == "held out"


def test_plans_over_the_memory_allowed_are_not_built(vectors: Matrix) -> None:
    run = FAISSTuner(DIM, max_memory_mb=0.1).tune(vectors=vectors, budget_s=0.5)
    assert all(result.plan.index_type != "HNSW" for result in run)
    over = [plan for plan in run.skipped if plan.index_type == "HNSW"]
    assert len(over) == 12
    assert all(plan.why == "pruned" and "over the 0.1 MB allowed" in plan.reason for plan in over)


def test_what_has_no_prospect_is_named_with_what_beats_it(vectors: Matrix, queries: Matrix) -> None:
    def measured(index_type: str, p95_ms: float, memory_bytes: int) -> TuningResult:
        plan = make_plan(index_type, dim=DIM)
        times = (p95_ms, p95_ms, p95_ms)
        return TuningResult(plan, Effort(), DIM, COUNT, "cosine", 0.99, 0.9, *times, 1.0, memory_bytes)

    prospects = Prospects(Ground(vectors, queries, "cosine"), Targets(recall=0.95))
    codes, graph = measured("PQ,FastScan", 0.1, 100_000), measured("HNSW", 0.2, 1_000_000)
    sibling = make_plan("HNSW", dim=DIM, m=8)
    against = prospects.against(sibling, [codes, graph], left_s=100)
    assert against is not None and against.why == "pruned"
    assert "HNSW is far behind PQ,FastScan" in against.reason
    assert prospects.against(make_plan("SQ8", dim=DIM), [codes, graph], left_s=100) is None
    near = measured("HNSW", 0.14, 1_000_000)  # within half as much again: a sibling may still win
    assert prospects.against(sibling, [codes, near], left_s=100) is None


def test_a_build_that_would_overrun_the_budget_is_not_begun(vectors: Matrix, queries: Matrix) -> None:
    prospects = Prospects(Ground(vectors, queries, "cosine"), Targets(recall=0.95))
    prospects.note_build(make_plan("HNSW", dim=DIM, m=8, ef_construction=100), 2.0)
    dearer = make_plan("HNSW", dim=DIM, m=32, ef_construction=200)
    against = prospects.against(dearer, [], left_s=15.0)
    assert against is not None and against.why == "budget"
    assert against.reason == "building it would take about 16 s; 15 s of the budget are left"
    assert prospects.against(dearer, [], left_s=30.0) is None


def test_a_stopped_run_keeps_what_it_measured(vectors: Matrix) -> None:
    asked: list[TuningProgress] = []
    run = FAISSTuner(DIM).tune(
        vectors=vectors, budget_s=None, progress=asked.append, cancelled=lambda: len(asked) >= 2
    )
    assert run.stopped
    assert len({str(result.plan) for result in run}) == 2
    assert [moment.done for moment in asked] == [0, 1]
    assert sum(plan.why == "stopped" for plan in run.skipped) == asked[0].total - 2
    with pytest.raises(CancelledError):
        FAISSTuner(DIM).tune(vectors=vectors, cancelled=lambda: True)


def test_held_out_queries_are_no_stored_vectors_and_no_longer_searched(vectors: Matrix) -> None:
    rest, queries = held_out(vectors, 50)
    assert (len(rest), len(queries)) == (COUNT - 50, 50)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)
    assert queries.dtype == np.float32
    assert np.median((queries @ vectors.T).max(axis=1)) < 0.95
    stored = {row.tobytes() for row in vectors}
    assert not any(query.tobytes() in stored for query in queries)
    assert all(row.tobytes() in stored for row in rest)


@pytest.mark.parametrize("count", [1, 2, 9, 12, 40])
def test_a_handful_of_vectors_is_tuned_too(count: int) -> None:
    tuner = FAISSTuner(8)
    best = tuner.select_best(tuner.tune(vectors=clustered_vectors(count, 8), budget_s=0.3))
    assert best.recall_10 == 1.0


def test_equally_near_vectors_count_as_found_whichever_was_given() -> None:
    vectors = np.repeat(clustered_vectors(50, 8), 20, axis=0)  # each one twenty times
    ground = Ground(vectors, clustered_vectors(60, 8)[50:], "cosine")
    found = np.argsort(-(ground.queries @ vectors.T), axis=1, kind="stable")[:, :20]
    assert ground.recall(np.ascontiguousarray(found[:, 10:])) == 1.0
    assert ground.recall(np.full((10, 10), -1)) == 0.0


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_other_metrics_are_measured_against_their_own_nearest(metric: Any, vectors: Matrix) -> None:
    stretched = vectors * np.linspace(0.5, 2, len(vectors), dtype=np.float32)[:, None]
    run = FAISSTuner(DIM, metric=metric).tune(vectors=stretched, budget_s=0.7)
    assert run[0].recall_10 >= 0.99
    assert any(result.recall_10 >= 0.95 for result in run if str(result.plan) != "Flat,FP16")


def test_a_plan_reported_twice_as_slow_would_be_noticed(
    run: TuningRun, vectors: Matrix, queries: Matrix
) -> None:
    exact = build_index(make_plan("Flat,FP16", dim=DIM), vectors, metric="cosine")
    faiss.omp_set_num_threads(1)
    result = run[0]
    search = Searcher(result.plan, exact, exact).prepared(result.effort, top_k=10)
    ratios = []
    for _ in range(5):
        times = []
        for query in queries:
            started_s = time.perf_counter()
            search(query[None])
            times.append((time.perf_counter() - started_s) * 1e3)
        ratios.append(float(np.median(times)) / result.p50_ms)
    assert 0.4 < min(ratios) < 2


@pytest.mark.parametrize(
    "given",
    [
        {"vectors": np.zeros((5, DIM + 1))},
        {"vectors": np.zeros(DIM)},
        {"vectors": np.zeros((0, DIM))},
        {"vectors": np.zeros((5, DIM))},  # no direction
        {"vectors": np.full((5, DIM), np.nan)},
        {"vectors": [["a"] * DIM]},
        {"vectors": np.ones((5, DIM)), "queries": np.ones((5, 3))},
        {"n_vectors": 0},
        {"n_queries": 0},
    ],
)
def test_what_cannot_be_measured_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        FAISSTuner(DIM).tune(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"dimension": 0},
        {"dimension": "384"},
        {"min_recall": 1.2},
        {"target_p99_ms": -1},
        {"metric": "hamming"},
        {"objective": "speed"},
    ],
)
def test_targets_that_cannot_be_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        FAISSTuner(**given)


def test_the_result_file_holds_the_best_result_and_the_whole_run(run: TuningRun, tmp_path: Path) -> None:
    best = FAISSTuner(DIM, min_recall=0.9).select_best(run)
    write_results(tmp_path / "run.json", run, best)
    held = json.loads((tmp_path / "run.json").read_text())
    assert TuningResult.from_json(held) == best
    assert tuple(map(TuningResult.from_json, held["run"]["results"])) == run.results
    assert held["run"]["skipped"] == [plan.to_json() for plan in run.skipped]
    with pytest.raises(StoreError, match="cannot be written"):
        write_results(tmp_path / "none" / "run.json", run, best)


def test_an_index_is_made_from_a_result_its_json_or_its_file(
    run: TuningRun, vectors: Matrix, tmp_path: Path
) -> None:
    best = FAISSTuner(DIM, min_recall=0.9).select_best(run)
    write_results(tmp_path / "run.json", run, best)
    stats = []
    for form in (best, best.to_json(), tmp_path / "run.json"):
        index = FAISSIndex.from_tuning_result(DIM, form)
        index.add_embeddings(vectors, [f"row-{row}" for row in range(len(vectors))])
        assert index.search(vectors[7], k=1)[0].id == "row-7"
        stats.append({key: index.get_stats()[key] for key in ("index_type", "total_vectors")})
    assert stats[0] == stats[1] == stats[2] == {"index_type": best.plan.index_type, "total_vectors": COUNT}


def test_the_picture_shows_each_setting_and_names_those_of_the_front(run: TuningRun) -> None:
    best = FAISSTuner(DIM, min_recall=0.9).select_best(run)
    drawn = picture(run, best, Targets(recall=0.9, p95_ms=5.0))
    root = ET.fromstring(drawn)  # noqa: S314 - our own text
    svg = "{http://www.w3.org/2000/svg}"
    texts = [element.text or "" for element in root.iter(f"{svg}text")]
    shown = [result for result in run if result.recall_10 >= 0.7]
    titles = [element.text or "" for element in root.iter(f"{svg}title")]
    assert len(titles) == len(shown)
    for result in pareto_front(shown):
        assert str(result) in texts
    assert "recall wanted" in texts and "p95 wanted" in texts


def test_the_guides_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    guide = Path(__file__).resolve().parents[2] / "docs" / "tuning.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", guide.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(code, "tuning.md", "exec"), {})  # noqa: S102 - our own guide
    assert capsys.readouterr().out.endswith("()\n")
