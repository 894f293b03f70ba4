"""Vectors as they are stored, half or single precision, as an index of FAISS's that compares all of them."""

from __future__ import annotations

from typing import Any

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from ragstone.types import Matrix, StoredMatrix

faiss: Any = _faiss  # its stubs lack half of what is used here

# Rows compared with every query before the next are read: 8 MB of halves, most of which stay in the cache. To scan all
# 115,000 × 384 for each of 200 queries takes 2.4 times as long, most of it waiting for the memory.
_BLOCK_NUMBERS = 1 << 22


def empty_index(vectors: StoredMatrix) -> Any:
    """An index by inner product for vectors of this dimension and precision, holding none."""
    dim = vectors.shape[1]
    if vectors.dtype.itemsize == 4:
        return faiss.IndexFlat(dim, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True  # halves are taken as they are
    return index


def add_rows(index: Any, vectors: StoredMatrix) -> None:
    """Add (n, dim) little-endian contiguous vectors, bit by bit: nothing is rounded twice."""
    index.add_sa_codes(vectors.view(np.uint8))


def exact_index(vectors: StoredMatrix) -> Any:
    """The index of (n, dim) little-endian contiguous vectors, row i as id i."""
    index = empty_index(vectors)
    add_rows(index, vectors)
    return index


def best_scores(vectors: StoredMatrix, queries: Matrix, top_k: int) -> npt.NDArray[np.float32]:
    """(q, min(top_k, n)) products of (q, dim) queries with their nearest of (n, dim) vectors, best first.

    Runs on the calling thread's OpenMP setting.
    """
    step = max(1, _BLOCK_NUMBERS // vectors.shape[1])
    best = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), step):
        rows = vectors[start : start + step]
        scores, _ = exact_index(rows).search(queries, min(top_k, len(rows)))
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :top_k]
    return best
