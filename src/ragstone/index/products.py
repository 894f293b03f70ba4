"""Products of many rows with one vector, on the thread that asks for them.

What multiplies matrices here spreads a large product over threads of its own, which wait for each other in loops: one
search is quicker for it, and eight at once do a twentieth of what they could (LAB, "Searches while a segment is
built").
"""

from __future__ import annotations

import numpy as np

from ragstone.types import Matrix, Scores, Vector

# Numbers in a block: OpenBLAS multiplies up to 460,800 on the calling thread.
BLOCK = 400_000


def products(rows: Matrix, vector: Vector) -> Scores:
    """(n,) float32 inner products of (n, dim) rows with a vector (dim,)."""
    if rows.size <= BLOCK:
        return rows @ vector
    found = np.empty(len(rows), np.float32)
    step = max(1, BLOCK // rows.shape[1])
    for start in range(0, len(rows), step):
        np.dot(rows[start : start + step], vector, out=found[start : start + step])
    return found
