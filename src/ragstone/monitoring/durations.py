"""A bounded window of the latest values of one kind, and figures of all of them. Not thread-safe: the monitor locks.

To add a value is to store it: sums and histograms are brought up to date by NumPy when the window has gone round, or
somebody asks, which halves what recording a search with its stages takes (LAB).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from ragstone.monitoring.records import OperationFigures, Values

WINDOW = 1_000  # latest values of each kind; FEATURES "Monitor window". 8 kB each
# From a filter's 0.1 ms to an answer's minute, 2 to 2.5 times apart: Prometheus's own steps, and three on either side.
BUCKETS_MS = (
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    30_000,
    60_000,
)


class Window:
    """The latest `WINDOW` values; of all of them the number, the sum, and how many lie up to each of `bounds`."""

    __slots__ = ("_bounds", "_buckets", "_folded", "_next", "_rounds", "_total", "_values")

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        self._bounds = np.array(bounds)
        self._buckets = np.zeros(len(bounds) + 1, np.int64)
        self._total = 0.0
        self._values = array("d", bytes(8 * WINDOW))
        self._next = 0  # where the next value goes
        self._folded = 0  # values before this place are in the sum and the buckets
        self._rounds = 0

    def add(self, value: float) -> None:
        """Note a value; the oldest one goes when the window is full."""
        self._values[self._next] = value
        self._next += 1
        if self._next == WINDOW:
            self._fold()
            self._next = self._folded = 0
            self._rounds += 1

    @property
    def count(self) -> int:
        """How many values there were in all."""
        return self._rounds * WINDOW + self._next

    @property
    def last(self) -> float:
        """The value added last; 0 before the first."""
        return self._values[self._next - 1]  # before the first place stands the last

    @property
    def total(self) -> float:
        """The sum of all values."""
        self._fold()
        return self._total

    @property
    def buckets(self) -> tuple[int, ...]:
        """(bounds + 1,) values up to each bound and above the one before it, and above the last."""
        self._fold()
        return tuple(self._buckets.tolist())

    def latest(self) -> Values:
        """A copy of the values, (≤ WINDOW,), in no particular order."""
        return np.array(self._values[: self._next if self._rounds == 0 else WINDOW])

    def _fold(self) -> None:
        values = np.array(self._values[self._folded : self._next])
        self._total += float(values.sum())
        places = np.searchsorted(self._bounds, values)
        self._buckets += np.bincount(places, minlength=len(self._buckets))
        self._folded = self._next


class Durations:
    """One operation or stage: durations of what ended well, and how often it failed."""

    __slots__ = ("errors", "operation", "stage", "untimed", "window")

    def __init__(self, operation: str, stage: str) -> None:
        self.operation = operation
        self.stage = stage
        self.errors = 0
        self.untimed = 0  # ended well too
        self.window = Window(BUCKETS_MS)

    def figures(self) -> OperationFigures:
        """All of it, for good."""
        return OperationFigures(
            self.operation,
            self.stage,
            self.untimed + self.window.count,
            self.errors,
            self.window.total,
            self.window.latest(),
            self.window.buckets,
        )
