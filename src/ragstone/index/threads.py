"""How many threads FAISS may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss


@contextmanager
def one_thread() -> Iterator[None]:
    """One OpenMP thread for FAISS in this block, for searching and building; per calling thread.

    Two on a busy machine cost a search 4× (DESIGN), and builds 3 to 8× (2,000 × 32, load 5 on two cores); a build that
    leaves a core free does not slow the searches that go on meanwhile.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
