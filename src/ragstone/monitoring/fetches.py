"""Fetches from parallel sources, under the names that document 001 gives them: `rag_graph_fetch` and its like."""

from __future__ import annotations

from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import default_monitor

PREPARE = "prepare"  # the step before the fetches


def operation_of(step: str) -> str:
    """`rag_prepare_query`, or `rag_<source>_fetch`; documented are graph, corpus, persona and domain."""
    return "rag_prepare_query" if step == PREPARE else f"rag_{step}_fetch"


def record_fetch(
    step: str,
    took_ms: float,
    failed: bool,  # noqa: FBT001  - as `ParallelRetriever` says it
    monitor: PerformanceMonitor | None = None,
) -> None:
    """Record one step of a parallel fetch; one that failed or was late counts as failed and is not timed."""
    recorder = monitor or default_monitor()
    if failed:
        recorder.record_error(operation_of(step))
    else:
        recorder.observe(operation_of(step), took_ms)
