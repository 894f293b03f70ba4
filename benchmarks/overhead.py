"""T2: what the engine adds to a search by vector, over the FAISS call that it makes.

The same FAISS index, the same parameters, the same query, one after the other in random order; single thread. Two
doors: the dense index of a collection (ids and scores), and the whole engine (ten hits with text, place and metadata).
Made-up clustered vectors, 384-d, each with a text of ten made-up words, one document each.

    python -m benchmarks.overhead [--count 100000]
"""

from __future__ import annotations

import argparse
import functools
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import faiss
import numpy as np

from benchmarks import report
from benchmarks.inserting import fill
from ragstone import Ragstone, Settings
from ragstone.index.dense import EXACT, DenseIndex
from ragstone.index.fast import refined_parameters
from ragstone.index.segment import Segment
from ragstone.index.synthetic import clustered_vectors
from ragstone.types import Matrix, Vector

DIM = 384
QUERIES = 2_000
WARM_UP = 200
TOP_K = 10
RECALL = 0.98

Search = Callable[[Vector], object]


def main() -> None:
    """Fill a collection of one segment, ask it through every door, print and write the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    count = parser.parse_args().count
    faiss.omp_set_num_threads(1)
    vectors, queries = np.split(clustered_vectors(count + QUERIES, DIM), [count])
    with (
        tempfile.TemporaryDirectory() as folder,
        Ragstone(Path(folder), settings=Settings(recall=RECALL)) as engine,
    ):
        fill(engine, vectors, "base")
        engine.compact()
        dense = engine._collection().snapshot().dense
        assert dense is not None
        (segment,) = dense.segments
        figures = {
            "count": count,
            "plan": str(segment.plan),
            "exact": _compared(_doors(engine, dense, segment, EXACT), queries[:200]),
            "approximate": _compared(_doors(engine, dense, segment, RECALL), queries),
        }
    rows = [(f"T2, {count:,} × {DIM}, {segment.plan}", "p50 µs", "over FAISS's own call")]
    for kind in ("approximate", "exact"):
        found = figures[kind]
        assert isinstance(found, dict)
        rows += [
            (
                f"{kind}: {name}",
                f"{us:,.0f}",
                f"{us - found['faiss']:+,.0f} µs ({us / found['faiss'] - 1:+.1%})",
            )
            for name, us in found.items()
        ]
    report.table(rows)
    print("written to", report.write(f"overhead-{count}", figures))


def _doors(engine: Ragstone, dense: DenseIndex, segment: Segment, recall: float) -> Mapping[str, Search]:
    """Ways to the same FAISS call, the bare one first."""
    # The engine asks the index for more once it has found less than was wanted: all doors ask for the same.
    asked = engine._open.recall_keeper(engine.collection).asked
    return {
        "faiss": lambda vector: _faiss_call(segment, vector, asked(recall)),
        "ids and scores": lambda vector: dense.at_recall(asked(recall)).search(
            vector, top_k=TOP_K, allowed=None
        ),
        "ten hits": lambda vector: engine.search(
            "by vector", mode="dense", vector=vector, top_k=TOP_K, recall=recall
        ),
    }


def _faiss_call(segment: Segment, vector: Vector, recall: float) -> object:
    if recall >= EXACT:
        return segment._exact.search(vector[None, :], TOP_K)
    return segment._refined.search(vector[None, :], TOP_K, params=_parameters(segment, recall))


@functools.cache
def _parameters(segment: Segment, recall: float) -> object:
    assert segment.fast is not None
    effort = segment.fast.calibration.effort(TOP_K, recall)
    assert effort is not None
    return refined_parameters(segment.fast.plan, effort, top_k=TOP_K)


def _compared(doors: Mapping[str, Search], queries: Matrix) -> dict[str, float]:
    """The median microseconds of each door."""
    order, choice = list(doors), random.Random(1)
    taken: dict[str, list[float]] = {name: [] for name in doors}
    for number, query in enumerate([*queries[:WARM_UP], *queries]):
        choice.shuffle(order)
        for name in order:
            started = time.perf_counter()
            doors[name](query)
            if number >= WARM_UP:
                taken[name].append((time.perf_counter() - started) * 1e6)
    return {name: float(np.median(times)) for name, times in taken.items()}


if __name__ == "__main__":
    main()
