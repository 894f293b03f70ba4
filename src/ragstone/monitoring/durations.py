"""A bounded window of the latest values of one kind, and figures of all of them. Not thread-safe: the monitor locks.

To record is to write values one behind the other; NumPy sorts them into their windows some hundred at a time, or when
somebody asks: half of what it takes to put each value into its window by itself (LAB).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from ragstone.monitoring.records import OperationFigures, Values

ROWS = 500  # recordings between two calls of NumPy
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

    __slots__ = ("_bounds", "_buckets", "_latest", "count", "total")

    def __init__(self, bounds: Sequence[float] = ()) -> None:
        self.count = 0
        self.total = 0.0
        self._bounds = np.array(bounds)
        self._buckets = np.zeros(len(bounds) + 1, np.int64)
        self._latest: Values = np.empty(0)

    def extend(self, values: Values) -> None:
        """Note values, (n,); the oldest ones go when the window is full."""
        self.count += len(values)
        self.total += float(values.sum())
        places = np.searchsorted(self._bounds, values)
        self._buckets += np.bincount(places, minlength=len(self._buckets))
        self._latest = np.concatenate([self._latest, values])[-WINDOW:]

    @property
    def last(self) -> float:
        """The value noted last; 0 before the first."""
        return float(self._latest[-1]) if self.count else 0.0

    @property
    def buckets(self) -> tuple[int, ...]:
        """(bounds + 1,) values up to each bound and above the one before it, and above the last."""
        return tuple(self._buckets.tolist())

    def latest(self) -> Values:
        """The values, (≤ WINDOW,), oldest first; nobody may change them."""
        return self._latest


class Rows:
    """Recordings of as many values each as there are `windows`, on their way there."""

    __slots__ = ("_most", "_values", "_windows")

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows
        self._values = array("d")
        self._most = ROWS * len(windows)

    def add(self, values: Iterable[float]) -> None:
        """Note one value for each window."""
        self._values.extend(values)
        if len(self._values) >= self._most:
            self.fold()

    def fold(self) -> Sequence[Window]:
        """The windows, brought up to date."""
        if self._values:
            rows = np.array(self._values).reshape(-1, len(self._windows))
            self._values = array("d")
            for window, column in zip(self._windows, rows.T, strict=True):
                window.extend(column)
        return self._windows


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
