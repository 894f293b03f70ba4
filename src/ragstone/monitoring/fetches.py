"""Fetches from parallel sources, under the names that document 001 gives them: `rag_graph_fetch` and its like."""

from __future__ import annotations

from collections.abc import Mapping

from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import default_monitor

PREPARE_QUERY = "rag_prepare_query"  # what comes before the fetches


def fetch_name(source: str) -> str:
    """The operation of a fetch from `source`: `graph`, `corpus`, `persona` and `domain` are the documented ones."""
    return f"rag_{source}_fetch"


def record_fetches(
    prepare_ms: float, fetches_ms: Mapping[str, float | None], monitor: PerformanceMonitor | None = None
) -> None:
    """Record one parallel fetch: what preparing the query took, and each source, None where it failed or was late."""
    recorder = monitor or default_monitor()
    recorder.observe(PREPARE_QUERY, prepare_ms)
    for source, took_ms in fetches_ms.items():
        if took_ms is None:
            recorder.record_error(fetch_name(source))
        else:
            recorder.observe(fetch_name(source), took_ms)
