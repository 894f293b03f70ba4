"""T10: latency of hybrid search over a large collection of real passages, idle and while it is being indexed.

Queries are ten consecutive words from passages spread over the collection: they hit common and rare terms alike.
While indexing, the same process embeds new passages on all its workers, which is what `serve` does.

    python -m benchmarks.searching ../shared/data/techdocs-passages/corpus.jsonl.gz [--limit 110000]
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import report
from ragstone import Ragstone, Settings
from ragstone.errors import CancelledError, RagstoneError

QUERIES = 300
QUERY_WORDS = 10
ADDED = 3_000  # passages added while searching


def main() -> None:
    """Index the passages, search them idle and while adding more, print and write percentiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("passages", type=Path, help="a BEIR corpus.jsonl(.gz)")
    parser.add_argument("--limit", type=int, default=110_296)
    parser.add_argument("--data-dir", type=Path, help="keep the index here and reuse it")
    arguments = parser.parse_args()
    texts = _passages(arguments.passages, arguments.limit)
    with (
        tempfile.TemporaryDirectory() as folder,
        Ragstone(arguments.data_dir or folder, settings=Settings()) as engine,
    ):
        figures = _measure(engine, texts)
    report.table(
        [
            (f"T10 hybrid search, {figures['chunks']:,} chunks", "p50 / p95 / p99 ms", "target p95"),
            ("idle", _percentiles(figures["idle_ms"]), "≤ 12 ms"),
            ("while indexing", _percentiles(figures["indexing_ms"]), "≤ 25 ms"),
        ]
    )
    print("written to", report.write("searching", figures))


def _measure(engine: Ragstone, texts: list[str]) -> dict[str, object]:
    indexed_s = 0.0
    if not engine.collections():
        started = time.perf_counter()
        engine.add(texts, uris=[f"passage-{number}" for number in range(len(texts))])
        indexed_s = time.perf_counter() - started
    queries = _queries(texts)
    _latencies(engine, queries[-50:])  # warm: page cache, FAISS, tantivy
    idle = _latencies(engine, queries[:QUERIES])
    added = [f"{text} Added while searching, number {n}." for n, text in enumerate(texts[:ADDED])]
    failures: list[RagstoneError] = []

    def write() -> None:
        try:
            engine.add(added, uris=[f"added-{number}" for number in range(len(added))])
        except CancelledError:
            return
        except RagstoneError as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.5)
    busy: list[float] = []
    for query in queries[QUERIES:]:  # each asked once: the vector of a repeated query comes from memory
        if not writer.is_alive():
            break
        busy += _latencies(engine, [query])
    writer.join()
    if failures:
        raise failures[0]
    stats = engine.stats()
    engine.delete([f"added-{number}" for number in range(len(added))])
    return {
        "chunks": stats.chunks,
        "segments": stats.segments,
        "indexed_s": indexed_s,
        "queries": len(idle),
        "queries_while_indexing": len(busy),
        "idle_ms": _summary(idle),
        "indexing_ms": _summary(busy),
    }


def _passages(path: Path, limit: int) -> list[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, limit)]


def _queries(texts: list[str]) -> list[str]:
    rng = np.random.default_rng(20261121)
    long_enough = [text.split() for text in texts if len(text.split()) >= 2 * QUERY_WORDS]
    chosen = rng.choice(len(long_enough), 10 * QUERIES, replace=False)
    starts = rng.integers(0, QUERY_WORDS, 10 * QUERIES)
    return [
        " ".join(long_enough[row][start : start + QUERY_WORDS])
        for row, start in zip(chosen, starts, strict=True)
    ]


def _latencies(engine: Ragstone, queries: list[str]) -> list[float]:
    taken = []
    for query in queries:
        started = time.perf_counter()
        result = engine.search(query, top_k=10)
        taken.append((time.perf_counter() - started) * 1e3)
        assert len(result.hits) == 10
    return taken


def _summary(values: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def _percentiles(summary: object) -> str:
    assert isinstance(summary, dict)
    return " / ".join(f"{summary[name]:.1f}" for name in ("p50", "p95", "p99"))


if __name__ == "__main__":
    main()
