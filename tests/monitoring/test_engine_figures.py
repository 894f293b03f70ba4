"""What an engine tells its monitor: every operation, every stage of a search, failures, and the recall found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from prometheus_parser import parse
from ragstone import Ragstone, Settings
from ragstone.cli.documents import _details
from ragstone.errors import InputError, NotFoundError
from ragstone.index.plans import make_plan
from ragstone.index.recall_keeper import CHECK_EVERY_AT_FIRST, ENOUGH_TO_RAISE
from ragstone.index.synthetic import clustered_vectors
from ragstone.monitoring.durations import WINDOW
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.types import AnswerDone
from ragstone.wire import plain_json

STAGES = {"open", "expand", "filter", "embed", "dense", "keyword", "score", "rerank", "graph", "load"}
TEXTS = [
    "The ferry to Skarholm leaves at 7:40.",
    "The lighthouse was built in 1881.",
    "Cod is sold on Fridays.",
]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    settings = Settings(data_dir=tmp_path)
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as opened:
        opened.add(TEXTS, uris=["a", "b", "c"], titles=["Skarholm", "Skerry Point", ""])
        yield opened


def test_stats_show_percentiles_of_each_operation_and_of_each_stage_of_a_search(engine: Ragstone) -> None:
    found = engine.search("ferry", filter="format:text")
    for _ in range(3):
        engine.search("when does the ferry leave?")
    latencies = engine.stats().latencies_ms
    assert set(latencies) == {"add", "search", *(f"search.{stage}" for stage in STAGES)}
    for name, latency in latencies.items():
        assert latency.count == (1 if name == "add" else 4)
        assert 0 <= latency.p50 <= latency.p90 <= latency.p95 <= latency.p99
    parts = sum(engine.monitor.report()["operations"][f"search.{stage}"]["total_time_ms"] for stage in STAGES)
    assert 0 < parts <= engine.monitor.report()["operations"]["search"]["total_time_ms"]
    assert set(found.timings_ms) == STAGES | {"total"}
    assert set(plain_json(engine.stats())["latencies_ms"]["search.embed"]) == {
        "count",
        "p50",
        "p90",
        "p95",
        "p99",
    }
    rows = dict(_details(engine.stats()))
    assert rows["search.dense"].startswith("p50 ") and rows["search.dense"].endswith(" ms; 4 measured")


def test_the_window_of_a_long_lived_engine_is_bounded(engine: Ragstone) -> None:
    for _ in range(WINDOW + 20):
        engine.search("ferry", mode="keyword")
    assert engine.stats().latencies_ms["search"].count == WINDOW
    assert engine.monitor.report()["operations"]["search"]["count"] == WINDOW + 20


def test_an_answer_is_measured_whether_or_not_its_reader_reads_to_the_very_end(engine: Ragstone) -> None:
    engine.ask("When does the ferry to Skarholm leave?")
    assert engine.stats().latencies_ms["ask"].count == 1
    for event in engine.ask_stream("When does the ferry to Skarholm leave?"):
        if isinstance(event, AnswerDone):
            break
    assert engine.stats().latencies_ms["ask"].count == 2
    stream = engine.ask_stream("When does the ferry to Skarholm leave?")
    next(stream)
    stream.close()
    latencies = engine.stats().latencies_ms
    assert latencies["ask"].count == 2  # one that was left is none
    assert {"ask.search", "ask.pack", "ask.ground", "ask.extract", "ask.answer"} <= set(latencies)
    assert latencies["search"].count == 3
    assert "ask.dense" not in latencies  # that is the search's


def test_failures_are_counted_by_operation_and_keep_their_error(engine: Ragstone) -> None:
    with pytest.raises(InputError, match="the query is empty"):
        engine.search(" ")
    with pytest.raises(NotFoundError):
        engine.delete(["unknown"])
    with pytest.raises(NotFoundError):
        engine.index(["/no/such/folder"])
    engine.delete(["a"])
    engine.compact()
    engine.verify()
    report = engine.monitor.report()
    assert report["errors"] == {"search": 1, "delete": 1, "index": 1}
    assert {"delete", "compact", "verify"} <= set(report["operations"])


def test_stages_of_several_collections_are_added_up(engine: Ragstone, tmp_path: Path) -> None:
    with Ragstone(
        settings=Settings(data_dir=tmp_path), collection="two", embedder=HashingEmbedder()
    ) as other:
        other.add(TEXTS)
        found = other.search("ferry", collections=["default", "two"])
        assert set(found.timings_ms) == {"total"}
        latencies = other.stats().latencies_ms
        assert latencies["search.dense"].count == latencies["search"].count == 1


def test_a_monitor_of_ones_own_is_used_and_can_be_off(tmp_path: Path) -> None:
    monitor = PerformanceMonitor(enabled=False)
    settings = Settings(data_dir=tmp_path)
    with Ragstone(settings=settings, embedder=HashingEmbedder(), monitor=monitor) as engine:
        engine.add(TEXTS)
        assert engine.search("ferry").timings_ms["total"] > 0
        assert engine.stats().latencies_ms == {}
        assert dict(_details(engine.stats()))["latencies"].startswith("none in this process")
        monitor.enabled = True
        engine.search("ferry")
        assert engine.stats().latencies_ms["search"].count == 1
        assert len(monitor._gauges) == 1
    assert monitor._gauges == []


def test_the_metrics_text_is_what_prometheus_reads(engine: Ragstone) -> None:
    engine.search("ferry")
    families = parse(engine.metrics_text())
    counts = families["ragstone_operation_duration_seconds"].samples
    assert counts["_count", frozenset({("operation", "search")})] == 1
    stages = families["ragstone_stage_duration_seconds"].samples
    assert {("_count", frozenset({("operation", "search"), ("stage", stage)})) for stage in STAGES} <= set(
        stages
    )
    assert families["ragstone_disk_free_bytes"].samples["", frozenset()] > 0


def test_questions_that_an_index_was_not_made_for_lower_the_gauge_of_its_recall(tmp_path: Path) -> None:
    count, dim = 12_000, 32
    rows = clustered_vectors(count, dim, clusters=60)
    random = np.random.default_rng(5).standard_normal((200, dim)).astype(np.float32)
    settings = Settings(data_dir=tmp_path, recall=0.95)
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine:
        engine.add([f"text {n}" for n in range(count)], vectors=rows, model="m")
        engine.compact()
        engine.apply_plan(make_plan("IVF,SQ8", dim=dim, nlist=240), recall=0.95)
        usual = gauge_after(engine, rows[: ENOUGH_TO_RAISE * CHECK_EVERY_AT_FIRST])
        assert usual["found"] >= usual["wanted"] - 0.02
        engine._open._keepers.clear()
        drifted = gauge_after(engine, random[: 20 * CHECK_EVERY_AT_FIRST])
        assert drifted["found"] < usual["found"] - 0.03
        assert drifted["wanted"] == 0.95
        assert drifted["checks"] == 20


def gauge_after(engine: Ragstone, queries: np.ndarray) -> dict[str, float]:
    """The gauges of recall once the queries were asked."""
    for query in queries:
        engine.search("by vector", mode="dense", vector=query)
        engine._open.recall_keeper("default").wait()
    families = parse(engine.metrics_text())
    labels = frozenset({("collection", "default")})
    return {
        name: families[f"ragstone_recall_{name}"].samples["", labels]
        for name in ("found", "wanted", "asked", "checks")
    }
