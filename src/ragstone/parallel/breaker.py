"""A circuit breaker: not calling for a while what has failed again and again.

The pattern is M. Nygard's (Release It!, 2007) with the names M. Fowler gave its states: closed, calls go through; open,
they are refused; half-open, one is let through to see. Failures are counted in a row, not as a rate: a source is asked
once a query, and five queries in a row without an answer are an outage at any rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half-open"]


class Breaker:
    """The state of one source. Belongs to one thread.

    A call begins with `begin` and ends with exactly one of `succeeded`, `failed` and `withdrawn`.
    """

    def __init__(
        self, *, failures: int, recovery_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Opens at `failures` in a row; after `recovery_s` seconds one call may try again."""
        self._most = failures
        self._recovery_s = recovery_s
        self._clock = clock
        self._failures = 0
        self._opened_s: float | None = None
        self._trying = False

    @property
    def state(self) -> State:
        """`half-open` from the moment a trial is due until its outcome is known."""
        if self._opened_s is None:
            return "closed"
        return "half-open" if self._trying or self.retry_in_s == 0 else "open"

    @property
    def failures(self) -> int:
        """Failures in a row so far."""
        return self._failures

    @property
    def retry_in_s(self) -> float:
        """Seconds until a trial is due; 0 when closed or due."""
        if self._opened_s is None:
            return 0.0
        return max(0.0, self._opened_s + self._recovery_s - self._clock())

    @property
    def refuses(self) -> bool:
        """Whether a call may not begin now."""
        return self._opened_s is not None and (self._trying or self.retry_in_s > 0)

    def begin(self) -> bool:
        """Begin a call; whether it is the trial of a half-open breaker. Only while not `refuses`."""
        self._trying = self._opened_s is not None
        return self._trying

    def succeeded(self) -> None:
        """The call was answered: the breaker closes."""
        self._failures, self._opened_s, self._trying = 0, None, False

    def failed(self, *, trial: bool) -> None:
        """The call was not answered, or too late. A failed trial opens the breaker for as long again."""
        self._failures += 1
        if trial:
            self._trying = False
        if trial or (self._opened_s is None and self._failures >= self._most):
            self._opened_s = self._clock()

    def withdrawn(self, *, trial: bool) -> None:
        """The caller went away before there was an outcome, which says nothing about the source."""
        if trial:
            self._trying = False
