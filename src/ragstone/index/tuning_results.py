"""What tuning found: a setting with its measurements, the front of those worth having, and the best for a purpose.

Data and choices only; knows neither FAISS nor how anything was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, cast

from ragstone.errors import InputError
from ragstone.index.plans import Effort, Metric, Plan, knob, plan_from_json

Objective: TypeAlias = Literal["latency", "memory", "recall"]
OBJECTIVES: tuple[Objective, ...] = ("latency", "memory", "recall")
QuerySource: TypeAlias = Literal["given", "held out", "synthetic"]

_MB = 1_000_000
# Finding all neighbours leaves no share to miss; half a percent stands for it where misses are compared.
_LOST_MIN = 0.005


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The chosen setting measured again, in a fresh process over mapped files.

    `resident_bytes`: what the process grew by when it opened the index and searched it for every query, the exact
    vectors left out. Below some megabytes it says more about the process than about the index.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    recall_10: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class TuningResult:
    """One plan searched with one effort, measured over `count` vectors of `dim` dimensions.

    `recall_10` and `recall_100`: share of the exact 10 and 100 nearest that were found, 0 to 1 (for 100 hits the
    effort is raised to what they need). Times are of single queries for 10 hits on one thread, in ms, after a
    warm-up, of each query the median of five; `build_s` is on one thread too. `memory_bytes`: the index as it is
    stored, which is what must stay in memory; the exact vectors that rank its candidates lie mapped beside it.
    `missed` names the targets it fails, empty if none or none were set.
    """

    plan: Plan
    effort: Effort
    dim: int
    count: int
    metric: Metric
    recall_10: float
    recall_100: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    build_s: float
    memory_bytes: int
    reasons: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    confirmed: Confirmation | None = None

    def __str__(self) -> str:
        return f"{self.plan}{effort_text(self.plan, self.effort)}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back, with the plan's fields on the first level."""
        measured = {name: value for name, value in asdict(self).items() if name not in {"plan", "effort"}}
        measured |= {"reasons": list(self.reasons), "missed": list(self.missed)}
        return {**self.plan.to_json(), "effort": asdict(self.effort), **measured}

    @classmethod
    def from_json(cls, given: object) -> TuningResult:
        """The result that `to_json` wrote. Raises `InputError` naming the field that is missing or wrong."""
        entry = _object(given, "a tuning result")
        dim = _whole(entry, "dim")
        effort = _object(entry.get("effort"), "effort")
        confirmed = entry.get("confirmed")
        return cls(
            plan=plan_from_json({key: entry.get(key) for key in ("index_type", "parameters")}, dim=dim),
            effort=Effort(_whole(effort, "probes"), _whole(effort, "candidates")),
            dim=dim,
            count=_whole(entry, "count"),
            metric=cast(Metric, _one_of(entry, "metric", ("cosine", "ip", "l2"))),
            recall_10=_number(entry, "recall_10"),
            recall_100=_number(entry, "recall_100"),
            p50_ms=_number(entry, "p50_ms"),
            p95_ms=_number(entry, "p95_ms"),
            p99_ms=_number(entry, "p99_ms"),
            build_s=_number(entry, "build_s"),
            memory_bytes=_whole(entry, "memory_bytes"),
            reasons=_texts(entry, "reasons"),
            missed=_texts(entry, "missed"),
            confirmed=None if confirmed is None else _confirmation(_object(confirmed, "confirmed")),
        )


@dataclass(frozen=True, slots=True)
class Skipped:
    """A plan that was not measured. `why`: `invalid` cannot be built, `pruned` had no prospect, `budget` no time,
    `stopped` the caller asked to stop."""

    index_type: str
    parameters: Mapping[str, int]
    why: Literal["invalid", "pruned", "budget", "stopped"]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TuningRun:
    """All that one run of tuning measured (iterating gives its results) and what it left out, and why.

    `queries` says where the queries came from; `seconds` is the whole run.
    """

    results: tuple[TuningResult, ...]
    skipped: tuple[Skipped, ...]
    count: int
    dim: int
    metric: Metric
    queries: QuerySource
    n_queries: int
    seconds: float

    def __getitem__(self, place: int) -> TuningResult:
        return self.results[place]

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[TuningResult]:
        return iter(self.results)

    @property
    def stopped(self) -> bool:
        """Whether the caller ended the run early."""
        return any(plan.why == "stopped" for plan in self.skipped)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        listed = {name: [entry.to_json() for entry in plain[name]] for name in ("results", "skipped")}
        return plain | listed


