"""A thread that does something at intervals, and stops at once when told."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from ragstone.monitoring.records import Snapshot

Exporter: TypeAlias = Callable[[Snapshot], object]  # hands the figures on; must not block

logger = logging.getLogger("ragstone.monitoring")


class PeriodicReport:
    """Calls `report` every `interval_s` seconds from `start` until `stop`; one that fails is logged."""

    def __init__(
        self,
        report: Callable[[], object],
        interval_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """`interval_s` is above 0. `clock` counts seconds; `wait` sleeps up to as many as it is given and may return
        early, as the default does when it is stopped."""
        self._report = report
        self._interval_s = interval_s
        self._clock = clock
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._thread = threading.Thread(target=self._run, name="ragstone-monitor", daemon=True)

    def start(self) -> None:
        """Begin; the first report comes after one interval."""
        self._due_s = self._clock() + self._interval_s
        self._thread.start()

    def stop(self) -> None:
        """End at once, or when the report at work is done."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            left_s = self._due_s - self._clock()
            if left_s > 0:
                self._wait(left_s)
                continue
            try:
                self._report()
            except Exception:
                logger.warning("a periodic report failed", exc_info=True)
            # Reports missed meanwhile (a slow one, a machine asleep) are left out, not made up for in a burst.
            missed = math.floor((self._clock() - self._due_s) / self._interval_s)
            self._due_s += (missed + 1) * self._interval_s
