"""Tuning a collection on its own vectors, and what came of it as JSON: what the command and the service share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.index.recommending import Recommendation
from ragstone.index.tuner import FAISSTuner, TuningProgress
from ragstone.index.tuning_results import Objective, Targets, TuningResult, TuningRun, pareto_front
from ragstone.types import Matrix

Json: TypeAlias = dict[str, Any]

# 200,000 × 384 float32 are 307 MB, and larger collections are searched in several segments.
VECTORS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What an index is to reach: a recall, milliseconds for 19 of 20 searches, megabytes; and how long to look for it.

    `budget_s` None measures everything.
    """

    recall: float = 0.95
    p95_ms: float | None = None
    memory_mb: float | None = None
    objective: Objective = "latency"
    budget_s: float | None = 60.0

    @property
    def targets(self) -> Targets:
        """As the tuner has them."""
        return Targets(self.recall, self.p95_ms, None, self.memory_mb)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was measured, and the best of it for the wish."""

    run: TuningRun
    best: TuningResult

    def to_json(self) -> Json:
        """`{"best","front","measured",…}`; the front is what none beats in p95, memory and recall together."""
        whole = self.run.to_json()
        whole.pop("results")
        front = [result.to_json() for result in pareto_front(self.run)]
        return {"best": self.best.to_json(), "front": front, "measured": len(self.run), **whole}


def tune_collection(
    engine: Ragstone,
    wish: Wish,
    *,
    collection: str | None = None,
    queries: Matrix | None = None,
    progress: Callable[[TuningProgress], None] = lambda moment: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Measure indexes on a collection's vectors; nothing is changed. Raises `InputError` for an empty one, and the
    errors of `FAISSTuner.tune`."""
    vectors = engine.sample_vectors(VECTORS_MAX, collection=collection)
    if not len(vectors):
        raise InputError("the collection has no vectors to measure on", hint="ragstone index PATH...")
    tuner = FAISSTuner(
        vectors.shape[1],
        target_p99_ms=None,
        min_recall=wish.recall,
        target_p95_ms=wish.p95_ms,
        max_memory_mb=wish.memory_mb,
        objective=wish.objective,
    )
    run = tuner.tune(
        vectors=vectors, queries=queries, budget_s=wish.budget_s, progress=progress, cancelled=cancelled
    )
    return Tuned(run, tuner.select_best(run))


def recommendation_json(found: Recommendation, count: int, dim: int) -> Json:
    """The plan's fields, the size it is for, and why."""
    return {
        **found.plan.to_json(),
        "vectors": count,
        "dim": dim,
        "reasons": list(found.reasons),
        "bytes_per_vector": found.bytes_per_vector,
        "memory_bytes": found.memory_bytes,
        "build_s": found.build_s,
        "latency_ms": found.latency_ms,
    }
