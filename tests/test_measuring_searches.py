"""Measuring searches: the figures are the searches' own, the time is bounded, and nothing is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from guides import printed_by
from hashing_embedder import HashingEmbedder
from ragstone.embedding.query_cache import QueryCache
from ragstone.engine import Ragstone
from ragstone.errors import InputError, RagstoneError
from ragstone.index.plans import make_plan
from ragstone.index.synthetic import clustered_vectors
from ragstone.measuring_searches import TOP_K, measure_searches, queries_of
from ragstone.settings import Settings
from ragstone.types import Vector
from ragstone.wire import encode, plain_json

SECONDS = 0.3
TEXTS = [
    f"The keeper of lighthouse {n} trims the lamp at dusk, oils gear {n * 7} and writes the log."
    for n in range(60)
]


class KeepingEmbedder(HashingEmbedder):
    """Keeps queries as real models do, and counts those it has to embed."""

    def __init__(self) -> None:
        super().__init__()
        self.query_cache: QueryCache[Vector] = QueryCache()
        self.queries_embedded = itertools.count()

    def embed_query(self, text: str) -> Vector:
        def new() -> Vector:
            next(self.queries_embedded)
            return super(KeepingEmbedder, self).embed_query(text)

        return self.query_cache.get_or_make(text, new)


class TickingClock:
    """A second passes with every look."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def __call__(self) -> float:
        return float(next(self._looks))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as opened:
        opened.add(TEXTS)
        yield opened


def contents(engine: Ragstone) -> dict[str, str]:
    """Every file of the collection with the hash of its bytes; not SQLite's shared memory, which readers write."""
    home = engine.settings.data_dir / "collections"
    files = (path for path in home.rglob("*") if path.is_file() and path.suffix != ".sqlite-shm")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_mode_has_percentiles_of_the_whole_and_of_its_stages(engine: Ragstone) -> None:
    found = measure_searches(engine, queries_of(engine), seconds=SECONDS, threads=3)
    assert list(found.latencies_ms) == ["hybrid", "dense", "keyword"]
    for latencies in found.latencies_ms.values():
        whole = latencies["search"]
        assert 0 < whole.p50 <= whole.p90 <= whole.p95 <= whole.p99
        assert {stage.count for stage in latencies.values()} == {whole.count}
        assert whole.p50 >= max(latency.p50 for name, latency in latencies.items() if name != "search")
    assert {"search.embed", "search.dense", "search.keyword", "search.rerank"} <= set(
        found.latencies_ms["hybrid"]
    )
    assert "search.dense" not in found.latencies_ms["keyword"]
    assert (found.documents, found.chunks, found.collection) == (60, 60, "default")
    assert found.throughput.searches >= found.throughput.threads == 3
    assert found.bytes == engine.stats().bytes
    assert found.resident_bytes is None or found.resident_bytes > 10_000_000
    assert json.loads(encode(plain_json(found)))["recall"]["mean"] == 1.0


def test_nothing_of_the_collection_is_written(engine: Ragstone) -> None:
    queries = queries_of(engine)
    before, version = contents(engine), engine.version()
    found = measure_searches(engine, queries, seconds=SECONDS)
    assert (contents(engine), engine.version(), found.changed) == (before, version, False)


def test_a_change_by_somebody_else_meanwhile_is_told(engine: Ragstone) -> None:
    def another_writes(part: str) -> None:
        with Ragstone(engine.settings.data_dir, embedder=HashingEmbedder()) as other:
            other.add([f"written during {part}"])

    assert measure_searches(engine, ["lamp"], seconds=SECONDS, progress=another_writes).changed


def test_the_time_is_bounded_and_each_part_has_one_round_at_least(engine: Ragstone) -> None:
    for seconds, rounds in ((20.0, 10), (0.001, 1)):
        clock = TickingClock()
        found = measure_searches(engine, ["lamp", "gear"], seconds=seconds, threads=1, clock=clock)
        assert found.latencies_ms["hybrid"]["search"].count == rounds
        assert found.throughput.searches >= 1
        assert found.recall is not None and found.recall.samples >= 1
        assert clock() <= seconds + 7