@dataclass(frozen=True, slots=True)
class Targets:
    """What a setting must keep to; None where nothing is asked. `memory_mb` in 10⁶ bytes."""

    recall: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    memory_mb: float | None = None

    def __post_init__(self) -> None:
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InputError(
                f"a recall of {self.recall}", hint="above 0, at most 1 (0.95 finds 19 of 20 nearest)"
            )
        for name in ("p95_ms", "p99_ms", "memory_mb"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name} is {value}", hint="a number above 0")

    def missed(self, result: TuningResult) -> dict[str, float]:
        """The sentence of each target that `result` fails, with how far: 1 is twice what is allowed.

        For recall what counts is the share that may be lost: .96 against .98 loses twice as much, so 1.
        """
        failed: dict[str, float] = {}
        if self.recall is not None and result.recall_10 < self.recall:
            allowed = max(1 - self.recall, _LOST_MIN)
            said = f"recall@10 is {result.recall_10:.4g}, not {self.recall:g}"
            failed[said] = (self.recall - result.recall_10) / allowed
        for name, limit in (("p95", self.p95_ms), ("p99", self.p99_ms)):
            found = result.p95_ms if name == "p95" else result.p99_ms
            if limit is not None and found > limit:
                failed[f"{name} is {found:.3g} ms, not {limit:g} ms"] = found / limit - 1
        if self.memory_mb is not None and result.memory_bytes > self.memory_mb * _MB:
            said = f"memory is {result.memory_bytes / _MB:,.1f} MB, not {self.memory_mb:,g} MB"
            failed[said] = result.memory_bytes / (self.memory_mb * _MB) - 1
        return failed


def effort_text(plan: Plan, effort: Effort) -> str:
    """`, nprobe 16, 40 candidates`: what a search with this effort spends; empty where nothing can be turned."""
    name = knob(plan.index_type)
    probes = f", {name} {effort.probes}" if name is not None else ""
    return probes + (f", {effort.candidates} candidates" if effort.candidates else "")


def pareto_front(results: Iterable[TuningResult]) -> tuple[TuningResult, ...]:
    """The results that no other beats, quickest first: none is at least as good in p95, memory and recall and
    better in one of them. Of equals the first."""
    front: list[TuningResult] = []
    for result in sorted(results, key=lambda r: (r.p95_ms, r.memory_bytes, -r.recall_10)):
        # Those before are at least as quick; they beat this one where they are no larger and find no less.
        if not any(
            other.memory_bytes <= result.memory_bytes and other.recall_10 >= result.recall_10
            for other in front
        ):
            front.append(result)
    return tuple(front)


def select_best(
    results: Iterable[TuningResult],
    objective: Objective = "latency",
    *,
    recall: float | None = None,
    p95_ms: float | None = None,
    p99_ms: float | None = None,
    memory_mb: float | None = None,
) -> TuningResult:
    """The best result among those that meet the targets: least p95, least memory or most recall.

    No result that meets the targets beats it. When none does, the one that misses them by least in sum, its
    `missed` saying which. Raises `InputError` for an unknown objective, a target that cannot be, or no results.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"no objective {objective!r}", hint="one of " + ", ".join(OBJECTIVES))
    measured = tuple(results)
    if not measured:
        raise InputError("there are no results to choose from")
    targets = Targets(recall, p95_ms, p99_ms, memory_mb)

    def order(result: TuningResult) -> tuple[float, ...]:
        axes = {"latency": result.p95_ms, "memory": result.memory_bytes, "recall": -result.recall_10}
        first = axes.pop(objective)
        return (sum(targets.missed(result).values()), first, *axes.values())

    best = min(measured, key=order)
    return replace(best, missed=tuple(targets.missed(best)))


def _confirmation(entry: Mapping[str, Any]) -> Confirmation:
    return Confirmation(
        p50_ms=_number(entry, "p50_ms"),
        p95_ms=_number(entry, "p95_ms"),
        p99_ms=_number(entry, "p99_ms"),
        recall_10=_number(entry, "recall_10"),
        resident_bytes=_whole(entry, "resident_bytes"),
    )


def _object(given: object, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"{what} is {type(given).__name__}, not an object")
    return given


def _list(entry: Mapping[str, Any], name: str) -> list[Any]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise InputError(f"{name} is {type(value).__name__}, not a list")
    return value


def _texts(entry: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(str(text) for text in _list(entry, name))


def _whole(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{name} is {value!r}, not a whole number")
    return value


def _number(entry: Mapping[str, Any], name: str) -> float:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}, not a number")
    return float(value)


def _one_of(entry: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = entry.get(name)
    if value not in allowed:
        raise InputError(f"{name} is {value!r}", hint="one of " + ", ".join(allowed))
    return str(value)
