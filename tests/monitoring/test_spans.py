"""Spans for who exports them, by OpenTelemetry's own interface; for all others nothing, not even an import."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

WITHOUT = """
import sys
from ragstone.monitoring.monitor import PerformanceMonitor
PerformanceMonitor().observe("search", 5.0, {"embed": 2.0})
assert "opentelemetry" not in sys.modules
"""

WITHOUT_A_PROVIDER = """
from opentelemetry import trace
from ragstone.monitoring.monitor import PerformanceMonitor
asked = []
trace.ProxyTracerProvider.get_tracer = lambda *arguments, **options: asked.append(1)
PerformanceMonitor().observe("search", 5.0, {"embed": 2.0})
assert not asked
"""

WITH = """
import time
from opentelemetry import trace
from ragstone.monitoring.monitor import PerformanceMonitor

spans, recording = [], True

class Span(trace.NonRecordingSpan):
    def is_recording(self):
        return recording
    def end(self, end_time=None):
        self.ended_ns = end_time

class Tracer(trace.Tracer):
    def start_span(self, name, context=None, start_time=None, **options):
        parent = trace.get_current_span(context)
        span = Span(trace.SpanContext(1, len(spans) + 1, is_remote=False))
        span.name, span.parent, span.started_ns = name, parent, start_time
        spans.append(span)
        return span
    start_as_current_span = None

Tracer.__abstractmethods__ = frozenset()

class Provider(trace.TracerProvider):
    def get_tracer(self, name, *arguments, **options):
        assert name == "ragstone"
        return Tracer()

trace.set_tracer_provider(Provider())
monitor = PerformanceMonitor()
callers = Span(trace.SpanContext(1, 99, is_remote=False))
with trace.use_span(callers):
    before_ns = time.time_ns()
    monitor.observe("search", 5.0, {"load": 0.5, "embed": 2.0, "dense": 1.0, "unheard": 9.0})
    after_ns = time.time_ns()
root, *stages = spans
assert root.name == "ragstone.search" and root.parent is callers
assert [stage.name for stage in stages] == ["ragstone.search." + s for s in ("embed", "dense", "load")]
assert all(stage.parent is root for stage in stages)
assert before_ns <= root.ended_ns <= after_ns and root.ended_ns - root.started_ns == 5_000_000
assert [s.ended_ns - s.started_ns for s in stages] == [2_000_000, 1_000_000, 500_000]
assert [s.started_ns - root.started_ns for s in stages] == [0, 2_000_000, 3_000_000]
spans.clear()
monitor.observe("quick", 1.0, {"embed": 2.0})
assert spans[1].ended_ns == spans[0].ended_ns
spans.clear()
recording = False
monitor.observe("search", 5.0, {"embed": 2.0})
assert [span.name for span in spans] == ["ragstone.search"] and spans[0].ended_ns
spans.clear()
monitor.enabled = False
monitor.observe("search", 5.0)
assert not spans
"""

IN_A_SERVICE = """
import tempfile
from opentelemetry import trace
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from server.live import running

seen = []

class Span(trace.NonRecordingSpan):
    def is_recording(self):
        return True
    def set_attribute(self, *told):
        seen.append(told)
    set_attributes = add_event = record_exception = set_attribute

class Tracer(trace.Tracer):
    def start_span(self, *told, **options):
        seen.append((told, options))
        return Span(trace.SpanContext(1, len(seen), is_remote=False))
    def start_as_current_span(self, *told, **options):
        return trace.use_span(self.start_span(*told, **options))

class Provider(trace.TracerProvider):
    def get_tracer(self, *arguments, **options):
        return Tracer()

trace.set_tracer_provider(Provider())
with tempfile.TemporaryDirectory() as folder, Ragstone(folder, embedder=HashingEmbedder()) as engine:
    engine.add(["The observatory opens at nine."])
    with running(engine) as live:
        live.wait_ready()
        assert live.get("/api/search?q=confidential").status == 200
        assert live.get("/api/search?q=confidential&k=many").status == 422
assert "ragstone.search" in repr(seen)
assert "confidential" not in repr(seen), seen
"""


def test_an_application_without_opentelemetry_pays_no_import() -> None:
    run(WITHOUT)


@pytest.mark.skipif(find_spec("opentelemetry") is None, reason="opentelemetry-api is not installed")
@pytest.mark.parametrize("code", [WITHOUT_A_PROVIDER, WITH])
def test_spans_are_made_only_for_a_provider(code: str) -> None:
    run(code)


@pytest.mark.skipif(find_spec("opentelemetry") is None, reason="opentelemetry-api is not installed")
def test_no_span_of_a_service_tells_what_was_asked() -> None:
    run(IN_A_SERVICE)


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
