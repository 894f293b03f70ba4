"""What a collection and a process have done, in numbers."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ragstone.collection import Collection
from ragstone.index.recall_keeper import ObservedRecall
from ragstone.store import documents, vectors

LATENCY_WINDOW = 1_000  # the last calls of each kind; FEATURES "Monitor window"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of the last calls of one kind; `count` is how many of them the window holds."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Stats:
    """A collection in numbers.

    `unembedded` chunks wait for a vector, `pending` vectors for a segment; `bytes` is what the collection
    takes on disk. `model` and `dim` are None before the first write. `latencies_ms` covers this process, as does
    `recall`, None until an approximate search was sampled.
    """

    collection: str
    collections: tuple[str, ...]
    documents: int
    chunks: int
    unembedded: int
    pending: int
    segments: int
    tombstones: int
    bytes: int
    model: str | None
    dim: int | None
    index_types: tuple[str, ...]
    recall: ObservedRecall | None
    latencies_ms: Mapping[str, Latency]
    caches: Mapping[str, Mapping[str, int]]


class Latencies:
    """The latest latencies of each operation. Thread-safe: appending to a deque is one step."""

    def __init__(self) -> None:
        self._windows: dict[str, deque[float]] = {}

    def observe(self, operation: str, started_s: float) -> float:
        """Record that `operation` began at `started_s` (`time.perf_counter()`) and is over; milliseconds taken."""
        took_ms = (time.perf_counter() - started_s) * 1e3
        self._windows.setdefault(operation, deque(maxlen=LATENCY_WINDOW)).append(took_ms)
        return took_ms

    def summary(self) -> dict[str, Latency]:
        """Percentiles of each operation seen so far."""
        return {name: _latency(window.copy()) for name, window in self._windows.copy().items()}


def _latency(window: deque[float]) -> Latency:
    values = np.array(window)
    p50, p90, p95, p99 = np.percentile(values, [50, 90, 95, 99]).tolist()
    return Latency(len(values), p50, p90, p95, p99)


def collection_stats(collection: Collection | None, name: str) -> Stats:
    """The collection's own part of `Stats`; zeros where there is none yet."""
    empty = Stats(name, (), 0, 0, 0, 0, 0, 0, 0, None, None, (), None, {}, {})
    if collection is None:
        return empty
    snapshot = collection.snapshot()
    identity, dense = snapshot.identity, snapshot.dense
    with collection.catalog.reading() as db:
        counts = documents.counts(db)
        segments = len(vectors.segments(db))
    return replace(
        empty,
        documents=counts.documents,
        chunks=counts.chunks,
        unembedded=counts.unembedded,
        pending=counts.pending,
        segments=segments,
        tombstones=counts.tombstones,
        bytes=_bytes_on_disk(collection.folder),
        model=identity.model_id if identity else None,
        dim=identity.dim if identity else None,
        index_types=tuple(str(segment.plan) for segment in dense.segments) if dense else (),
    )


def _bytes_on_disk(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # merged away by a writer while we look
                total += (Path(parent) / name).stat().st_size
    return total
