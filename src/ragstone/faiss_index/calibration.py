"""How much of the truth a `FAISSIndex` finds at which effort, measured on its own vectors against comparing all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragstone.faiss_index.snapshot import Snapshot
from ragstone.index.fast import MARGIN, QUERY_COSINE, SAMPLE_QUERIES, Measured
from ragstone.index.plans import Effort, efforts, is_exact
from ragstone.types import Matrix

# Numbers of hits with a table of their own; a number between them uses the next larger one's.
TOP_KS = (10, 100, 1000)
# Nothing above this is worth paying for: 1 in 2,000 neighbours, less than the sample can tell.
ENOUGH = 0.9995
# Two recalls are equal that differ by 2 of the sample's 2,000 neighbours.
TOLERANCE = 0.001
_TIE = 1e-6  # of the cost: one vector's differ by less, however they were added up
_SEED = 20261121


@dataclass(frozen=True, slots=True)
class Sample:
    """(q, dim) queries and for each the costs of the true nearest, ascending, as many as there are up to `top_k`."""

    queries: Matrix
    truth: tuple[npt.NDArray[np.float32], ...]
    top_k: int


def sampled(snapshot: Snapshot, top_k: int) -> Sample:
    """Queries like the vectors that are there, with the truth; costs comparing all of them for 200 queries."""
    queries = sample_queries(snapshot, SAMPLE_QUERIES)
    found = snapshot.search(queries, top_k=top_k, effort=None)
    return Sample(queries, tuple(hits.costs for hits in found), top_k)


def sample_queries(snapshot: Snapshot, count: int) -> Matrix:
    """(≤ count, dim) queries, each between two of the vectors and nearer to the first."""
    rng = np.random.default_rng(_SEED)
    rows = snapshot.live_rows
    chosen = np.sort(rng.choice(rows, min(count, len(rows)), replace=False))
    near, far = snapshot.gather(chosen), snapshot.gather(rng.choice(rows, len(chosen)))
    # Of two unit vectors at a right angle this leaves QUERY_COSINE with the first, as questions lie (see `fast`).
    part = _FAR / (_FAR + QUERY_COSINE)
    queries: Matrix = (near + np.float32(part) * (far - near)).astype(np.float32)
    return _unit(queries, near) if snapshot.metric == "cosine" else queries


_FAR = (1 - QUERY_COSINE**2) ** 0.5


def _unit(queries: Matrix, instead: Matrix) -> Matrix:
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    # Opposite vectors may cancel out; the stored one is a query too.
    return np.ascontiguousarray(
        np.where(lengths > 0, queries / np.maximum(lengths, 1e-30), instead), np.float32
    )


def recall_of(snapshot: Snapshot, effort: Effort | None, sample: Sample) -> float:
    """The share of the truth that a search finds, 0 to 1 (1 where there is nothing to find)."""
    found = snapshot.search(sample.queries, top_k=sample.top_k, effort=effort)
    shares = [_share(true, hits.costs) for true, hits in zip(sample.truth, found, strict=True) if len(true)]
    return float(np.mean(shares)) if shares else 1.0


def _share(true: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    """The share of the true nearest that was found, by cost: of equal vectors either will do."""
    return float((found <= true[-1] + _TIE * max(1.0, abs(float(true[-1])))).sum()) / len(true)


def measured(snapshot: Snapshot, sample: Sample, *, enough: float = ENOUGH) -> tuple[Measured, ...]:
    """The efforts worth taking for the sample's number of hits, up to a recall, cheapest first, recall ascending."""
    base = snapshot.base
    if base is None or is_exact(base.plan):
        return (Measured(1.0, Effort()),)
    table: list[Measured] = []
    for effort in efforts(base.plan, top_k=sample.top_k, count=base.count):
        recall = recall_of(snapshot, effort, sample)
        if not table or recall > table[-1].recall:
            table.append(Measured(round(recall, 5), effort))
        if recall >= enough:
            break
    return tuple(table)


def table_size(top_k: int) -> int | None:
    """The number of hits whose table serves `top_k`; None beyond them all."""
    return min((size for size in TOP_KS if size >= top_k), default=None)


def cheapest(table: tuple[Measured, ...], recall: float, *, margin: float = MARGIN) -> Effort | None:
    """The cheapest effort that reaches `recall` with a margin; None if only comparing all vectors does."""
    # An exact plan's only row is no sample's word but a fact.
    return next((m.effort for m in table if m.recall - margin >= recall or m.effort == Effort()), None)
