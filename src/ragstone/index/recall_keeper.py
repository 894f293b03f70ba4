"""Keeping the recall that was asked for: a sample of the approximate searches is checked, dearer ones are asked for.

A segment's table of efforts was measured with queries made from its own vectors. Real questions may lie elsewhere, or
drift there. So one search in some is asked again exactly, beside the others; when the searches find less than was asked
for, the next ones ask the table for more, and for less again once that is plenty. Nothing on disk changes.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from ragstone.index.dense import EXACT, DenseIndex
from ragstone.index.fast import share_found
from ragstone.types import Vector

# An exact search of 1M × 384 costs 45 ms of one core: one in a hundred adds less than half a ms to each.
CHECK_EVERY = 100
# After a change it is to be known soon whether it was the right one.
CHECK_EVERY_AT_FIRST = 10
CHECK_TOP_K = 10
WINDOW = 1_000  # checks
# Thirty checks of ten hits know a recall of .9 to ± .03; what lies below the asked one by two standard errors is drift.
ENOUGH_TO_RAISE = 30
ENOUGH_TO_LOWER = 300
_STANDARD_ERRORS = 2.0
# Each step halves the share that may be missed, or doubles it. Five steps from .98: .9994.
_MOST_STEPS = 5

logger = logging.getLogger("ragstone.index")


@dataclass(frozen=True, slots=True)
class ObservedRecall:
    """What approximate searches of this process really found: the mean share of the true nearest, over `samples` checks
    since the last change of `asked`, which is what the index is asked for to reach the recall that is wanted."""

    samples: int
    mean: float
    asked: float


class RecallKeeper:
    """Watches the searches of one collection that want the recall `wanted`, 0 to 1. Thread-safe."""

    def __init__(self, name: str, wanted: float) -> None:
        self._name = name
        self._wanted = wanted
        self._steps = 0  # halvings of what may be missed
        self._offered = itertools.count()
        self._window: deque[float] = deque(maxlen=WINDOW)
        self._busy = threading.Lock()
        self._worker: threading.Thread | None = None
        self._starting = threading.Lock()

    def asked(self, recall: float) -> float:
        """What to ask of the index for `recall`: more, for the recall watched, where that had been missed."""
        return recall if recall != self._wanted else 1 - (1 - recall) / 2**self._steps

    def offer(self, dense: DenseIndex, vector: Vector) -> None:
        """Note a search of `dense` for `vector`; returns at once, and drops the offer while another is checked."""
        every = CHECK_EVERY_AT_FIRST if len(self._window) < ENOUGH_TO_RAISE else CHECK_EVERY
        if dense.is_exact or dense.recall != self.asked(self._wanted) or next(self._offered) % every:
            return
        if not self._busy.acquire(blocking=False):
            return
        with self._starting:
            self._worker = threading.Thread(
                target=self._check, args=(dense, vector), name="ragstone-recall", daemon=True
            )
            self._worker.start()

    def wait(self) -> None:
        """Until the check at work, if any, is done."""
        with self._starting:
            worker = self._worker
        if worker is not None:
            worker.join()

    def summary(self) -> ObservedRecall | None:
        """The mean over the latest checks; None before the first."""
        window = self._window.copy()
        if not window:
            return None
        return ObservedRecall(len(window), float(np.mean(window)), self.asked(self._wanted))

    def _check(self, dense: DenseIndex, vector: Vector) -> None:
        try:
            _, found = dense.search(vector, top_k=CHECK_TOP_K, allowed=None)
            _, true = dense.at_recall(EXACT).search(vector, top_k=CHECK_TOP_K, allowed=None)
            if len(true):
                self._window.append(share_found(true, found))
                self._adjust()
        finally:
            self._busy.release()

    def _adjust(self) -> None:
        found = np.array(self._window)
        mean, error = float(found.mean()), float(found.std()) / len(found) ** 0.5
        before = self.asked(self._wanted)
        if len(found) >= ENOUGH_TO_RAISE and mean + _STANDARD_ERRORS * error < self._wanted:
            if self._steps == _MOST_STEPS:
                return
            self._steps += 1
        elif len(found) >= ENOUGH_TO_LOWER and self._steps and mean > (1 + self._wanted) / 2:
            self._steps -= 1
        else:
            return
        self._window.clear()
        logger.warning(
            "searches in %s find %.3f of the nearest, %g is wanted: the index is now asked for %g instead of %g",
            self._name,
            mean,
            self._wanted,
            self.asked(self._wanted),
            before,
        )
