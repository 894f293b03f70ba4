"""The tail finds what brute force finds, short and long, in either precision."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
import pytest

from ragstone.index.tail import SHORT_ROWS, Tail
from ragstone.types import StoredMatrix

DIM = 48
SIZES = [1, 10, SHORT_ROWS, SHORT_ROWS + 1, 5_000]


def _rows(count: int, precision: npt.DTypeLike) -> StoredMatrix:
    rows = np.random.default_rng(count).standard_normal((count, DIM)).astype(np.float32)
    unit: StoredMatrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(precision)
    return unit


def _tail(rows: StoredMatrix) -> Tail:
    """Rows that came in three parts."""
    tail = Tail.empty(DIM)
    for part in np.array_split(np.arange(len(rows)), 3):
        tail = tail.extended(part + 100, part // 2, rows[part])
    return tail


@pytest.mark.parametrize("precision", [np.float16, np.float32])
@pytest.mark.parametrize("count", SIZES)
def test_the_best_rows_are_found(count: int, precision: npt.DTypeLike) -> None:
    rows = _rows(count, precision)
    tail = _tail(rows)
    assert (len(tail), tail.dim) == (count, DIM)
    for query in _rows(7, np.float32):
        wanted = rows.astype(np.float64) @ query.astype(np.float64)
        best = np.sort(wanted)[::-1][:10]
        found, scores = tail.search(query, top_k=10, among=None)
        np.testing.assert_allclose(scores, wanted[found], atol=1e-6)
        np.testing.assert_allclose(np.sort(scores)[::-1][:10], best, atol=1e-6)
        among = np.arange(0, count, 3)
        found, scores = tail.search(query, top_k=10, among=among)
        assert found.tolist() == among.tolist()
        np.testing.assert_allclose(scores, wanted[among], atol=1e-6)


@pytest.mark.parametrize("precision", [np.float16, np.float32])
@pytest.mark.parametrize("count", SIZES)
def test_vectors_come_back_as_they_were_stored(count: int, precision: npt.DTypeLike) -> None:
    rows = _rows(count, precision)
    picked = np.array([0, count - 1, count // 2])
    gathered = _tail(rows).gather(picked)
    assert gathered.dtype == np.float32
    assert np.array_equal(gathered, rows[picked].astype(np.float32))


def test_an_extended_tail_leaves_the_one_before_as_it_is() -> None:
    rows = _rows(3_000, np.float16)
    before = _tail(rows)
    after = before.extended(np.array([9_000]), np.array([9_000]), rows[:1])
    assert (len(before), len(after)) == (3_000, 3_001)
    found, _ = after.search(rows[0].astype(np.float32), top_k=2, among=None)
    assert sorted(found.tolist()) == [0, 3_000]
    found, _ = before.search(rows[0].astype(np.float32), top_k=1, among=None)
    assert found.tolist() == [0]


def test_eight_threads_find_the_same() -> None:
    rows = _rows(5_000, np.float16)
    tail, queries = _tail(rows), rows[:200].astype(np.float32)
    alone = [set(tail.search(query, top_k=5, among=None)[0].tolist()) for query in queries]
    differing: list[int] = []

    def search() -> None:
        for number, query in enumerate(queries):
            if set(tail.search(query, top_k=5, among=None)[0].tolist()) != alone[number]:
                differing.append(number)

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differing == []
