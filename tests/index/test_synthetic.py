"""Made-up vectors: seeded, of unit length, and with neighbours to find."""

from __future__ import annotations

import numpy as np

from ragstone.index.synthetic import clustered_vectors


def test_equal_seeds_give_equal_unit_vectors_and_other_seeds_others() -> None:
    first = clustered_vectors(500, 48, seed=1)
    assert first.shape == (500, 48) and first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    assert np.array_equal(first, clustered_vectors(500, 48, seed=1))
    assert not np.array_equal(first, clustered_vectors(500, 48, seed=2))


def test_a_vectors_nearest_are_much_nearer_than_the_rest() -> None:
    vectors = clustered_vectors(2_000, 96)
    cosines = vectors[:50] @ vectors.T
    nearest = np.sort(cosines, axis=1)[:, -11:-1]  # without itself
    assert nearest.mean() > 0.5
    assert abs(cosines.mean()) < 0.1


def test_few_directions_hold_most_of_the_spread_and_none_is_a_coordinate() -> None:
    vectors = clustered_vectors(2_000, 96)
    spread = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    assert spread[:24].sum() > 0.5 * spread.sum()
    along_coordinates = np.sort(vectors.var(axis=0))[::-1]
    assert along_coordinates[:24].sum() < 0.45 * along_coordinates.sum()
