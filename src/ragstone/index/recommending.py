"""Which plan suits a number of vectors, a memory budget and a recall, and why, in words; no FAISS in here.

The rules are DESIGN's "What the measurements say"; the figures are those measurements, scaled. They are what a
collection starts with before anybody has tuned it on its own vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ragstone.errors import InputError
from ragstone.index.plans import Plan, bytes_per_vector, fitted, make_plan

# Below this many numbers (10,000 × 384) half-precision vectors are scanned whole in 0.3 ms: nothing to win.
FLAT_NUMBERS = 10_000 * 384
# Up to here a scan of all 4-bit codes takes a ms at most, and does not care where a query lies; lists and graphs do.
FASTSCAN_VECTORS = 200_000
# Lists of codes over 2M take over five minutes to build; beyond, lists of one byte a dimension are made in a third.
CODES_IN_LISTS_VECTORS = 2_000_000
# Fewer codes than one for eight dimensions keep too little to choose candidates by (a prime dimension has one).
DIMS_PER_CODE_MAX = 8
DEFAULT_RECALL = 0.95
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class _Measured:
    """One measurement at 384 dimensions on two cores, searched on one: recall@10, and how the figures grow."""

    count: int
    build_s: float
    latency_ms: float
    recall: float
    build_power: float  # build time grows with count ** power
    latency_power: float  # 0: with the logarithm of the count


# DESIGN "What the measurements say". Flat,FP16: LAB 2026-11-21 (110k). IVF,PQ,FastScan: LAB 2026-11-21 (1M). Learning
# 4√n lists from 64 vectors each is linear in n; giving every vector its list is n √n, and less.
_MEASURED = {
    "Flat,FP16": _Measured(110_000, 0.05, 3.2, 1.0, 1.0, 1.0),
    "PQ,FastScan": _Measured(100_000, 1.1, 0.16, 0.98, 1.0, 1.0),
    "HNSW,SQ8": _Measured(1_000_000, 174, 0.45, 0.97, 1.1, 0.0),
    "IVF,SQ8": _Measured(1_000_000, 51, 0.66, 0.96, 1.1, 0.5),
    "IVF,PQ,FastScan": _Measured(1_000_000, 152, 0.21, 0.98, 1.1, 0.5),
}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A plan and the sentences that explain it, the decisive one first.

    `memory_bytes` is what must stay resident: `bytes_per_vector` for each. The exact vectors that have the last
    word lie mapped beside the index and are read a few rows a query; they are not counted, except where the plan
    scans them. `build_s` (two cores) and `latency_ms` (one query, one core) are scaled from measurements at 384
    dimensions, good to a factor of two.
    """

    plan: Plan
    reasons: tuple[str, ...]
    bytes_per_vector: float
    memory_bytes: int
    build_s: float
    latency_ms: float


def recommend(
    count: int, dim: int, memory_mb: float | None = None, recall: float = DEFAULT_RECALL
) -> Recommendation:
    """The plan for `count` vectors of `dim` numbers that must stay within `memory_mb` (10⁶ bytes) of memory.

    When no plan fits the memory, the smallest one, and the first reason says so. Raises `InputError` for a count,
    dimension, budget or recall (0 < recall ≤ 1) that cannot be.
    """
    _check(count, dim, memory_mb, recall)
    candidates = _by_size(count, dim, recall)
    budget = math.inf if memory_mb is None else memory_mb * _MB
    sizes = [memory_bytes(plan, count=count, dim=dim) for plan, _ in candidates]
    chosen = next((place for place, size in enumerate(sizes) if size <= budget), None)
    reasons: list[str] = []
    if chosen is None:
        chosen = sizes.index(min(sizes))
        reasons.append(f"no plan that reaches recall {recall:g} fits {memory_mb:,g} MB; this is the smallest")
    elif chosen:
        first = candidates[0][0].index_type
        reasons.append(f"{first} would take {_megabytes(sizes[0])}, over the {memory_mb:,g} MB allowed")
    plan, why = candidates[chosen]
    plan, shrunk = fitted(plan, count=count, dim=dim)
    if (
        plan.index_type == "Flat"
    ):  # too few to learn codes from; the exact vectors are there in half precision
        plan = make_plan("Flat,FP16", dim=dim)
    reasons += [why] + ([shrunk] if shrunk else [])
    return _explained(plan, count, dim, reasons)


def suitable_plans(count: int, dim: int) -> list[Plan]:
    """The plans for `count` vectors of `dim` numbers, whatever memory they take, the one to prefer first.

    The next one is for vectors on which the one before finds too little.
    """
    return [fitted(plan, count=count, dim=dim)[0] for plan, _ in _by_size(count, dim, DEFAULT_RECALL)]


def memory_bytes(plan: Plan, *, count: int, dim: int) -> int:
    """What an index of `count` vectors must keep in memory: its codes and links, and the centres of its lists."""
    return round(bytes_per_vector(plan, dim=dim) * count) + 4 * dim * plan.parameters.get("nlist", 0)


