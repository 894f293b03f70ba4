"""How many threads FAISS may use: one for each that calls it.

Two on a machine that is busy cost a search 4× (DESIGN), and builds 3 to 8× (2,000 × 32, load 5 on two cores); a build
that leaves a core free does not slow the searches that go on meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import faiss

_here = threading.local()


def use_one_thread() -> None:
    """From now on FAISS works on the calling thread alone. Costs nothing to say again.

    FAISS lets go of the interpreter with every call, also with that which would set this: said for each search, a
    thread among eight waited for its turn twice.
    """
    if not getattr(_here, "alone", False):
        faiss.omp_set_num_threads(1)
        _here.alone = True


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS works on the calling thread alone in this block, and as its caller has it after that."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
        _here.alone = before == 1
