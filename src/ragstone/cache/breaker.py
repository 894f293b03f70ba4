"""Not asking a server again at every call while it does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens at the first failure; every `pause_s` one call may try again, and a success closes it. Thread-safe.

    The first failure is enough: each one costs a caller the whole timeout.
    """

    def __init__(self, pause_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause_s = pause_s
        self._clock = clock
        self._try_at_s: float | None = None  # None while closed
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for one in `pause_s`."""
        return self._try_at_s is not None

    def allows(self) -> bool:
        """Whether a call may be made now; a True while open is the one trial of the next `pause_s`."""
        with self._lock:
            if self._try_at_s is None:
                return True
            now_s = self._clock()
            if now_s < self._try_at_s:
                return False
            self._try_at_s = now_s + self._pause_s
            return True

    def failed(self) -> bool:
        """Note a failure; whether it opened the breaker, so that an outage is told once."""
        with self._lock:
            opened = self._try_at_s is None
            self._try_at_s = self._clock() + self._pause_s
            return opened

    def succeeded(self) -> bool:
        """Note a success; whether it closed the breaker."""
        with self._lock:
            closed = self._try_at_s is not None
            self._try_at_s = None
            return closed
