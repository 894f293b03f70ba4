"""What monitoring costs a search: the same searches by vector, with and without, one after the other.

One engine, its monitor switched on and off. Each query is asked once to warm up, then without, with, with, without, or
the other way round, so that drift and what the machine does meanwhile fall on both; the median of the differences is
judged by resampling the queries. Hybrid searches are the default, dense ones the quickest there are. Beside it, what
one recording of a search with its eight stages takes by itself, which no noise of a search hides.
Made-up clustered vectors, 384-d, each with a text of ten made-up words; queries have three of the words.

    python -m benchmarks.monitoring [--count 20000]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks import report
from benchmarks.inserting import fill
from ragstone import PerformanceMonitor, Ragstone, Settings
from ragstone.index.synthetic import clustered_vectors
from ragstone.types import SearchMode, Vector

DIM = 384
QUERIES = 2_000
MODES: Final[tuple[SearchMode, ...]] = ("hybrid", "dense")
RESAMPLES = 2_000
RECORDINGS = 20_000
TARGET = 0.01  # of a search, R128

Times = npt.NDArray[np.float64]  # (QUERIES,), milliseconds or shares


def main() -> None:
    """Fill a collection, ask it both ways, print and write the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    count = parser.parse_args().count
    vectors, queries = np.split(clustered_vectors(count + QUERIES, DIM), [count])
    with (
        tempfile.TemporaryDirectory() as folder,
        Ragstone(Path(folder), settings=Settings()) as engine,
    ):
        fill(engine, vectors, "base")
        engine.compact()
        timings_ms = engine.search("word1", vector=queries[0]).timings_ms
        recording_us = _recording_us({name: ms for name, ms in timings_ms.items() if name != "total"})
        modes: dict[str, Any] = {mode: _compared(engine, queries, mode) for mode in MODES}
    rows = [(f"{count:,} × {DIM}, {QUERIES:,} searches by vector", "measured", "target")]
    for mode, found in modes.items():
        low, high = found["difference_95"]
        rows += [
            (f"{mode}: p50 without monitoring", f"{found['off_p50_ms']:.3f} ms", ""),
            (f"{mode}: median difference", f"{found['difference']:+.2%}", f"< {TARGET:.0%}"),
            (f"{mode}: 95 % of resamples", f"{low:+.2%} to {high:+.2%}", ""),
            (
                f"{mode}: one recording",
                f"{recording_us:.1f} µs ({recording_us / found['off_p50_ms'] / 1e3:.2%})",
                f"< {TARGET:.0%}",
            ),
        ]
    report.table(rows)
    figures: dict[str, Any] = {
        "count": count,
        "queries": QUERIES,
        "recording_us": recording_us,
        **modes,
    }
    print("written to", report.write("monitoring", figures))


def _compared(engine: Ragstone, queries: npt.NDArray[np.float32], mode: SearchMode) -> dict[str, Any]:
    off_ms, on_ms = _both(engine, queries, mode)
    off = float(np.median(off_ms))
    difference = (on_ms - off_ms) / off
    return {
        "off_p50_ms": off,
        "on_p50_ms": float(np.median(on_ms)),
        "difference": float(np.median(difference)),
        "difference_95": _interval(difference),
    }


def _both(engine: Ragstone, queries: npt.NDArray[np.float32], mode: SearchMode) -> tuple[Times, Times]:
    """What each query took without and with monitoring, the mean of two."""
    choice = random.Random(1)
    taken: dict[bool, list[float]] = {False: [], True: []}
    for query in queries:
        text = " ".join(f"word{choice.randrange(1, 50)}" for _ in range(3))
        first = choice.random() < 0.5
        engine.search(text, vector=query, mode=mode)
        found_ms = [
            _search_ms(engine, text, query, mode, enabled=enabled)
            for enabled in (first, not first, not first, first)
        ]
        taken[first].append((found_ms[0] + found_ms[3]) / 2)
        taken[not first].append((found_ms[1] + found_ms[2]) / 2)
    return np.array(taken[False]), np.array(taken[True])


def _search_ms(engine: Ragstone, text: str, query: Vector, mode: SearchMode, *, enabled: bool) -> float:
    engine.monitor.enabled = enabled
    started = time.perf_counter()
    engine.search(text, vector=query, mode=mode)
    return (time.perf_counter() - started) * 1e3


def _interval(difference: Times) -> list[float]:
    """Between what lies the median in 95 % of resamples."""
    picks = np.random.default_rng(1).integers(0, len(difference), (RESAMPLES, len(difference)))
    found: list[float] = np.percentile(np.median(difference[picks], axis=1), [2.5, 97.5]).tolist()
    return found


def _recording_us(stages_ms: Mapping[str, float]) -> float:
    """The best of five means: what it takes when nothing else runs."""
    monitor = PerformanceMonitor()
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(RECORDINGS):
            monitor.observe("search", 5.0, stages_ms)
        best = min(best, (time.perf_counter() - started) / RECORDINGS * 1e6)
    return best


if __name__ == "__main__":
    main()
