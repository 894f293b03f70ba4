"""T6 and searching while a collection grows: single durable inserts, bulk inserts, and eight threads that search.

Made-up clustered vectors, 384-d, each with a text of ten made-up words; searches go by vector, the way a memory or a
program with its own model asks. The disk's own fsync is measured beside.

    python -m benchmarks.inserting [--count 100000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import report
from ragstone import FAISSIndex, Ragstone, Settings
from ragstone.errors import RagstoneError
from ragstone.index.synthetic import clustered_vectors
from ragstone.types import Matrix

DIM = 384
SINGLES = 500
QUERIES = 2_000
THREADS = 8
WORDS = 50_000  # of the made-up vocabulary, drawn by Zipf's law


def main() -> None:
    """Fill a collection, insert one by one, add as much again while threads search; print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    vectors = clustered_vectors(2 * count + SINGLES + QUERIES, DIM)
    base, added, singles, queries = np.split(vectors, [count, 2 * count, 2 * count + SINGLES])
    with tempfile.TemporaryDirectory() as folder, Ragstone(folder, settings=Settings()) as engine:
        started = time.perf_counter()
        fill(engine, base, "base")
        figures: dict[str, object] = {"count": count, "filled_per_s": count / (time.perf_counter() - started)}
        engine.compact()
        figures |= _singles(engine, singles, Path(folder))
        figures |= _growing(engine, added, queries)
    figures["faiss_index_bulk_per_s"] = _bulk(base)
    report.table(
        [
            (f"{count:,} × {DIM}", "p50 / p95 / p99 ms", "target"),
            ("insert one, durable", _row(figures["insert_ms"]), "p50 ≤ 1 ms + fsync"),
            ("the first search after it", _row(figures["search_after_insert_ms"]), ""),
            ("an fsync of 4 KiB here", _row(figures["fsync_ms"]), ""),
            (
                "bulk into the tail of a flat FAISSIndex",
                f"{figures['faiss_index_bulk_per_s']:,.0f} /s",
                "≥ 50,000 /s",
            ),
            ("bulk into a collection, texts too, durable", f"{figures['filled_per_s']:,.0f} /s", ""),
            (f"{THREADS} threads search, nothing else", _row(figures["idle_ms"]), ""),
            ("the same while as much is added", _row(figures["growing_ms"]), "p95 ≤ 2 × idle"),
            ("adding meanwhile", f"{figures['added_per_s']:,.0f} /s", ""),
        ]
    )
    print("written to", report.write(f"inserting-{count}", figures))


def fill(engine: Ragstone, vectors: Matrix, name: str) -> None:
    """Add (n, DIM) vectors, each with a text of ten made-up words and an address that begins with `name`."""
    engine.add(_texts(len(vectors)), uris=[f"{name}-{n}" for n in range(len(vectors))], vectors=vectors)


def _texts(count: int) -> list[str]:
    words = np.random.default_rng(count).zipf(1.3, (count, 10)) % WORDS
    return [" ".join(f"word{word}" for word in row) for row in words]


def _singles(engine: Ragstone, vectors: Matrix, folder: Path) -> dict[str, object]:
    inserted, searched = [], []
    for number, (text, vector) in enumerate(zip(_texts(len(vectors)), vectors, strict=True)):
        started = time.perf_counter()
        engine.add([f"single{number} {text}"], uris=[f"single-{number}"], vectors=vector[None])
        inserted.append(time.perf_counter() - started)
        started = time.perf_counter()
        hits = engine.search(f"single{number}", vector=vector, top_k=5).hits
        searched.append(time.perf_counter() - started)
        assert hits[0].uri == f"single-{number}"
        assert set(hits[0].sources) == {"dense", "keyword"}
    return {
        "insert_ms": _summary(inserted),
        "search_after_insert_ms": _summary(searched),
        "fsync_ms": _summary(_fsyncs(folder / "fsync")),
    }


def _fsyncs(path: Path) -> list[float]:
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SINGLES):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return taken


def _growing(engine: Ragstone, added: Matrix, queries: Matrix) -> dict[str, object]:
    """Searches by eight threads, idle and while vectors are added; each is checked to come from one state."""
    idle = _searches(engine, queries, until=None)
    seconds: list[float] = []

    def add() -> None:
        started = time.perf_counter()
        fill(engine, added, "added")
        seconds.append(time.perf_counter() - started)

    writer = threading.Thread(target=add)
    writer.start()
    growing = _searches(engine, queries, until=writer)
    writer.join()
    return {
        "threads": THREADS,
        "idle_ms": _summary(idle),
        "growing_ms": _summary(growing),
        "searches_while_growing": len(growing),
        "added_per_s": len(added) / seconds[0],
    }


def _searches(engine: Ragstone, queries: Matrix, *, until: threading.Thread | None) -> list[float]:
    """Seconds of each search; `until` a thread ends, or every query was asked once. Any error is raised."""
    taken: list[list[float]] = [[] for _ in range(THREADS)]
    failures: list[AssertionError | RagstoneError] = []

    def search(number: int) -> None:
        try:
            position = number
            while (until.is_alive() if until else position < len(queries)) and not failures:
                started = time.perf_counter()
                hits = engine.search("by vector", mode="dense", vector=queries[position % len(queries)]).hits
                taken[number].append(time.perf_counter() - started)
                scores = [hit.score for hit in hits]
                assert len({hit.id for hit in hits}) == 10
                assert scores == sorted(scores, reverse=True)
                position += THREADS
        except (AssertionError, RagstoneError) as error:
            failures.append(error)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [seconds for each in taken for seconds in each]


def _bulk(vectors: Matrix) -> float:
    """Vectors a second into an index that has nothing to build, durability apart."""
    index = FAISSIndex(dimension=DIM, index_type="Flat")
    started = time.perf_counter()
    for start in range(0, len(vectors), 10_000):
        index.add_embeddings(
            vectors[start : start + 10_000], ids=range(start, min(start + 10_000, len(vectors)))
        )
    return len(vectors) / (time.perf_counter() - started)


def _summary(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99 = (np.percentile(seconds, [50, 95, 99]) * 1e3).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def _row(summary: object) -> str:
    assert isinstance(summary, dict)
    return " / ".join(f"{summary[name]:.2f}" for name in ("p50", "p95", "p99"))


if __name__ == "__main__":
    main()
