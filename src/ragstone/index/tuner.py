"""`FAISSTuner`: measures index plans on the caller's own vectors and finds the settings worth having."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ragstone.errors import CancelledError, InputError, StoreError
from ragstone.index.building import build_index
from ragstone.index.fast import sample_queries
from ragstone.index.grids import plans_to_try
from ragstone.index.measuring import (
    Ground,
    Searcher,
    confirm,
    latencies_ms,
    percentiles,
    stored_bytes,
)
from ragstone.index.plans import Effort, Metric, Plan, efforts, fitted_effort
from ragstone.index.prospects import Prospects
from ragstone.index.synthetic import DEFAULT_SEED, clustered_vectors
from ragstone.index.threads import one_thread
from ragstone.index.tuning_results import (
    OBJECTIVES,
    Objective,
    QuerySource,
    Skipped,
    Targets,
    TuningResult,
    TuningRun,
    select_best,
)
from ragstone.types import Matrix

DEFAULT_VECTORS = 10_000  # a whole run on made-up vectors ends within the default budget
DEFAULT_QUERIES = 200  # a recall of .98 is then known to ± .006 (two standard errors, `fast.SAMPLE_QUERIES`)
DEFAULT_BUDGET_S = 60.0
# No more than a tenth of the vectors are taken out to serve as queries.
_HELD_OUT_SHARE = 10
# Up to five efforts of a plan are timed: those around the target say where the front lies.
_TIMED_EFFORTS = 5


@dataclass(frozen=True, slots=True)
class TuningProgress:
    """One moment of a run: `done` of `total` plans dealt with, `plan` the one at hand."""

    done: int
    total: int
    plan: str


class FAISSTuner:
    """Finds, for one set of vectors, the plans and efforts that are best in latency, memory and recall."""

    def __init__(
        self,
        dimension: int = 384,
        target_p99_ms: float | None = 10.0,
        min_recall: float = 0.95,
        *,
        target_p95_ms: float | None = None,
        max_memory_mb: float | None = None,
        objective: Objective = "latency",
        metric: Metric = "cosine",
    ) -> None:
        """Targets are what `select_best` holds results to, and what a run with a budget aims its time at.

        Raises `InputError` for a dimension, target, objective or metric that cannot be.
        """
        if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 1:
            raise InputError(f"dimension is {dimension!r}", hint="a whole number from 1")
        if metric not in {"cosine", "ip", "l2"}:
            raise InputError(f"no metric {metric!r}", hint="one of cosine, ip, l2")
        if objective not in OBJECTIVES:
            raise InputError(f"no objective {objective!r}", hint="one of " + ", ".join(OBJECTIVES))
        self.dimension = dimension
        self.metric: Metric = metric
        self.objective: Objective = objective
        self.targets = Targets(min_recall, target_p95_ms, target_p99_ms, max_memory_mb)

    def tune(
        self,
        n_vectors: int = DEFAULT_VECTORS,
        n_queries: int = DEFAULT_QUERIES,
        *,
        vectors: npt.ArrayLike | None = None,
        queries: npt.ArrayLike | None = None,
        budget_s: float | None = DEFAULT_BUDGET_S,
        progress: Callable[[TuningProgress], None] = lambda moment: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> TuningRun:
        """Measure plans on (n, dim) `vectors`, or on `n_vectors` made-up clustered ones (`synthetic`).

        `queries` (m, dim) should be real ones; without them up to `n_queries` vectors are taken out and moved
        (`fast.sample_queries`), so that no query is a stored vector. With a budget the most promising plans come
        first, no build is begun that would overrun it, and what has no prospect is left out with the reason;
        None measures everything. The last measurements may end a few seconds after the budget.
        The result that `select_best` takes is measured again in a process of its own (`confirmed`).
        Raises `InputError` for vectors that are not numbers of this dimension, or too few; `CancelledError` if
        `cancelled` said so before anything was measured, else what was measured is returned.
        """
        started_s = time.monotonic()
        given, asked, source = self._prepared(vectors, queries, n_vectors, n_queries)
        with one_thread():
            ground = Ground(given, asked, self.metric)
            deadline_s = None if budget_s is None else started_s + budget_s
            trial = _Trial(self, ground, deadline_s=deadline_s)
            skipped = trial.run(progress, cancelled)
            if not trial.results:
                raise CancelledError("tuning was stopped before anything was measured")
            if not any(plan.why == "stopped" for plan in skipped):
                trial.confirm_best()
        return TuningRun(
            results=tuple(trial.results),
            skipped=tuple(skipped),
            count=len(given),
            dim=self.dimension,
            metric=self.metric,
            queries=source,
            n_queries=len(asked),
            seconds=time.monotonic() - started_s,
        )

    def select_best(
        self, results: Iterable[TuningResult], objective: Objective | None = None
    ) -> TuningResult:
        """The best of `results` for this tuner's targets (`tuning_results.select_best`)."""
        return select_best(
            results,
            objective or self.objective,
            recall=self.targets.recall,
            p95_ms=self.targets.p95_ms,
            p99_ms=self.targets.p99_ms,
            memory_mb=self.targets.memory_mb,
        )

    def _prepared(
        self, vectors: npt.ArrayLike | None, queries: npt.ArrayLike | None, n_vectors: int, n_queries: int
    ) -> tuple[Matrix, Matrix, QuerySource]:
        if n_vectors < 1 or n_queries < 1:
            raise InputError(f"{n_vectors} vectors and {n_queries} queries", hint="at least one of each")
        source: QuerySource = "held out"
        if vectors is None:
            source = "synthetic"
            stored = clustered_vectors(n_vectors + n_queries, self.dimension, seed=DEFAULT_SEED)
            if queries is None:
                return stored[:n_vectors], stored[n_vectors:], source
            stored = stored[:n_vectors]
        else:
            stored = self._rows(vectors, "vectors")
        if queries is not None:
            return stored, self._rows(queries, "queries"), "given"
        rest, asked = held_out(stored, n_queries)
        return rest, asked, source

    def _rows(self, given: npt.ArrayLike, name: str) -> Matrix:
        """(n, dim) float32 C-contiguous rows, of unit length for `cosine`."""
        try:
            rows: Matrix = np.ascontiguousarray(given, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} are not numbers: {error}") from error
        if rows.ndim != 2 or rows.shape[1] != self.dimension or not len(rows):
            raise InputError(f"{name} have shape {rows.shape}, not (n, {self.dimension}) with n from 1")
        broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(broken):
            raise InputError(f"row {broken[0]} of {name} holds a value that is not a number")
        if self.metric != "cosine":
            return rows
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not lengths.all():
            raise InputError(f"row {int(np.argmin(lengths))} of {name} is zero, which has no direction")
        unit: Matrix = rows / lengths
        return unit