def test_kept_vectors_and_results_help_no_search(tmp_path: Path) -> None:
    embedder = KeepingEmbedder()
    with Ragstone(tmp_path / "data", embedder=embedder) as engine:
        engine.add(TEXTS)
        before = next(embedder.queries_embedded)
        found = measure_searches(engine, ["lamp", "gear"], seconds=SECONDS, threads=1)
        timed = sum(found.latencies_ms[mode]["search"].count for mode in ("hybrid", "dense"))
        assert timed < 1_000  # what the window holds; more would not be counted
        assert next(embedder.queries_embedded) - before >= timed + found.throughput.searches
    settings = Settings(data_dir=tmp_path / "data", search_cache=16)
    with (
        Ragstone(settings=settings, embedder=embedder) as keeping,
        pytest.raises(InputError, match="kept results"),
    ):
        measure_searches(keeping, ["lamp"], seconds=SECONDS)


def test_recall_is_the_share_of_the_exactly_nearest_that_is_found(tmp_path: Path) -> None:
    vectors = clustered_vectors(3_000, 32, seed=9)
    settings = Settings(data_dir=tmp_path / "data", recall=0.3)
    with Ragstone(settings=settings, embedder=HashingEmbedder(dim=32)) as engine:
        names = [f"point {row}" for row in range(len(vectors))]
        engine.add(names, uris=names, vectors=vectors, model="hashing-32")
        engine.apply_plan(make_plan("IVF,SQ8", dim=32, nlist=64), recall=0.3)
        queries = [f"query {n} of {n * n}" for n in range(30)]
        found = measure_searches(engine, queries, seconds=250, clock=TickingClock())

        def nearest(query: str, recall: float) -> set[int]:
            return {hit.id for hit in engine.search(query, mode="dense", top_k=TOP_K, recall=recall).hits}

        shares = [len(nearest(query, 1.0) & nearest(query, 0.3)) / TOP_K for query in queries]
        assert found.recall is not None
        assert (found.recall.samples, found.recall.of) == (30, "queries")
        assert found.recall.mean == pytest.approx(np.mean(shares), abs=0.01)
        assert found.recall.mean < 0.95


def test_a_collection_without_its_model_is_measured_by_words_and_stored_vectors(engine: Ragstone) -> None:
    vectors = clustered_vectors(60, 16, seed=3)
    with Ragstone(engine.settings.data_dir, collection="points", embedder=HashingEmbedder()) as points:
        points.add(TEXTS, vectors=vectors, model="elsewhere")
        found = measure_searches(points, queries_of(points), seconds=SECONDS)
    assert list(found.latencies_ms) == ["hybrid", "keyword"]
    assert "elsewhere" in found.left_out["dense"]
    assert [missing.source for missing in found.degraded] == ["dense"]
    assert found.recall is not None
    assert (found.recall.of, found.recall.mean) == ("stored vectors", 1.0)


def test_queries_are_words_of_the_documents_and_the_same_each_time(engine: Ragstone) -> None:
    queries = queries_of(engine, 40)
    assert queries == queries_of(engine, 40)
    assert 30 <= len(set(queries)) <= 40
    assert all(any(query in text for text in TEXTS) for query in queries)
    engine.add(["灯台守は夕暮れに灯をともす。" * 100], uris=["unspaced"])
    assert max(map(len, queries_of(engine))) == 100


def test_what_cannot_be_measured_is_said(tmp_path: Path, engine: Ragstone) -> None:
    with pytest.raises(InputError):
        measure_searches(engine, [])
    with pytest.raises(InputError):
        measure_searches(engine, ["lamp"], seconds=0)
    with pytest.raises(RagstoneError, match="fresh process"):
        measure_searches(engine, ["lamp"], seconds=SECONDS, cold_command=[sys.executable, "-c", "print(1)"])
    engine.delete([document.uri for document in engine.documents()])
    with pytest.raises(InputError, match="is empty"):
        queries_of(engine)


def test_the_guide_runs(tmp_path: Path) -> None:
    assert printed_by("measuring.md", tmp_path) == ["It is hit 1. [1, 1, 1]", "1.0 True"]
