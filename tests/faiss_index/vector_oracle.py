"""The slow obvious way: a dictionary of vectors, every one compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ragstone.faiss_index.columns import Identifier
from ragstone.faiss_index.hits import VectorHit
from ragstone.types import Matrix, Vector


class VectorOracle:
    """What a `FAISSIndex` should hold: id → (vector, metadata), in order of insertion."""

    def __init__(self) -> None:
        self.kept: dict[Identifier, tuple[Vector, Mapping[str, Any]]] = {}

    def add(
        self, vectors: Matrix, ids: Sequence[Identifier], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """As `add_embeddings`: an id that was there counts as inserted now."""
        for place, id_ in enumerate(ids):
            self.kept.pop(id_, None)
            self.kept[id_] = (vectors[place], {} if metadata is None else metadata[place])

    def remove(self, ids: Iterable[Identifier]) -> None:
        """As `remove`."""
        for id_ in ids:
            self.kept.pop(id_, None)

    def search(
        self, query: Vector, k: int, condition: Callable[[Mapping[str, Any]], bool] | None = None
    ) -> list[Identifier]:
        """Ids of the nearest by Euclidean distance, ties by insertion."""
        return self.batch_search(query[None], k, condition)[0]

    def batch_search(
        self, queries: Matrix, k: int, condition: Callable[[Mapping[str, Any]], bool] | None = None
    ) -> list[list[Identifier]]:
        """`search` for each query."""
        ids = [id_ for id_, (_, record) in self.kept.items() if condition is None or condition(record)]
        if not ids:
            return [[] for _ in queries]
        rows = np.array([self.kept[id_][0] for id_ in ids], np.float64)
        orders = (np.argsort(((rows - query) ** 2).sum(axis=1), kind="stable")[:k] for query in queries)
        return [[ids[place] for place in order] for order in orders]


def recall(truth: Sequence[Sequence[Identifier]], found: Sequence[Sequence[VectorHit]]) -> float:
    """The share of the true ids that was found."""
    shares = [
        len({hit.id for hit in hits} & set(true)) / len(true)
        for true, hits in zip(truth, found, strict=True)
        if true
    ]
    return float(np.mean(shares))
