"""Which plans are not worth building at full size: too long a build for the time left, too large, or beaten already.

Used only when tuning has a time budget; without one everything is measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragstone.index.building import build_index
from ragstone.index.measuring import Ground, Searcher, latencies_ms, percentiles, stored_bytes
from ragstone.index.plans import Plan, efforts, fitted
from ragstone.index.recommending import memory_bytes
from ragstone.index.tuning_results import Skipped, Targets, TuningResult

# Large enough that graphs differ in recall, small enough that one of the documented defaults is built in a second.
PROBE_ROWS = 8_192
# Below three times as many vectors a probe costs about what it can save.
PROBE_FROM_ROWS = 3 * PROBE_ROWS
# Building time grows with rows ** power. Graphs: n log n, and the cache misses more as they grow (8,192 to 65,536
# rows took 8 ** 1.23 times as long). Lists: a probe can fill but 210 of them, so to 65,336 rows it is 8 ** 1.76, to
# 200,000 rows 24 ** 1.5.
_GROWTH = {"HNSW": 1.2, "HNSW,SQ8": 1.2, "IVF": 1.6, "IVF,SQ8": 1.6, "IVF,PQ,FastScan": 1.6}
# Building OPQ+HNSW takes 0.3 to 0.9 times PQ,FastScan for each of its codes (5,000 × 384: 10.4 s of 32 codes against
# 1.0 s; 2,000 × 32: 1.5 s of 16 against 0.07 s).
_ROTATED_OVER_SCANNED = 0.6
# What is built is measured as well, which takes a quarter of the building (graph) or less.
_MEASURING_TOO = 1.25
# Measured latencies of equal settings differ by a tenth between runs: only more than that is a difference.
_NOISE = 0.9
# A type whose best is half as quick again and half as large again as another's is not tried further.
_FAR_BEHIND = 1.5


@dataclass(frozen=True, slots=True)
class _Probe:
    plan: Plan
    build_s: float
    recall: float
    p95_ms: float
    memory_bytes: int


class Prospects:
    """What is known of plans before they are built at full size."""

    def __init__(self, ground: Ground, targets: Targets) -> None:
        self._ground = ground
        self._targets = targets
        self._count, self._dim = ground.vectors.shape
        self._built: list[tuple[Plan, float]] = []
        self._probes: dict[str, _Probe] = {}
        self._small: Ground | None = None

    def note_build(self, plan: Plan, build_s: float) -> None:
        """Remember how long a build at full size took."""
        self._built.append((plan, build_s))

    def against(self, plan: Plan, results: Sequence[TuningResult], *, left_s: float) -> Skipped | None:
        """What speaks against building `plan` with `left_s` seconds left; None: nothing. May probe it first."""
        reason = self._too_large(plan) or self._far_behind(plan, results)
        if reason is not None:
            return _pruned(plan, reason)
        if left_s <= 0:
            return Skipped(plan.index_type, plan.parameters, "budget", "the budget was spent")
        expected_s = self._expected_s(plan)
        if expected_s * _MEASURING_TOO > left_s:
            said = f"building it would take about {expected_s:.0f} s; {left_s:.0f} s of the budget are left"
            return Skipped(plan.index_type, plan.parameters, "budget", said)
        beaten = self._beaten_small(plan)
        return None if beaten is None else _pruned(plan, beaten)

    def _too_large(self, plan: Plan) -> str | None:
        limit_mb = self._targets.memory_mb
        expected = memory_bytes(plan, count=self._count, dim=self._dim)
        if limit_mb is None or expected <= limit_mb * 1e6:
            return None
        return f"it would take {expected / 1e6:,.1f} MB, over the {limit_mb:,g} MB allowed"

    def _far_behind(self, plan: Plan, results: Sequence[TuningResult]) -> str | None:
        """Why plans of this type have no prospect: another type is far ahead of all measured ones."""
        recall = self._targets.recall or 0
        enough = [result for result in results if result.recall_10 >= recall]
        own = [result for result in enough if result.plan.index_type == plan.index_type]
        if not own:
            return None
        quickest = min(own, key=lambda r: r.p95_ms)
        smallest = min(result.memory_bytes for result in own)
        for other in enough:
            if (
                other.plan.index_type != plan.index_type
                and other.p95_ms * _FAR_BEHIND <= quickest.p95_ms
                and other.memory_bytes * _FAR_BEHIND <= smallest
            ):
                return (
                    f"{plan.index_type} is far behind {other}: {quickest.p95_ms:.2g} ms and "
                    f"{smallest / 1e6:,.1f} MB against {other.p95_ms:.2g} ms and {other.memory_bytes / 1e6:,.1f} MB"
                )
        return None

    def _expected_s(self, plan: Plan) -> float:
        """Seconds that building takes, from builds of the same type or a probe; 0 while nothing is known."""
        same = [
            seconds / _work(built) for built, seconds in self._built if built.index_type == plan.index_type
        ]
        if same:
            return max(same) * _work(plan)
        if plan.index_type == "OPQ+HNSW":  # a probe would cost half of the build: most of it is training
            codes = [seconds for built, seconds in self._built if built.index_type == "PQ,FastScan"]
            return max(codes, default=0.0) * _ROTATED_OVER_SCANNED * _work(plan)
        if self._count < PROBE_FROM_ROWS:
            return 0.0
        growth: float = (self._count / PROBE_ROWS) ** _GROWTH.get(plan.index_type, 1.0)
        return self._probed(plan).build_s * growth

    def _beaten_small(self, plan: Plan) -> str | None:
        """Why a plan of the same type makes this one needless, judged on a sample; None: nothing does."""
        siblings = self._siblings(plan)
        if self._count < PROBE_FROM_ROWS or not siblings:
            return None
        own = self._probed(plan)
        for other in siblings:
            if (
                other.recall >= own.recall
                and other.p95_ms <= own.p95_ms * _NOISE
                and other.memory_bytes <= own.memory_bytes
            ):
                return (
                    f"on {PROBE_ROWS:,} of the vectors {other.plan} beats it: {other.p95_ms:.2g} ms against "
                    f"{own.p95_ms:.2g} ms at recall {own.recall:.3g}"
                )
        return None

    def _siblings(self, plan: Plan) -> list[_Probe]:
        probes = self._probes.items()
        return [
            probe for key, probe in probes if probe.plan.index_type == plan.index_type and key != str(plan)
        ]

    def _probed(self, plan: Plan) -> _Probe:
        if str(plan) not in self._probes:
            self._probes[str(plan)] = self._probe(plan)
        return self._probes[str(plan)]

    def _probe(self, plan: Plan) -> _Probe:
        if self._small is None:
            rows = np.linspace(0, self._count - 1, PROBE_ROWS).astype(np.int64)
            self._small = Ground(self._ground.vectors[rows], self._ground.queries, self._ground.metric)
        small, _ = fitted(plan, count=PROBE_ROWS, dim=self._dim)
        started_s = time.perf_counter()
        index = build_index(small, self._small.vectors, metric=self._small.metric)
        build_s = time.perf_counter() - started_s
        recall, p95_ms = self._cheapest(Searcher(small, index, self._small.exact), small, self._small)
        return _Probe(plan, build_s, recall, p95_ms, stored_bytes(index))

    def _cheapest(self, searcher: Searcher, plan: Plan, ground: Ground) -> tuple[float, float]:
        """(recall up to the target, p95 in ms) of the first effort that reaches the target, or of the last."""
        target = self._targets.recall or 0
        recall, search = 0.0, None
        for effort in efforts(plan, top_k=ground.top_k, count=PROBE_ROWS):
            search = searcher.prepared(effort, top_k=ground.top_k)
            recall = ground.recall(search(ground.queries))
            if recall >= target:
                break
        assert search is not None  # noqa: S101 - every plan has an effort
        _, p95_ms, _ = percentiles(latencies_ms(search, ground.queries))
        return min(recall, target), p95_ms


def _work(plan: Plan) -> float:
    """What building costs, in a unit of the plan's type."""
    given = plan.parameters
    if plan.index_type == "OPQ+HNSW":
        return given["n_subquantizers"]  # learning the codes is nearly all; the links do not show
    return given.get("m", 1) * given.get("ef_construction", 1) * given.get("nlist", 1)


def _pruned(plan: Plan, reason: str) -> Skipped:
    return Skipped(plan.index_type, plan.parameters, "pruned", reason)
