"""Plans: which FAISS index is built over a set of vectors, with which parameters; no FAISS in here.

A plan is data, written to manifests and tuning results and read back from them, so each value is checked
where it comes in. Names are those of the reference documents and of FAISS's factory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ragstone.errors import InputError

Metric: TypeAlias = Literal["cosine", "ip", "l2"]  # cosine: inner product of unit vectors
# The share of the true nearest that searches ask for unless told otherwise (the setting `recall`).
USUAL_RECALL = 0.98

# What each type takes to be built: parameter → (default, lowest, highest). Sources of the defaults: FEATURES
# "Reference defaults" for the five documented types; DESIGN "What the measurements say" for the others.
_M = (32, 4, 128)
_NLIST = (100, 1, 1 << 18)
_PARAMETERS: Mapping[str, Mapping[str, tuple[int, int, int]]] = {
    "Flat": {},
    "Flat,FP16": {},
    "SQ8": {},
    "LSH": {"nbits": (0, 8, 1 << 15)},  # 0: four bits a dimension
    "PQ,FastScan": {"n_subquantizers": (0, 1, 4096)},  # 0: see `_pairs`; 4 bits each
    "IVF": {"nlist": _NLIST},
    "IVF,SQ8": {"nlist": _NLIST},
    "IVF,PQ,FastScan": {"nlist": _NLIST, "n_subquantizers": (0, 1, 4096)},
    "HNSW": {"m": _M, "ef_construction": (200, 8, 4096)},
    "HNSW,SQ8": {"m": _M, "ef_construction": (100, 8, 4096)},
    "OPQ+HNSW": {
        "n_subquantizers": (32, 1, 4096),
        "m_pq": (8, 4, 8),  # bits of one code; FAISS's HNSW over PQ knows no wider ones
        "m_hnsw": (16, 4, 128),
        "ef_construction": (200, 8, 4096),
    },
}
INDEX_TYPES = tuple(_PARAMETERS)

# What a search turns to trade time for recall, and where it starts.
_KNOBS: Mapping[str, tuple[str, int]] = {
    "IVF": ("nprobe", 10),
    "IVF,SQ8": ("nprobe", 10),
    "IVF,PQ,FastScan": ("nprobe", 10),
    "HNSW": ("ef_search", 64),
    "HNSW,SQ8": ("ef_search", 64),
    "OPQ+HNSW": ("ef_search", 64),
}
MAX_EFFORT = 1 << 16

# Codes of these lose enough that their order wants the exact vectors' word.
_COARSE = frozenset({"LSH", "PQ,FastScan", "IVF,PQ,FastScan", "OPQ+HNSW"})
_EXACT = frozenset({"Flat", "Flat,FP16"})

# How many candidates exact vectors rank for each hit. Coarse codes: of ten hits one in a thousand is lost (5,000
# clustered × 32: LSH .999, 4-bit codes 1.0; with four candidates .80 and .87). One byte a number: .996 becomes .999
# (11k MiniLM embeddings). A candidate costs 0.2 µs.
_COARSE_CANDIDATES = 10
_BYTE_CANDIDATES = 2

TRAIN_ROWS_PER_LIST = 39  # FAISS's own minimum for k-means
_CODE_BITS = 4  # FastScan's
# From 1,024 on FAISS's scan puts rows in so wrong an order that no effort keeps the recall asked for (LAB).
_CODES_MAX = 512


@dataclass(frozen=True, slots=True)
class Plan:
    """An index type and what it is built with; `parameters` is complete, each value inside its range."""

    index_type: str
    parameters: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.index_type} ({given})" if given else self.index_type

    def to_json(self) -> dict[str, object]:
        """A JSON object that `plan_from_json` reads back."""
        return {"index_type": self.index_type, "parameters": dict(self.parameters)}


@dataclass(frozen=True, slots=True)
class Effort:
    """What one search spends: `probes` is `ef_search` or `nprobe` (0 where the type has neither),
    `candidates` how many rows are ranked again by their exact vectors (0: the index's own order stands)."""

    probes: int = 0
    candidates: int = 0


def make_plan(index_type: str, *, dim: int, **given: int) -> Plan:
    """A checked plan for `dim`-dimensional vectors; parameters not given get their defaults.

    Raises `InputError` naming the type, the parameter, its value and what it may be.
    """
    known = _PARAMETERS.get(index_type)
    if known is None:
        raise InputError(f"no index type {index_type!r}", hint="one of " + ", ".join(INDEX_TYPES))
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        takes = ", ".join(known) or "no parameters"
        raise InputError(f"{index_type} has no parameter {unknown[0]!r}", hint=f"it takes {takes}")
    parameters: dict[str, int] = {}
    for name, (default, lowest, highest) in known.items():
        value = given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{name} of {index_type} is {value!r}, not a whole number")
        if value != default and not lowest <= value <= highest:
            raise InputError(f"{name} of {index_type} is {value}, the range is {lowest} to {highest:,}")
        parameters[name] = value
    if parameters.get("n_subquantizers") == 0:
        parameters["n_subquantizers"] = _pairs(dim)
    if parameters.get("nbits") == 0:
        _, lowest, highest = known["nbits"]
        parameters["nbits"] = min(max(4 * dim, lowest), highest)
    split = parameters.get("n_subquantizers")
    if split is not None and dim % split:
        raise InputError(
            f"n_subquantizers of {index_type} is {split}, which does not divide the dimension {dim}",
            hint=f"one of {', '.join(str(d) for d in range(1, dim + 1) if dim % d == 0)}",
        )
    return Plan(index_type, parameters)


def plan_from_json(fields: object, *, dim: int) -> Plan:
    """The plan that `Plan.to_json` wrote. Raises `InputError` for anything else."""
    if not isinstance(fields, dict) or not isinstance(fields.get("parameters", {}), dict):
        raise InputError("a plan is an object with index_type and parameters")
    return make_plan(str(fields.get("index_type")), dim=dim, **fields.get("parameters", {}))


def fitted(plan: Plan, *, count: int, dim: int) -> tuple[Plan, str | None]:
    """The plan that `count` vectors can carry, and why it differs from the one asked for (None: it does not).

    Fewer vectors than lists need get fewer lists; fewer than a code book has entries are kept as they are.
    """
    codes = {"PQ,FastScan": _CODE_BITS, "IVF,PQ,FastScan": _CODE_BITS}.get(plan.index_type)
    codes = plan.parameters.get("m_pq", codes)
    if codes is not None and count < 1 << codes:
        reason = f"{plan.index_type} needs {1 << codes} vectors to learn its codes, there are {count}: Flat"
        return Plan("Flat"), reason
    wanted = plan.parameters.get("nlist")
    possible = max(1, count // TRAIN_ROWS_PER_LIST)
    if wanted is not None and wanted > possible:
        reason = (
            f"{count} vectors fill {possible} lists of {TRAIN_ROWS_PER_LIST}, not {wanted}: nlist={possible}"
        )
        given = {**plan.parameters, "nlist": possible}
        return make_plan(plan.index_type, dim=dim, **given), reason
    return plan, None


def knob(index_type: str) -> str | None:
    """The search parameter that trades time for recall: `nprobe`, `ef_search`, or None."""
    name, _ = _KNOBS.get(index_type, (None, 0))
    return name


def default_probes(index_type: str) -> int:
    """The documented start of a type's `nprobe` or `ef_search`; 0 where it has neither."""
    _, probes = _KNOBS.get(index_type, ("", 0))
    return probes


def default_effort(plan: Plan, *, top_k: int, count: int) -> Effort:
    """A search without a stated recall: the documented knob, and candidates to rank where codes are not exact."""
    probes = default_probes(plan.index_type)
    per_hit = _COARSE_CANDIDATES if plan.index_type in _COARSE else 0
    if plan.index_type.endswith("SQ8"):
        per_hit = _BYTE_CANDIDATES
    return fitted_effort(plan, Effort(probes, per_hit * top_k), top_k=top_k, count=count)


def fitted_effort(plan: Plan, effort: Effort, *, top_k: int, count: int) -> Effort:
    """An effort that can find `top_k` of `count` rows: the knob not below what the candidates need."""
    candidates = min(max(effort.candidates, top_k), count, MAX_EFFORT) if effort.candidates else 0
    probes = min(effort.probes, MAX_EFFORT)
    if knob(plan.index_type) == "ef_search":
        probes = max(probes, candidates, min(top_k, count))
    elif knob(plan.index_type) == "nprobe":
        probes = max(1, min(probes, plan.parameters["nlist"]))
    return Effort(probes, candidates)


def is_exact(plan: Plan) -> bool:
    """Whether the plan scans every vector at full (or half) precision, so that there is nothing to tune."""
    return plan.index_type in _EXACT


def efforts(plan: Plan, *, top_k: int, count: int) -> list[Effort]:
    """The settings worth calibrating for a plan, cheapest first; a single empty one for exact plans."""
    if is_exact(plan):
        return [Effort()]
    start = max(top_k, 10)
    if knob(plan.index_type) is None:
        factors: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
        found = [Effort(0, start * factor) for factor in factors]
    elif knob(plan.index_type) == "ef_search":
        walks = [max(ef, start) for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)]
        found = [Effort(ef, _ranked_of_walk(plan, ef, start)) for ef in walks]
    else:
        lists = plan.parameters["nlist"]
        steps = [max(1, round(lists * 2 ** (step / 2) / 256)) for step in range(17)]
        factors = (4, 8, 16) if plan.index_type in _COARSE else (2,)
        again = 0 if plan.index_type == "IVF" else start
        found = [Effort(min(n, lists), again * f) for n in steps for f in factors]
    fitting = [fitted_effort(plan, effort, top_k=top_k, count=count) for effort in found]
    return list(dict.fromkeys(fitting))


def _ranked_of_walk(plan: Plan, ef: int, top_k: int) -> int:
    """How many of the `ef` rows that a walk ends with are worth ranking again: all, where codes are coarse."""
    if plan.index_type == "HNSW":
        return 0
    return ef if plan.index_type in _COARSE else min(2 * top_k, ef)


def bytes_per_vector(plan: Plan, *, dim: int) -> float:
    """Bytes of memory that one vector takes in the index itself, the exact vectors beside it not counted."""
    codes = plan.parameters.get("n_subquantizers", 0)
    links = 2 * plan.parameters.get("m", plan.parameters.get("m_hnsw", 0)) * 4 + 8
    ids = 8
    return {
        "Flat": 4 * dim,
        "Flat,FP16": 2 * dim,
        "SQ8": dim,
        "LSH": math.ceil(plan.parameters.get("nbits", 0) / 8),
        "PQ,FastScan": codes / 2,
        "IVF": 4 * dim + ids,
        "IVF,SQ8": dim + ids,
        "IVF,PQ,FastScan": codes / 2 + ids,
        "HNSW": 4 * dim + links,
        "HNSW,SQ8": dim + links,
        "OPQ+HNSW": codes * plan.parameters.get("m_pq", 8) / 8 + links,
    }[plan.index_type]


def _pairs(dim: int) -> int:
    """The number of subquantizers nearest below one for two dimensions, and `_CODES_MAX`, that divides `dim`."""
    return max(split for split in range(1, min(_CODES_MAX, max(1, dim // 2)) + 1) if dim % split == 0)
