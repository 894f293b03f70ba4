"""The plans that tuning tries: the documented grids and the forms that measured best, the most promising first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from ragstone.errors import InputError
from ragstone.index.plans import Plan, fitted, make_plan
from ragstone.index.tuning_results import Skipped

# The documented grids (FEATURES, "Reference defaults and formulas"); their ef_search values are among `plans.efforts`.
HNSW_M = (8, 16, 32, 64)
HNSW_EF_CONSTRUCTION = (100, 200, 400)
OPQ_CODE_BITS = (8, 16, 32)  # 16 and 32 cannot be built: FAISS's graph over codes takes 8; they are reported
OPQ_SUBQUANTIZERS = (16, 32, 64)
OPQ_M = (8, 16, 32)


def plans_to_try(*, count: int, dim: int) -> tuple[tuple[Plan, ...], tuple[Skipped, ...]]:
    """The different plans that `count` vectors of `dim` numbers can carry, and those asked for that they cannot."""
    plans: dict[str, Plan] = {}
    skipped: list[Skipped] = []
    for index_type, given in _wanted(count, dim):
        try:
            plan, changed = fitted(make_plan(index_type, dim=dim, **given), count=count, dim=dim)
        except InputError as error:
            skipped.append(Skipped(index_type, given, "invalid", str(error)))
            continue
        if changed is not None and (plan.index_type != index_type or str(plan) in plans):
            skipped.append(Skipped(index_type, given, "invalid", changed))
            continue
        plans.setdefault(str(plan), plan)
    return tuple(plans.values()), tuple(skipped)


def _wanted(count: int, dim: int) -> Iterator[tuple[str, dict[str, int]]]:
    yield from _promising(count, dim)
    graphs = sorted(itertools.product(HNSW_M, HNSW_EF_CONSTRUCTION), key=math.prod)  # quick to build first
    for m, ef_construction in graphs:
        yield "HNSW", {"m": m, "ef_construction": ef_construction}
    for bits, codes, m in itertools.product(OPQ_CODE_BITS, OPQ_SUBQUANTIZERS, OPQ_M):
        yield "OPQ+HNSW", {"m_pq": bits, "n_subquantizers": codes, "m_hnsw": m}
    yield "LSH", {}


def _promising(count: int, dim: int) -> Iterator[tuple[str, dict[str, int]]]:
    """What DESIGN measured best, then the documented defaults, then neighbours of both."""
    lists = max(1, round(4 * math.sqrt(count)))
    fewer = max(1, lists // 2)
    yield "Flat,FP16", {}
    yield "PQ,FastScan", {}
    if dim % 4 == 0:
        yield "PQ,FastScan", {"n_subquantizers": dim // 4}
    yield "IVF,PQ,FastScan", {"nlist": lists}
    yield "HNSW,SQ8", {"m": 32, "ef_construction": 100}
    yield "IVF,SQ8", {"nlist": lists}
    yield "HNSW", {"m": 32, "ef_construction": 200}
    yield "OPQ+HNSW", {"m_pq": 8, "n_subquantizers": 32, "m_hnsw": 16}
    yield "IVF,PQ,FastScan", {"nlist": fewer}
    yield "HNSW,SQ8", {"m": 16, "ef_construction": 100}
    yield "IVF,SQ8", {"nlist": fewer}
    yield "SQ8", {}
    yield "IVF", {"nlist": lists}
