"""When the work at hand has to be over: set once at the edge, read wherever something could take long.

    with within(2.0):
        left_s(30.0)  # 2.0 at most
        check()       # raises DeadlineError once it has passed

Kept in a context variable: a thread sees it when its call runs in a copy of the context.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ragstone.errors import RagstoneError

_ends_at_s: ContextVar[float] = ContextVar("ragstone_ends_at_s", default=math.inf)  # of time.monotonic()


class DeadlineError(RagstoneError):
    """The time that the caller gave is over; nothing more is started."""

    default_code = "deadline"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done inside the block has to be over in `seconds`, or earlier if the block around it says so."""
    token = _ends_at_s.set(min(_ends_at_s.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at_s.reset(token)


def left_s(most_s: float = math.inf) -> float:
    """Seconds that are left, from 0 to `most_s`."""
    return min(most_s, max(0.0, _ends_at_s.get() - time.monotonic()))


def check() -> None:
    """Raise `DeadlineError` if the time is over."""
    if time.monotonic() >= _ends_at_s.get():
        raise DeadlineError("The time for this request is over.", hint="Give it more, or ask for less.")
