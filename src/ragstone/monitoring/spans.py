"""OpenTelemetry spans of operations and their stages, for an application that exports spans: nothing otherwise.

Timings come as data when an operation is over, so its spans are made then, with the times they had. The stages of a
search and of an answer follow each other; stages of other names overlap these or stand nobody knows where, and get no
span. A span's parent is the caller's current one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

# In the order in which a search, and after it an answer, goes through them.
STAGES = (
    *("open", "expand", "filter", "embed", "dense", "keyword", "score", "rerank", "graph", "load"),
    *("search", "pack", "ground", "generate", "extract", "cite"),
)
_TRACER_NAME = "ragstone"


def emit_spans(operation: str, took_ms: float, stages_ms: Mapping[str, float]) -> None:
    """Spans for an operation that has just ended; nothing where no provider of spans is configured.

    The package is not imported here: who configured a provider has imported it, and for all others it would be 60 ms.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return
    tracer = provider.get_tracer(_TRACER_NAME)
    ended_ns = time.time_ns()
    started_ns = ended_ns - round(took_ms * 1e6)
    span = tracer.start_span(f"ragstone.{operation}", start_time=started_ns)
    if span.is_recording():
        context = trace.set_span_in_context(span)
        for stage in (stage for stage in STAGES if stage in stages_ms):
            part = tracer.start_span(f"ragstone.{operation}.{stage}", context=context, start_time=started_ns)
            started_ns += round(stages_ms[stage] * 1e6)
            part.end(end_time=min(started_ns, ended_ns))
    span.end(end_time=ended_ns)
