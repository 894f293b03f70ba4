"""The vectors of a snapshot that no segment holds yet, in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ragstone.index.exact import exact_index
from ragstone.index.precision import single
from ragstone.index.products import products
from ragstone.index.threads import use_one_thread
from ragstone.types import Ids, Matrix, Scores, StoredMatrix, Vector

# As many as a run leaves behind are kept in single precision, and all are compared. While a segment is being built
# there are 16,384: each search would read 25 MB, and several at once wait for the memory.
SHORT_ROWS = 1_024


class Tail:
    """(n,) chunk ids, (n,) document ids, and (n, dim) unit vectors as they are stored. Immutable, thread-safe."""

    def __init__(self, chunk_ids: Ids, document_ids: Ids, vectors: StoredMatrix) -> None:
        self.chunk_ids = chunk_ids
        self.document_ids = document_ids
        self._vectors = vectors
        halved = vectors.dtype.itemsize == 2
        self._index: Any = exact_index(vectors) if halved and len(vectors) > SHORT_ROWS else None
        self._widened: Matrix | None = None
        if self._index is None:
            self._widened = single(vectors) if halved else vectors.astype(np.float32, copy=False)

    @classmethod
    def empty(cls, dim: int) -> Tail:
        """A tail without rows."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, dim), np.float16))

    def extended(self, chunk_ids: Ids, document_ids: Ids, vectors: StoredMatrix) -> Tail:
        """A new tail with more rows behind these; this one stays as it is."""
        return Tail(
            np.concatenate([self.chunk_ids, chunk_ids]),
            np.concatenate([self.document_ids, document_ids]),
            np.concatenate([self._vectors, vectors]),
        )

    def __len__(self) -> int:
        return len(self.chunk_ids)

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return int(self._vectors.shape[1])

    def gather(self, rows: npt.NDArray[np.int64]) -> Matrix:
        """(len(rows), dim) float32 vectors."""
        return single(self._vectors[rows])

    def search(
        self, vector: Vector, *, top_k: int, among: npt.NDArray[np.int64] | None
    ) -> tuple[npt.NDArray[np.int64], Scores]:
        """Rows and their cosines, in any order; the `top_k` best are there, of `among` if only those may be given."""
        if among is not None:
            return among, products(self.gather(among), vector)
        if self._widened is not None:
            return np.arange(len(self)), products(self._widened, vector)
        use_one_thread()
        scores, rows = self._index.search(vector[None, :], min(top_k, len(self)))
        return rows[0], scores[0]
