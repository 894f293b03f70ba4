"""Values that die together: a cache whose values carry tags, such as the ids of the documents they were made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ragstone.cache_levels import LRUCache

V = TypeVar("V")
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class _Tagged(Generic[V]):
    value: V
    tags: frozenset[Hashable]


class TaggedCache(Generic[V]):
    """An `LRUCache` by text keys whose values are also dropped by tag or by the beginning of their key. Thread-safe."""

    def __init__(
        self, capacity: int, *, ttl_s: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """As `LRUCache`. Raises `InputError`."""
        self._values: LRUCache[str, _Tagged[V]] = LRUCache(
            capacity, ttl_s=ttl_s, clock=clock, dropped=self._forget_tags
        )
        self._keys_of: dict[Hashable, set[str]] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Values that have not expired."""
        with self._lock:
            return len(self._values)

    @property
    def evictions(self) -> int:
        """Values dropped for want of room."""
        return self._values.evictions

    @property
    def tags(self) -> frozenset[Hashable]:
        """Every tag that some value held here carries; a value that has expired unnoticed may still count."""
        with self._lock:
            return frozenset(self._keys_of)

    def get(self, key: str, default: D) -> V | D:
        """The value of `key`, now the most recently used; `default` where there is none."""
        with self._lock:
            found = self._values.get(key, None)
            return default if found is None else found.value

    def holds(self, key: str) -> bool:
        """Whether `get` would find `key`; does not count as use."""
        return self._values.holds(key)

    def put(self, key: str, value: V, *, tags: Iterable[Hashable] = (), ttl_s: float | None = None) -> None:
        """Keep `value` until it expires, one of `tags` is dropped, or there is no room."""
        entry = _Tagged(value, frozenset(tags))
        with self._lock:
            self._values.put(key, entry, ttl_s=ttl_s)
            if self._values.holds(key):
                for tag in entry.tags:
                    self._keys_of.setdefault(tag, set()).add(key)

    def drop(self, key: str) -> int:
        """Drop one value; 1, or 0 where there was none."""
        with self._lock:
            return int(self._values.discard(key))

    def drop_prefix(self, prefix: str) -> int:
        """Drop the values whose keys begin with `prefix`; their number. Looks at every key."""
        with self._lock:
            return self._values.discard_where(lambda key: key.startswith(prefix))

    def drop_tags(self, tags: Iterable[Hashable]) -> int:
        """Drop the values that carry any of `tags`; their number. Costs as much as there are of them."""
        with self._lock:
            keys = set().union(*(self._keys_of.get(tag, ()) for tag in tags))
            return sum(self._values.discard(key) for key in keys)

    def clear(self) -> int:
        """Drop everything; the number of values that had not expired."""
        with self._lock:
            return self._values.clear()

    def _forget_tags(self, key: str, entry: _Tagged[V]) -> None:
        # Called by the cache while a method above holds the lock.
        for tag in entry.tags:
            keys = self._keys_of.get(tag)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._keys_of[tag]
