"""Half precision made single, five times as fast as NumPy does it (LAB, "Filters at a million")."""

from __future__ import annotations

import numpy as np

from ragstone.types import Matrix, StoredMatrix

# The sign stays where it is, exponent and fraction move to the lower end of theirs.
_KEPT_BITS = np.int32(-0x70002000)  # 0x8FFFE000
_FRACTION_BITS = 23 - 10
# So read, the number is this much too small: the exponents count from 127 and from 15.
_SCALE = np.float32(2.0 ** (127 - 15))


def single(vectors: StoredMatrix) -> Matrix:
    """(n, dim) float32, the same numbers as in `vectors`, which are finite, float16 or float32; always a copy."""
    if vectors.dtype.itemsize != 2:
        return vectors.astype(np.float32)
    bits = vectors.view(np.int16).astype(np.int32)
    bits <<= _FRACTION_BITS
    bits &= _KEPT_BITS
    widened: Matrix = bits.view(np.float32)
    widened *= _SCALE
    return widened
