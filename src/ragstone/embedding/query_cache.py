"""The vectors of the queries asked last."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ragstone.types import Vector

# 1,024 vectors of 384 dimensions are 1.6 MB: nothing beside the model, and more than one person asks in a day.
DEFAULT_CAPACITY = 1024


class QueryCache:
    """Least recently used out first; at most `capacity` vectors, read-only. Thread-safe.

    One cache belongs to one embedder, so the text alone is the key.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._vectors: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> Vector | None:
        """The vector of `text`, now the most recently used; None when it is not held."""
        with self._lock:
            vector = self._vectors.get(text)
            if vector is not None:
                self._vectors.move_to_end(text)
            return vector

    def put(self, text: str, vector: Vector) -> Vector:
        """Keep `vector` (it becomes read-only) and return it."""
        vector.flags.writeable = False
        with self._lock:
            self._vectors[text] = vector
            self._vectors.move_to_end(text)
            while len(self._vectors) > self._capacity:
                self._vectors.popitem(last=False)
        return vector
