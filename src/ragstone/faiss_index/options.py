"""What a `FAISSIndex` is asked to be: constructor arguments, config keys and tuning results, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from ragstone.errors import InputError
from ragstone.index.plans import (
    INDEX_TYPES,
    MAX_EFFORT,
    Effort,
    Metric,
    Plan,
    default_effort,
    fitted,
    fitted_effort,
    knob,
    make_plan,
)
from ragstone.index.recommending import recommend

Device: TypeAlias = Literal["cpu", "gpu"]

AUTO = "auto"
_DIMENSION_MAX = 65_536  # no model gives longer vectors by far; a wrong argument does
_RERANK_MAX = 1_024  # candidates a hit; beyond, comparing all vectors is the better plan
_TUNED_TOP_K = 10  # tuning results count their candidates for ten hits


@dataclass(frozen=True, slots=True)
class Options:
    """The wish; what is built of it depends on the vectors there are (`plan`).

    `parameters` are those of the type that were given. `probes` is `ef_search` or `nprobe` (None: the type's
    default), `rerank` the candidates that are ranked by their exact vectors for each hit (None: the type's
    default; 0: none but the hits themselves). `recall`, once `optimize` was asked for one, is what searches aim at.
    """

    dim: int
    index_type: str
    metric: Metric = "l2"
    device: Device = "cpu"
    parameters: Mapping[str, int] = field(default_factory=dict)
    probes: int | None = None
    rerank: int | None = None
    recall: float | None = None
    model_id: str = ""

    def plan(self, count: int) -> tuple[Plan, str | None]:
        """The plan for `count` vectors, and why it is that one (None: it is what was asked for)."""
        if self.index_type == AUTO:
            chosen = recommend(count, self.dim)
            return chosen.plan, "; ".join(chosen.reasons)
        return fitted(self.wanted, count=count, dim=self.dim)

    @property
    def wanted(self) -> Plan:
        """The plan with enough vectors; not for `auto`, which has none before it has vectors."""
        return make_plan(self.index_type, dim=self.dim, **self.parameters)

    def effort(self, plan: Plan, *, top_k: int, count: int) -> Effort:
        """What a search without a stated recall spends."""
        usual = default_effort(plan, top_k=top_k, count=count)
        probes = usual.probes if self.probes is None else self.probes
        candidates = usual.candidates if self.rerank is None else self.rerank * top_k
        return fitted_effort(plan, Effort(probes, candidates), top_k=top_k, count=count)

    def with_effort(self, effort: Effort) -> Options:
        """These options with an effort that was measured for ten hits."""
        return replace(self, probes=effort.probes or None, rerank=-(-effort.candidates // _TUNED_TOP_K))

    def to_json(self) -> dict[str, object]:
        """A JSON object that `options_from_json` reads back."""
        return {
            "dimension": self.dim,
            "index_type": self.index_type,
            "metric": self.metric,
            "parameters": dict(self.parameters),
            "probes": self.probes,
            "rerank": self.rerank,
            "recall": self.recall,
            "model_id": self.model_id,
        }


def make_options(
    dimension: int,
    index_type: str,
    *,
    nlist: int,
    nprobe: int,
    device: str,
    config: Mapping[str, int] | None,
    metric: str,
    rerank: int | None,
    model_id: str,
) -> Options:
    """Checked options from the constructor's arguments; `nlist` and `nprobe` matter to IVF types only.

    Raises `InputError` naming the argument or config key, its value and what it may be.
    """
    _whole("dimension", dimension, 1, _DIMENSION_MAX)
    if index_type != AUTO and index_type not in INDEX_TYPES:
        raise InputError(f"no index type {index_type!r}", hint=f"one of {', '.join(INDEX_TYPES)}, {AUTO}")
    if metric not in get_args(Metric):
        raise InputError(f"no metric {metric!r}", hint="one of " + ", ".join(get_args(Metric)))
    if device not in get_args(Device):
        raise InputError(f"no device {device!r}", hint="cpu or gpu")
    if rerank is not None:
        _whole("rerank", rerank, 0, _RERANK_MAX)
    given: dict[str, int] = {}
    if index_type.startswith("IVF"):
        given = {"nlist": nlist, "nprobe": nprobe}
    given |= _named(config or {}, index_type)
    turned = None if index_type == AUTO else knob(index_type)
    probes = None if turned is None else given.pop(turned, None)
    if probes is not None:
        _whole(str(turned), probes, 1, MAX_EFFORT)
    options = Options(
        dim=dimension,
        index_type=index_type,
        metric=_metric(metric),
        device="gpu" if device == "gpu" else "cpu",
        parameters=given,
        probes=probes,
        rerank=rerank,
        model_id=model_id,
    )
    if index_type != AUTO:
        _ = options.wanted  # raises for what cannot be built
    return options


def options_from_json(fields: Mapping[str, Any], *, device: Device) -> Options:
    """What `Options.to_json` wrote, for use on a device. Raises `InputError` for values out of range."""
    parameters = dict(fields["parameters"])
    turned = None if fields["index_type"] == AUTO else knob(fields["index_type"])
    if turned is not None and fields["probes"] is not None:
        parameters[turned] = fields["probes"]
    options = make_options(
        fields["dimension"],
        fields["index_type"],
        nlist=parameters.get("nlist", 100),
        nprobe=parameters.get("nprobe", 10),
        device=device,
        config=parameters,
        metric=fields["metric"],
        rerank=fields["rerank"],
        model_id=fields["model_id"],
    )
    return replace(options, probes=fields["probes"], recall=fields["recall"])


def _named(config: Mapping[str, int], index_type: str) -> dict[str, int]:
    """Config keys under their own names: `ef_construction`, `efConstruction` and `EF_CONSTRUCTION` are one."""
    if index_type == AUTO:
        if config:
            raise InputError("auto chooses the parameters too, it takes no config", hint="name an index type")
        return {}
    names = _names(index_type)
    given: dict[str, int] = {}
    for key, value in config.items():
        name = names.get(_bare(key))
        if name is None:
            takes = ", ".join(names.values()) or "no parameters"
            raise InputError(f"{index_type} has no parameter {key!r}", hint=f"it takes {takes}")
        if name in given:
            raise InputError(f"{name} is given twice", hint=f"keep one spelling of {key!r}")
        given[name] = value
    return given


def _names(index_type: str) -> dict[str, str]:
    """Bare spelling → name of every parameter that a type takes, its knob included."""
    # A dimension that every default split divides: the names do not depend on it.
    names = [*make_plan(index_type, dim=1024).parameters]
    turned = knob(index_type)
    return {_bare(name): name for name in [*names, *([turned] if turned else [])]}


def _bare(key: object) -> str:
    return str(key).replace("_", "").lower()


def _metric(name: str) -> Metric:
    return next(metric for metric in get_args(Metric) if metric == name)


def _whole(name: str, value: object, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InputError(f"{name} is {value!r}", hint=f"a whole number from {lowest} to {highest:,}")


def tuned(tuning_result: object) -> tuple[str, dict[str, int], Effort | None]:
    """(index type, config, effort) of a tuning result: an object with `plan` and `effort`, a mapping, or a JSON file.

    A mapping is `{"index_type", "parameters", "effort": {"probes", "candidates"}}` as `TuningResult.to_json` gives
    it, or flat: the type (else HNSW) and its config keys beside measurements, which are passed over. The effort is
    None where only config keys say it. Raises `InputError` for anything else.
    """
    if isinstance(tuning_result, str | Path):
        tuning_result = _read(Path(tuning_result))
    if not isinstance(tuning_result, Mapping):
        plan, effort = getattr(tuning_result, "plan", None), getattr(tuning_result, "effort", None)
        if not isinstance(plan, Plan) or not isinstance(effort, Effort):
            raise InputError(
                f"a {type(tuning_result).__name__} is no tuning result",
                hint="pass what FAISSTuner returned, its to_json(), or the path of a saved one",
            )
        return plan.index_type, dict(plan.parameters), effort
    index_type = str(tuning_result.get("index_type", "HNSW"))
    if index_type not in INDEX_TYPES:
        raise InputError(f"the tuning result names no index type but {index_type!r}")
    nested: object = next(
        (tuning_result[key] for key in ("parameters", "config", "params") if key in tuning_result), {}
    )
    if not isinstance(nested, Mapping):
        raise InputError(f"the tuning result's parameters are a {type(nested).__name__}, not a mapping")
    names = _names(index_type)
    flat = {key: value for key, value in tuning_result.items() if _bare(key) in names}
    return index_type, {**flat, **nested}, _effort(tuning_result.get("effort"))


def _effort(fields: object) -> Effort | None:
    if fields is None:
        return None
    if not isinstance(fields, Mapping):
        raise InputError(f"the tuning result's effort is {fields!r}, not probes and candidates")
    probes, candidates = fields.get("probes", 0), fields.get("candidates", 0)
    _whole("probes of the tuning result", probes, 0, MAX_EFFORT)
    _whole("candidates of the tuning result", candidates, 0, _RERANK_MAX * _TUNED_TOP_K)
    return Effort(probes, candidates)


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"the tuning result {path} cannot be read: {error}") from error
