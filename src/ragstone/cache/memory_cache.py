"""A second level inside one process, for several embedders or optimizers that should share, and for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ragstone.cache_levels import LRUCache

# 10,000 vectors of 384 dimensions are 15 MB.
DEFAULT_CAPACITY = 10_000


class MemoryCache:
    """A `SharedCache` of at most `capacity` values. Thread-safe."""

    def __init__(
        self, capacity: int = DEFAULT_CAPACITY, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._values: LRUCache[str, bytes] = LRUCache(capacity, clock=clock)
        self._closed = False

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, in their order; None where there is none."""
        return [self._values.get(key, None) for key in keys]

    def put_many(self, values: Mapping[str, bytes], *, ttl_s: float) -> bool:
        """Keep each value for `ttl_s` seconds; False after `close`."""
        if self._closed:
            return False
        for key, value in values.items():
            self._values.put(key, value, ttl_s=ttl_s)
        return True

    def clear(self) -> bool:
        """Drop everything."""
        self._values.clear()
        return True

    def close(self) -> None:
        """Drop everything; nothing is found or kept afterwards."""
        self._closed = True
        self._values.clear()
