"""Shadow comparison: the source's own vectors and the imported collection answer the same queries.

The source answers by brute force over what was read, in its own metric: the slow, obvious way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.importers.records import ForeignStore, Losses, Metric, Record
from ragstone.importers.take_over import FROM_KEY, origin
from ragstone.types import Matrix

TOP_K = 10
_BLOCK = 1_024  # rows compared at a time: with 1,000 queries 4 MB of scores
MAX_QUERIES = 1_000


@dataclass(frozen=True, slots=True)
class Overlap:
    """How alike two indexes answer. `overlap_at_10` is the mean share of the source's ten best that the collection
    also has among its ten, `same_first` the share of queries with the same best one; 0 to 1."""

    queries: int
    overlap_at_10: float
    same_first: float


def compare(engine: Ragstone, store: ForeignStore, *, queries: int, seed: int = 0) -> Overlap:
    """Answer `queries` of the source's own vectors, chosen at random, on both sides.

    Reads the source twice; memory is that of the queries and one block. Raises `InputError` for a number
    outside 1 to 1,000 or a source without vectors.
    """
    if not 1 <= queries <= MAX_QUERIES:
        raise InputError(f"{queries} queries, the range is 1 to {MAX_QUERIES:,}")
    held = _held(engine, store)
    asked = _sample(store, held, queries, seed)
    theirs = _brute_force(store, held, asked)
    overlap, first = 0.0, 0
    for vector, wanted in zip(asked, theirs, strict=True):
        hits = engine.search("shadow", top_k=TOP_K, mode="dense", vector=vector).hits
        ours = [hit.uri for hit in hits if hit.uri in held]
        overlap += len(set(ours) & set(wanted)) / len(wanted)
        first += bool(ours) and ours[0] == wanted[0]
    return Overlap(len(asked), overlap / len(asked), first / len(asked))


def _held(engine: Ragstone, store: ForeignStore) -> frozenset[str]:
    came_from = origin(store)
    return frozenset(info.uri for info in engine.documents() if info.metadata.get(FROM_KEY) == came_from)


def _usable(record: Record, held: frozenset[str]) -> bool:
    return record.vector is not None and record.uri in held


def _sample(store: ForeignStore, held: frozenset[str], queries: int, seed: int) -> Matrix:
    """Reservoir sampling: every vector has the same chance, and only the chosen ones are kept."""
    random = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    count = 0
    for record in store.read(Losses()):
        if not _usable(record, held):
            continue
        count += 1
        if len(chosen) < queries:
            chosen.append(np.array(record.vector))
        elif (place := int(random.integers(count))) < queries:
            chosen[place] = np.array(record.vector)
    if not chosen:
        raise InputError("the collection holds nothing from this source to compare", hint="import it first")
    return np.array(chosen, dtype=np.float32)


def _brute_force(store: ForeignStore, held: frozenset[str], asked: Matrix) -> list[list[str]]:
    """The uris of the ten best for each query, best first, ties in the source's order."""
    best: list[list[tuple[float, int, str]]] = [[] for _ in asked]
    block: list[Record] = []
    done = 0

    def settle() -> None:
        nonlocal done
        rows = np.array([record.vector for record in block], dtype=np.float32)
        scores = _scores(asked, rows, store.metric)
        for number, row in enumerate(scores):
            for place in np.argsort(-row, kind="stable")[:TOP_K].tolist():
                best[number].append((-float(row[place]), done + place, block[place].uri))
            best[number] = sorted(best[number])[:TOP_K]
        done += len(block)
        block.clear()

    seen: set[str] = set()
    for record in store.read(Losses()):
        if _usable(record, held) and record.uri not in seen:
            seen.add(record.uri)
            block.append(record)
        if len(block) == _BLOCK:
            settle()
    if block:
        settle()
    return [[uri for _, _, uri in ranked] for ranked in best]


def _scores(asked: Matrix, rows: Matrix, metric: Metric) -> Matrix:
    """(queries, rows), higher is better, in the source's metric; cosine where it does not say."""
    if metric == "ip":
        return asked @ rows.T
    if metric == "l2":
        lengths: Matrix = np.einsum("ij,ij->i", rows, rows)
        return 2 * (asked @ rows.T) - lengths
    units: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return asked @ units.T