def held_out(vectors: Matrix, count: int) -> tuple[Matrix, Matrix]:
    """(the vectors without those taken out, at most `count` queries made by moving these).

    A tenth of the vectors at most; from fewer than ten none is taken, only moved.
    """
    count = min(count, max(1, len(vectors) // _HELD_OUT_SHARE))
    taken = np.sort(np.random.default_rng(DEFAULT_SEED).choice(len(vectors), count, replace=False))
    stored = vectors[taken]
    lengths = np.linalg.norm(stored, axis=1, keepdims=True).astype(np.float32)
    directions = stored / np.maximum(lengths, np.float32(1e-30))  # a zero vector stays one
    queries: Matrix = np.ascontiguousarray(sample_queries(directions, count) * lengths, dtype=np.float32)
    rest = vectors if len(vectors) < _HELD_OUT_SHARE else np.delete(vectors, taken, axis=0)
    return rest, queries


class _Trial:
    """One run: what it stands on and what it has found so far."""

    def __init__(self, tuner: FAISSTuner, ground: Ground, *, deadline_s: float | None) -> None:
        self._tuner = tuner
        self._ground = ground
        self._deadline_s = deadline_s
        self._prospects = Prospects(ground, tuner.targets)
        self._best_index: Any = None  # of the best result so far
        self.results: list[TuningResult] = []

    def run(self, progress: Callable[[TuningProgress], None], cancelled: Callable[[], bool]) -> list[Skipped]:
        """Measure plan after plan; those left out, with reasons."""
        count, dim = self._ground.vectors.shape
        plans, skipped_plans = plans_to_try(count=count, dim=dim)
        skipped = list(skipped_plans)
        for done, plan in enumerate(plans):
            if cancelled():
                skipped += [Skipped(p.index_type, p.parameters, "stopped", "stopped") for p in plans[done:]]
                break
            progress(TuningProgress(done, len(plans), str(plan)))
            against = self._against(plan)
            if against is None:
                self._try(plan, cancelled)
            else:
                skipped.append(against)
        else:
            progress(TuningProgress(len(plans), len(plans), ""))
        return skipped

    def _against(self, plan: Plan) -> Skipped | None:
        if (
            self._deadline_s is None or not self.results
        ):  # the first is the exact scan: what others are held to
            return None
        return self._prospects.against(plan, self.results, left_s=self._deadline_s - time.monotonic())

    def _try(self, plan: Plan, cancelled: Callable[[], bool]) -> None:
        if plan == self._ground.exact_plan:
            index, build_s = self._ground.exact, self._ground.exact_build_s
        else:
            started_s = time.perf_counter()
            index = build_index(plan, self._ground.vectors, metric=self._ground.metric)
            build_s = time.perf_counter() - started_s
            self._prospects.note_build(plan, build_s)
        before = self._tuner.select_best(self.results) if self.results else None
        self.results += self._measured(plan, index, build_s, cancelled)
        best = self._tuner.select_best(self.results)
        if before is None or best.plan == plan:
            self._best_index = index

    def _measured(
        self, plan: Plan, index: Any, build_s: float, cancelled: Callable[[], bool]
    ) -> list[TuningResult]:
        ground = self._ground
        searcher = Searcher(plan, index, ground.exact)
        memory = stored_bytes(index)
        results: list[TuningResult] = []
        # The dearest first: it is the one that reaches the recall, and time may end before the others.
        for effort, recall in reversed(self._efforts(plan, searcher)):
            if results and (cancelled() or self._is_late()):
                break
            search = searcher.prepared(effort, top_k=ground.top_k)
            p50_ms, p95_ms, p99_ms = percentiles(latencies_ms(search, ground.queries))
            deep = fitted_effort(plan, effort, top_k=ground.deep_k, count=len(ground.vectors))
            found = searcher.prepared(deep, top_k=ground.deep_k)(ground.queries)
            results.append(
                TuningResult(
                    plan=plan,
                    effort=effort,
                    dim=ground.vectors.shape[1],
                    count=len(ground.vectors),
                    metric=ground.metric,
                    recall_10=recall,
                    recall_100=ground.recall(found),
                    p50_ms=p50_ms,
                    p95_ms=p95_ms,
                    p99_ms=p99_ms,
                    build_s=build_s,
                    memory_bytes=memory,
                )
            )
        return results[::-1]

    def _is_late(self) -> bool:
        return self._deadline_s is not None and time.monotonic() > self._deadline_s

    def _efforts(self, plan: Plan, searcher: Searcher) -> list[tuple[Effort, float]]:
        """Efforts worth timing, cheapest first, with their recall: all, or with a budget those near the target."""
        target = self._tuner.targets.recall or 0
        enough = target + (1 - target) / 2  # room: half of what may be lost is lost
        table: list[tuple[Effort, float]] = []
        best = -1.0
        for effort in efforts(plan, top_k=self._ground.top_k, count=len(self._ground.vectors)):
            found = searcher.prepared(effort, top_k=self._ground.top_k)(self._ground.queries)
            recall = self._ground.recall(found)
            if self._deadline_s is not None and recall <= best:
                continue  # dearer, and finds no more
            best = max(best, recall)
            table.append((effort, recall))
            if self._deadline_s is not None and recall >= enough:
                break
        return table if self._deadline_s is None else table[-_TIMED_EFFORTS:]

    def confirm_best(self) -> None:
        """Measure the best result again in a process of its own and add what that found to it."""
        best = self._tuner.select_best(self.results)
        place = next(i for i, r in enumerate(self.results) if (r.plan, r.effort) == (best.plan, best.effort))
        result = self.results[place]
        try:
            confirmed = confirm(self._ground, result.plan, self._best_index, result.effort)
        except StoreError as error:
            self.results[place] = replace(result, reasons=(*result.reasons, error.message))
        else:
            self.results[place] = replace(result, confirmed=confirmed)
