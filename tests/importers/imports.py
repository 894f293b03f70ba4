"""What the tests of imports share: an engine that would notice being asked to embed, and the slow obvious ranking."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.importers.records import ForeignStore, Losses, Metric
from ragstone.importers.run import Options, Outcome, run_import
from ragstone.settings import Settings
from ragstone.types import Matrix

TOP_K = 10


def engine_at(
    data_dir: Path, *, collection: str = "default", embedder: HashingEmbedder | None = None
) -> Ragstone:
    """An engine on a store of its own; `embedder.embedded` tells whether anything was embedded."""
    settings = Settings(data_dir=data_dir, collection=collection)
    return Ragstone(settings=settings, embedder=embedder or HashingEmbedder())


def imported(
    engine: Ragstone, store: ForeignStore, data_dir: Path, options: Options | None = None
) -> Outcome:
    """Import with nothing but what `options` ask for."""
    return run_import(engine, store, options or Options(), data_dir=data_dir)


def records_of(store: ForeignStore) -> tuple[list[str], Matrix]:
    """Uris and vectors, in the store's order."""
    records = list(store.read(Losses()))
    rows = [record.vector for record in records if record.vector is not None]
    return [record.uri for record in records if record.vector is not None], np.array(rows, np.float32)


def scores_of(queries: Matrix, rows: Matrix, metric: Metric) -> np.ndarray:
    """(queries, rows) in float64, higher is better: what the source ranks by."""
    wide, asked = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        distances: np.ndarray = ((asked[:, None, :] - wide[None]) ** 2).sum(axis=2)
        return -distances
    if metric == "cosine":
        wide = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    found: np.ndarray = asked @ wide.T
    return found


def assert_same_ranking(engine: Ragstone, uris: list[str], queries: Matrix, scores: np.ndarray) -> None:
    """The collection's ten best are those of `scores`, in that order; equal scores may stand either way."""
    place = {uri: number for number, uri in enumerate(uris)}
    for query, row in zip(queries, scores, strict=True):
        wanted = np.argsort(-row, kind="stable")[: min(TOP_K, len(uris))]
        hits = engine.search("any", mode="dense", vector=query, top_k=TOP_K).hits
        found = [place[hit.uri] for hit in hits]
        # 2e-7: two steps of float32 at 1, in which both sides compute.
        np.testing.assert_allclose(row[found], row[wanted], atol=2e-7 * max(1.0, float(np.abs(row).max())))
