"""Halves made single: the very numbers NumPy makes of them."""

from __future__ import annotations

import numpy as np

from ragstone.index.precision import single


def test_every_finite_half_becomes_the_same_number() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].reshape(-1, 128)
    widened = single(finite)
    assert widened.dtype == np.float32
    assert widened.tobytes() == finite.astype(np.float32).tobytes()  # the two zeros are not each other


def test_what_is_single_is_copied() -> None:
    vectors = np.ones((2, 3), np.float32)
    copied = single(vectors)
    copied[:] = 0
    assert vectors.all()
