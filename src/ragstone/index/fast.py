"""The fast index of a segment: found by approximation, ranked by the exact vectors, tuned by measurement.

When a segment is sealed its fast index is tried on a sample, from cheap to dear, against an exact scan. The
table that comes of it turns "recall 0.98" into FAISS's parameters, so that nobody has to guess `ef_search`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from ragstone.index.building import build_index, search_parameters
from ragstone.index.exact import best_scores
from ragstone.index.plans import (
    USUAL_RECALL,
    Effort,
    Plan,
    efforts,
    fitted,
    is_exact,
    plan_from_json,
)
from ragstone.index.threads import use_one_thread
from ragstone.types import Matrix, Scores, StoredMatrix

faiss: Any = _faiss  # its stubs lack half of what is used here
logger = logging.getLogger("ragstone.index")

# Hits for which the table is measured: what an answer cites, and what hybrid search takes as candidates.
TOP_KS = (10, 100)
# Of 200 queries × 10 hits a recall of .98 is known to ± .006 (two standard errors, hits of a query counted as
# dependent); an exact scan of 1M × 384 for each costs 45 ms.
SAMPLE_QUERIES = 200
# Questions are no stored vectors: they lie apart from the nearest ones (cosine .5 to .8 with MiniLM). A sample
# of stored vectors flatters every index, so each is moved until its cosine with itself is this.
QUERY_COSINE = 0.8
# A table measured on a sample promises a little less than it saw.
MARGIN = 0.005
_TIE = 1e-6  # scores of one vector differ by less, however they were added up
_SEED = 20261121


@dataclass(frozen=True, slots=True)
class Measured:
    """What an effort found of the true nearest, 0 to 1."""

    recall: float
    effort: Effort


@dataclass(frozen=True, slots=True)
class Calibration:
    """For each measured `top_k` the efforts worth taking, cheapest first, recall ascending."""

    by_top_k: Mapping[int, tuple[Measured, ...]]

    def effort(self, top_k: int, recall: float) -> Effort | None:
        """The cheapest effort that reaches `recall` for `top_k` hits; None if only an exact scan does.

        Between the measured numbers of hits the larger one's table holds; beyond them, none does.
        """
        measured = min((k for k in self.by_top_k if k >= top_k), default=None)
        if measured is None or recall >= 1:  # a sample cannot promise all
            return None
        return next((m.effort for m in self.by_top_k[measured] if m.recall >= needed(recall)), None)

    def to_json(self) -> dict[str, list[list[float]]]:
        """`{top_k: [[recall, probes, candidates], …]}`."""
        return {
            str(top_k): [[m.recall, m.effort.probes, m.effort.candidates] for m in table]
            for top_k, table in self.by_top_k.items()
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, list[list[float]]]) -> Calibration:
        """What `to_json` wrote."""
        return cls(
            {
                int(top_k): tuple(Measured(row[0], Effort(int(row[1]), int(row[2]))) for row in table)
                for top_k, table in fields.items()
            }
        )


@dataclass(frozen=True, slots=True)
class FastIndex:
    """A built index with the plan it follows (as far as the data carried it) and its calibration.

    `preferred`: the index type that was tried before it and missed the recall; empty for the first choice.
    """

    plan: Plan
    index: Any
    calibration: Calibration
    preferred: str = ""

    @property
    def wanted(self) -> str:
        """The index type it was built for: its own, or the preferred one, which turned out to find too little."""
        return self.preferred or self.plan.index_type

    def to_json(self) -> dict[str, object]:
        """What a manifest keeps of it."""
        kept = {**self.plan.to_json(), "calibration": self.calibration.to_json()}
        return {**kept, "preferred": self.preferred} if self.preferred else kept


def needed(recall: float) -> float:
    """What a sample has to show for `recall` to be promised: a margin more, halfway to all of it at most."""
    return min(recall + MARGIN, (1 + recall) / 2)


def build_first_good(plans: Sequence[Plan], vectors: StoredMatrix, exact: Any) -> FastIndex | None:
    """The fast index of the first of `plans` that reaches `USUAL_RECALL` on these vectors for all of `TOP_KS`.

    If none does, the one that does for most of them, the first of equals. An index that cannot keep the recall that
    searches ask for leaves them to the exact scan; hybrid search asks for 100 candidates.
    """
    best: FastIndex | None = None
    kept = -1
    for plan in plans:
        fast = build_fast(plan, vectors, exact)
        if fast is None:
            break
        reached = sum(fast.calibration.effort(top_k, USUAL_RECALL) is not None for top_k in TOP_KS)
        if reached > kept:
            preferred = "" if plan == plans[0] else plans[0].index_type
            best, kept = replace(fast, preferred=preferred), reached
        if reached == len(TOP_KS):
            break
        logger.info("%s over %s vectors does not reach recall %g", plan, f"{len(vectors):,}", USUAL_RECALL)
    return best


def build_fast(plan: Plan, vectors: StoredMatrix, exact: Any) -> FastIndex | None:
    """The fast index over (n, dim) unit vectors that `exact`, a FAISS index, holds as well.

    None where the plan is exact, or small data makes it so: the exact vectors are there already.
    """
    plan, _ = fitted(plan, count=len(vectors), dim=vectors.shape[1])
    if is_exact(plan):
        return None
    use_one_thread()
    index = build_index(plan, vectors, metric="cosine")
    refined = refine(index, exact)
    queries = sample_queries(vectors, SAMPLE_QUERIES)
    truth = best_scores(vectors, queries, max(TOP_KS))
    tables = {k: _table(plan, refined, len(vectors), queries, truth[:, :k]) for k in TOP_KS}
    return FastIndex(plan, index, Calibration(tables))


def read_fast(fields: Mapping[str, Any], index: Any) -> FastIndex:
    """A fast index as its manifest entry describes it."""
    plan = plan_from_json(
        {"index_type": fields["index_type"], "parameters": fields["parameters"]}, dim=index.d
    )
    calibration = Calibration.from_json(fields["calibration"])
    return FastIndex(plan, index, calibration, fields.get("preferred", ""))


def refine(index: Any, exact: Any) -> Any:
    """The index that takes candidates from one and ranks them by the other; keeps both alive."""
    refined = faiss.IndexRefine(index, exact)
    refined.referenced_objects = [index, exact]
    return refined


def refined_parameters(plan: Plan, effort: Effort, *, top_k: int, selector: object | None = None) -> Any:
    """FAISS's parameters for a search of `refine`'s index."""
    given = {"k_factor": max(effort.candidates, top_k) / top_k}
    base = search_parameters(plan, effort, selector)
    return faiss.IndexRefineSearchParameters(**given, **({} if base is None else {"base_index_params": base}))


def sample_queries(vectors: StoredMatrix, count: int) -> Matrix:
    """(≤ count, dim) unit vectors like the stored ones, each `QUERY_COSINE` away from one of them."""
    rng = np.random.default_rng(_SEED)
    rows = np.sort(rng.choice(len(vectors), min(count, len(vectors)), replace=False))
    stored = vectors[rows].astype(np.float32)
    # Towards another stored vector, not into empty space: data fill few of their dimensions.
    other = vectors[rng.choice(len(vectors), len(rows))].astype(np.float32)
    other -= (other * stored).sum(axis=1, keepdims=True) * stored
    lengths = np.linalg.norm(other, axis=1, keepdims=True)
    other = np.divide(other, lengths, out=np.zeros_like(other), where=lengths > 0)
    moved = QUERY_COSINE * stored + (1 - QUERY_COSINE**2) ** 0.5 * other
    queries: Matrix = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return queries


def share_found(true: Scores, found: Scores) -> float:
    """The share of the true nearest that a search found, 0 to 1, by their scores (both best first, the true ones not
    none): of equal texts either will do, and 13 % of the queries over a set of documentation end in such a tie."""
    return float((found >= true[-1] - _TIE).sum()) / len(true)


def _table(
    plan: Plan, refined: Any, count: int, queries: Matrix, truth: npt.NDArray[np.float32]
) -> tuple[Measured, ...]:
    """The efforts worth taking to find what is true: (q, top_k) scores of the nearest of `count` vectors."""
    top_k = truth.shape[1]
    table: list[Measured] = []
    for effort in efforts(plan, top_k=top_k, count=count):
        found, _ = refined.search(queries, top_k, params=refined_parameters(plan, effort, top_k=top_k))
        recall = float(np.mean([share_found(true, got) for true, got in zip(truth, found, strict=True)]))
        if not table or recall > table[-1].recall:
            table.append(Measured(round(recall, 5), effort))
        if recall >= 0.9995:
            break
    return tuple(table)
