"""What a collection and a process have done, in numbers."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ragstone.collection import Collection
from ragstone.index.recall_keeper import ObservedRecall
from ragstone.monitoring.records import Gauge, Latency
from ragstone.store import documents, vectors
from ragstone.store.names import counts as graph_counts
from ragstone.types import Degraded


@dataclass(frozen=True, slots=True)
class Stats:
    """A collection in numbers.

    `unembedded` chunks wait for a vector, `pending` vectors for a segment; `bytes` is what the collection takes on
    disk. `graph_nodes` are names, `graph_edges` names times the documents that bear each. `model` and `dim` are None
    before the first write. `latencies_ms`, by operation and `operation.stage` (`search`, `search.embed`), covers this
    process, as does `recall`, None until an approximate search was sampled, and `degraded`: searches that went on
    without a source, by its name.
    """

    collection: str
    collections: tuple[str, ...]
    documents: int
    chunks: int
    unembedded: int
    pending: int
    segments: int
    tombstones: int
    graph_nodes: int
    graph_edges: int
    bytes: int
    model: str | None
    dim: int | None
    index_types: tuple[str, ...]
    recall: ObservedRecall | None
    latencies_ms: Mapping[str, Latency]
    caches: Mapping[str, Mapping[str, int]]
    degraded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """What the searches of one process have come to: their caches and recall by name, and how many went on without a
    source, by its name."""

    caches: Mapping[str, Mapping[str, int]]
    recall: Mapping[str, ObservedRecall]
    degraded: Mapping[str, int]


def together(processes: Sequence[SearchFigures]) -> SearchFigures:
    """Of several processes: sums, and means over all checks of a recall; `asked` is the highest."""
    caches: dict[str, Counter[str]] = {}
    recall: dict[str, ObservedRecall] = {}
    degraded: Counter[str] = Counter()
    for found in processes:
        degraded.update(found.degraded)
        for name, counts in found.caches.items():
            caches.setdefault(name, Counter()).update(counts)
        for name, seen in found.recall.items():
            before = recall.get(name, ObservedRecall(0, 0.0, 0.0))
            samples = before.samples + seen.samples
            mean = (before.mean * before.samples + seen.mean * seen.samples) / samples
            recall[name] = ObservedRecall(samples, mean, max(before.asked, seen.asked))
    return SearchFigures(caches, recall, degraded)


class MissedSources:
    """How many searches went on without a source, by its name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._searches: Counter[str] = Counter()

    def note(self, degraded: Sequence[Degraded]) -> None:
        """Count what one search went without, each source once."""
        if degraded:
            with self._lock:
                self._searches.update({entry.source for entry in degraded})

    def counts(self) -> dict[str, int]:
        """The number of searches, by source."""
        with self._lock:
            return dict(self._searches)


def collection_stats(collection: Collection | None, name: str) -> Stats:
    """The collection's own part of `Stats`; zeros where there is none yet."""
    empty = Stats(name, (), 0, 0, 0, 0, 0, 0, 0, 0, 0, None, None, (), None, {}, {}, {})
    if collection is None:
        return empty
    snapshot = collection.snapshot()
    identity, dense = snapshot.identity, snapshot.dense
    with collection.catalog.reading() as db:
        counts = documents.counts(db)
        segments = len(vectors.segments(db))
        graph = graph_counts(db)
    return replace(
        empty,
        documents=counts.documents,
        chunks=counts.chunks,
        unembedded=counts.unembedded,
        pending=counts.pending,
        segments=segments,
        tombstones=counts.tombstones,
        graph_nodes=graph.nodes,
        graph_edges=graph.edges,
        bytes=_bytes_on_disk(collection.folder),
        model=identity.model_id if identity else None,
        dim=identity.dim if identity else None,
        index_types=tuple(str(segment.plan) for segment in dense.segments) if dense else (),
    )


def recall_gauges(observed: Mapping[str, ObservedRecall], *, wanted: float) -> list[Gauge]:
    """What approximate searches find, by collection, beside what is `wanted`."""
    return [
        Gauge(f"ragstone_recall_{name}", value, text, {"collection": collection})
        for collection, recall in observed.items()
        for name, value, text in (
            ("found", recall.mean, "Share of the true nearest that searches find."),
            ("wanted", wanted, "Share of the true nearest that is wanted."),
            ("asked", recall.asked, "Share that the index is asked for to get there."),
            ("checks", recall.samples, "Searches checked since that changed."),
        )
    ]


def _bytes_on_disk(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # merged away by a writer while we look
                total += (Path(parent) / name).stat().st_size
    return total
