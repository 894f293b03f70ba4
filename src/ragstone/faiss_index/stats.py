"""What a `FAISSIndex` says about itself: kind, size, memory, parameters in use, query times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ragstone.faiss_index.calibration import cheapest
from ragstone.faiss_index.options import AUTO, Options
from ragstone.faiss_index.snapshot import Snapshot
from ragstone.index.plans import Effort, default_probes, knob

_QUANTILES = (50, 90, 95, 99)


def describe(options: Options, snapshot: Snapshot, times_s: Sequence[float]) -> dict[str, Any]:
    """Every key, always; times are 0 before the first search. Bytes do not count ids and metadata."""
    base = snapshot.base
    plan = None if base is None else base.plan
    effort = _effort(options, snapshot)
    _, reason = options.plan(snapshot.count)
    return {
        "index_type": options.index_type,
        "built_type": None if plan is None else plan.index_type,
        "reason": "few vectors: compared one by one" if plan is None else reason,
        "is_trained": plan is not None,
        "dimension": options.dim,
        "metric": options.metric,
        "device": options.device,
        "model_id": options.model_id,
        "config": _config(options, snapshot, effort),
        "probes": None if effort is None else effort.probes,
        "candidates": None if effort is None else effort.candidates,
        "recall_target": options.recall,
        "total_vectors": snapshot.count,
        "tail_vectors": len(snapshot.tail),
        "removed_vectors": snapshot.buried,
        **_bytes(snapshot),
        **_times(times_s),
    }


def _effort(options: Options, snapshot: Snapshot) -> Effort | None:
    """What a search for ten hits spends; None: it compares all, or that is not known without measuring."""
    base = snapshot.base
    if base is None:
        return (
            Effort()
            if options.index_type == AUTO
            else options.effort(options.wanted, top_k=10, count=1 << 30)
        )
    if options.recall is None:
        return options.effort(base.plan, top_k=10, count=base.count)
    return cheapest(base.tables.get(10, ()), options.recall)


def _config(options: Options, snapshot: Snapshot, effort: Effort | None) -> dict[str, int]:
    """The parameters built with, those wanted while nothing is built; `ef_search` or `nprobe` among them."""
    if snapshot.base is None and options.index_type == AUTO:
        return {}
    plan = options.wanted if snapshot.base is None else snapshot.base.plan
    turned = knob(plan.index_type)
    if turned is None:
        return dict(plan.parameters)
    probes = options.probes or default_probes(plan.index_type)
    if options.recall is not None and effort is not None:
        probes = effort.probes
    return {**plan.parameters, turned: probes}


def _bytes(snapshot: Snapshot) -> dict[str, int]:
    base = snapshot.base
    index = 0 if base is None else base.index_bytes
    beside = 0 if base is None or not base.keeps_vectors_beside else 4 * base.dim * base.count
    tail = snapshot.tail.nbytes
    mapped = 0
    if base is not None and base.mapped:
        # FAISS copies packed codes when it maps a file; everything else stays in it.
        mapped = beside + (0 if "FastScan" in base.plan.index_type else index)
    if isinstance(snapshot.tail, np.memmap):
        mapped += snapshot.tail.nbytes
    return {
        "index_bytes": index,
        "vectors_bytes": beside + tail,
        "mapped_bytes": mapped,
        "memory_bytes": index + beside + tail - mapped,
    }


def _times(times_s: Sequence[float]) -> dict[str, float]:
    times_ms = 1e3 * np.array(times_s) if times_s else np.zeros(1)
    quantiles = {
        f"p{share}_query_time_ms": round(float(np.percentile(times_ms, share)), 4) for share in _QUANTILES
    }
    return {
        "queries_timed": len(times_s),
        "avg_query_time_ms": round(float(times_ms.mean()), 4),
        **quantiles,
    }
