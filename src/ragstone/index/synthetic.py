"""Vectors made up to lie as sentence embeddings do: in clusters, most of their spread in few directions.

Independent Gaussian noise, the usual stand-in, has no near neighbours to find: a graph's recall on it is .77 where
it is .98 on text (FEATURES, traps). Made-up vectors are for trying things at a size; a choice is made on real ones.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ragstone.types import Matrix

DEFAULT_SEED = 20261121
# Chosen by MiniLM's vectors of 65,536 technical passages. There the standard deviation along the i-th direction falls
# with i ** -0.43 (2nd to 200th), 96 directions of 384 hold .76 of the variance, and the 10th and 100th nearest have
# cosines of .72 and .60. Vectors of that size made here: -0.45, .74, .69 and .62.
_DECAY = 0.38
_SPREAD = 0.8  # how far rows lie from their cluster's centre, in units of the centres' own spread
# Clusters are of unequal size, as topics are: the r-th has a weight of r ** -0.5.
_UNEVENNESS = 0.5
_BLOCK_ROWS = 65_536  # made at once: 100 MB at 384 dimensions


def clustered_vectors(
    count: int, dim: int, *, seed: int = DEFAULT_SEED, clusters: int | None = None
) -> Matrix:
    """(count, dim) float32 unit vectors in `clusters` clusters (√count, if not given), in no order.

    Equal arguments give equal vectors. Rows are exchangeable, so that the last ones can serve as queries.
    """
    rng = np.random.default_rng(seed)
    clusters = clusters or max(1, round(math.sqrt(count)))
    scales = np.arange(1, dim + 1, dtype=np.float32) ** np.float32(-_DECAY)
    # Turned, or the directions of much spread would be the first coordinates, which product codes would profit by.
    turned = _rotation(dim, rng) * scales[:, None]
    centres = rng.standard_normal((clusters, dim), dtype=np.float32)
    weights = np.arange(1, clusters + 1, dtype=np.float64) ** -_UNEVENNESS
    members = rng.choice(clusters, count, p=weights / weights.sum())
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, _BLOCK_ROWS):
        rows = members[start : start + _BLOCK_ROWS]
        apart = rng.standard_normal((len(rows), dim), dtype=np.float32) * np.float32(_SPREAD)
        block = (centres[rows] + apart) @ turned
        vectors[start : start + len(rows)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def _rotation(dim: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    orthogonal, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    return orthogonal.astype(np.float32)
