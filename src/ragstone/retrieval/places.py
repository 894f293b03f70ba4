"""As many threads rank at once as there are cores: more of them only take the interpreter from each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ragstone import deadlines
from ragstone.embedding.cores import usable_cores

_LOOK_S = 60.0  # who has no deadline waits on


_places = threading.BoundedSemaphore(usable_cores())


@contextmanager
def place() -> Iterator[None]:
    """One of the process's places, for computing only: whoever waits for another machine keeps others from their core.

    Not to be asked for by who has one. Raises `DeadlineError`.
    """
    places = _places
    while not places.acquire(timeout=deadlines.left_s(_LOOK_S)):
        deadlines.check()
    try:
        yield
    finally:
        places.release()


def _renew() -> None:
    """The threads that hold places stay with the parent."""
    global _places  # noqa: PLW0603 - one for the process
    _places = threading.BoundedSemaphore(usable_cores())


os.register_at_fork(after_in_child=_renew)
