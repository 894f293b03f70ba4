"""Results that are kept for a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """At most `capacity` values, each for `ttl_s` seconds; least recently used out first. Thread-safe."""

    def __init__(self, capacity: int, ttl_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many there are, those whose time is over among them until they are asked for."""
        return len(self._values)

    def get(self, key: str) -> T | None:
        """What is kept under `key`, now the most recently used; None when there is nothing or its time is over."""
        with self._lock:
            entry = self._values.get(key)
            if entry is None:
                return None
            ends_s, value = entry
            if self._clock() >= ends_s:
                del self._values[key]
                return None
            self._values.move_to_end(key)
            return value

    def put(self, key: str, value: T) -> None:
        """Keep `value`."""
        with self._lock:
            self._values[key] = (self._clock() + self._ttl_s, value)
            self._values.move_to_end(key)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
