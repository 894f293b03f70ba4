"""Vectors compared block by block are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from ragstone.index.exact import best_scores, exact_index
from ragstone.types import Matrix, Precision, StoredMatrix

DIM = 2_048  # 2,048 rows are a block
PRECISIONS: tuple[Precision, ...] = ("float16", "float32")


def stored(rows: Matrix, precision: Precision) -> StoredMatrix:
    return rows.astype(np.float16) if precision == "float16" else rows


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("count", [1, 99, 2_048, 2_049, 5_000])
def test_the_best_of_all_blocks_are_found(count: int, precision: Precision) -> None:
    random = np.random.default_rng(count)
    rows = stored(random.standard_normal((count, DIM), dtype=np.float32), precision)
    queries = random.standard_normal((20, DIM), dtype=np.float32)
    found = best_scores(rows, queries, 100)
    products = queries.astype(np.float64) @ rows.astype(np.float64).T
    wanted = -np.sort(-products, axis=1)[:, :100]
    assert found.shape == wanted.shape == (20, min(count, 100))
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_index_holds_the_very_numbers(precision: Precision) -> None:
    rows = stored(np.random.default_rng(1).standard_normal((50, 24), dtype=np.float32), precision)
    index = exact_index(rows)
    assert np.array_equal(index.reconstruct_n(0, 50), rows.astype(np.float32))
