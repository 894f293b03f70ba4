"""What the queries asked last were embedded to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

# 1,024 vectors of 384 dimensions are 1.6 MB: nothing beside the model, and more than one person asks in a day.
DEFAULT_CAPACITY = 1024


class QueryCache(Generic[T]):
    """Least recently used out first; at most `capacity` values, which nobody may change. Thread-safe.

    One cache belongs to one embedder, so the text alone is the key.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> T | None:
        """What is kept for `text`, now the most recently used; None when it is not held."""
        with self._lock:
            value = self._values.get(text)
            if value is not None:
                self._values.move_to_end(text)
            return value

    def put(self, text: str, value: T) -> T:
        """Keep `value` and return it."""
        with self._lock:
            self._values[text] = value
            self._values.move_to_end(text)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return value
