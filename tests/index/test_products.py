"""Products in blocks are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from ragstone.index.products import BLOCK, products


@pytest.mark.parametrize(
    ("count", "dim"),
    [
        (0, 384),
        (1, 384),
        (BLOCK // 384, 384),
        (BLOCK // 384 + 1, 384),
        (16_384, 384),
        (BLOCK, 3),
        (2, BLOCK + 1),
    ],
)
def test_blocks_leave_no_trace(count: int, dim: int) -> None:
    random = np.random.default_rng(count)
    rows = random.standard_normal((count, dim), dtype=np.float32)
    vector = random.standard_normal(dim, dtype=np.float32)
    found = products(rows, vector)
    assert found.shape == (count,)
    assert found.dtype == np.float32
    wanted = rows.astype(np.float64) @ vector.astype(np.float64)
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.sqrt(dim))