def _check(count: int, dim: int, memory_mb: float | None, recall: float) -> None:
    if count < 0 or dim < 1:
        raise InputError(f"{count} vectors of {dim} dimensions", hint="a count from 0 and a dimension from 1")
    if memory_mb is not None and not memory_mb > 0:
        raise InputError(f"a memory budget of {memory_mb} MB", hint="megabytes above 0")
    if not 0 < recall <= 1:
        raise InputError(f"a recall of {recall}", hint="above 0, at most 1 (0.95 finds 19 of 20 nearest)")


def _by_size(count: int, dim: int, recall: float) -> list[tuple[Plan, str]]:
    """Plans that reach the recall and what speaks for each, the one to prefer first."""
    exact = make_plan("Flat,FP16", dim=dim)
    if recall == 1:
        return [(exact, "recall 1 leaves no plan but comparing every vector")]
    scan, listed = _code_plans(count, dim)
    lists = (
        make_plan("IVF,SQ8", dim=dim, nlist=_lists(count)),
        "lists of one byte a dimension are built in a third of a graph's time and take less memory",
    )
    graph = (
        make_plan("HNSW,SQ8", dim=dim),
        f"a walk over a graph is quicker than a scan of {count:,} vectors; one byte a dimension is enough "
        "for the walk, and the exact vectors rank what it finds",
    )
    if count * dim <= FLAT_NUMBERS:
        few = f"{count:,} vectors are so few that comparing all of them is quick, and exact"
        return [(exact, few), *scan]
    if count <= FASTSCAN_VECTORS and scan:
        return [*scan, *listed, lists]
    if count <= CODES_IN_LISTS_VECTORS:
        return [*listed, graph, lists, *scan]
    return [lists, *listed, *scan]


def _code_plans(count: int, dim: int) -> tuple[list[tuple[Plan, str]], list[tuple[Plan, str]]]:
    """The plan of 4-bit codes scanned whole, and that in lists; none where the dimension does not divide well."""
    plan = make_plan("PQ,FastScan", dim=dim)
    if plan.parameters["n_subquantizers"] * DIMS_PER_CODE_MAX < dim:
        return [], []
    listed = make_plan("IVF,PQ,FastScan", dim=dim, nlist=_lists(count))
    scanned = "a scan of 4-bit codes takes the least memory; the exact vectors rank the best of it again"
    if count <= FASTSCAN_VECTORS:
        scanned = (
            f"up to {FASTSCAN_VECTORS:,} vectors a scan of 4-bit codes, the best ranked again by the exact "
            "vectors, is quicker than a graph and built in a fraction of its time"
        )
    lists = (
        "4-bit codes in lists take a sixth of a graph's memory, and only the nearest lists are scanned; the exact "
        "vectors rank the best of what is found again"
    )
    return [(plan, scanned)], [(listed, lists)]


def _lists(count: int) -> int:
    """Four times the root of the count: as measured at 1M (DESIGN), within what a plan may say."""
    return min(max(1, round(4 * math.sqrt(count))), 1 << 18)


def _explained(plan: Plan, count: int, dim: int, reasons: list[str]) -> Recommendation:
    memory = memory_bytes(plan, count=count, dim=dim)
    each = bytes_per_vector(plan, dim=dim)
    reasons.append(f"{each:,.0f} bytes a vector must stay in memory, {_megabytes(memory)} in all")
    if plan.index_type != "Flat,FP16":
        beside = _megabytes(2 * dim * count)
        reasons.append(f"the exact vectors, {beside}, stay mapped on disk; a query reads a few rows of them")
    build_s, latency_ms = _expected(plan, count, dim)
    measured = _measurement(plan)
    reasons.append(
        f"expect {_amount(latency_ms)} ms a query and {_amount(build_s)} s to build: measured were "
        f"{measured.latency_ms:g} ms at recall@10 {measured.recall:g} and {measured.build_s:g} s "
        f"for {measured.count:,} vectors of 384 dimensions"
    )
    return Recommendation(plan, tuple(reasons), each, memory, build_s, latency_ms)


def _expected(plan: Plan, count: int, dim: int) -> tuple[float, float]:
    """(seconds to build, ms of a query), scaled from the measurement of its type."""
    measured = _measurement(plan)
    size = max(count, 1) / measured.count
    width = dim / 384
    if measured.latency_power:
        growth = size**measured.latency_power
    else:
        growth = math.log(max(count, 2)) / math.log(measured.count)
    return measured.build_s * size**measured.build_power * width, measured.latency_ms * growth * width


def _measurement(plan: Plan) -> _Measured:
    return _MEASURED[plan.index_type]


def _amount(value: float) -> str:
    """Two digits, as much as an expectation is worth: `about 0.18`, `under 0.01`."""
    return "under 0.01" if value < 0.01 else f"about {float(f'{value:.2g}'):,g}"


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / _MB:,.1f} MB"
