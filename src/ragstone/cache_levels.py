"""The two levels of a cache: what this process holds (`LRUCache`), and what several hold together (`SharedCache`).

Knows the standard library only; `embedding` and `cache` stand on it without knowing each other.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ragstone.errors import InputError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")

_NEVER = float("inf")
# The heap of expiries also holds entries that are gone; it is made anew when more than half of it is (and this many).
_HEAP_SLACK = 64


class SharedCache(Protocol):
    """A second level that outlives or spans processes. Thread-safe; a failure of its own is a miss, never an error.

    Keys are hexadecimal digests. Implementations: `MemoryCache`, `RedisCache`.
    """

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, in their order; None where there is none, or it cannot be had now."""

    def put_many(self, values: Mapping[str, bytes], *, ttl_s: float) -> bool:
        """Keep each value, none empty, for `ttl_s` seconds; whether all were taken."""

    def clear(self) -> bool:
        """Drop every value, whoever keeps it here; False when some may be left until their time is up."""

    def close(self) -> None:
        """Release connections; further calls find and keep nothing."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    expires_s: float
    number: int


class LRUCache(Generic[K, V]):
    """At most `capacity` values, each for a limited time. Thread-safe; every call is O(log capacity) or better.

    When it is full, what has expired goes first, then what was not asked for longest. `dropped` is told of every value
    that leaves in whatever way, also by being replaced; it is called under the lock and must not call the cache.
    """

    def __init__(
        self,
        capacity: int,
        *,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        dropped: Callable[[K, V], None] | None = None,
    ) -> None:
        """`capacity` 0 keeps nothing; `ttl_s` None keeps for ever. Raises `InputError`."""
        if capacity < 0:
            raise InputError(f"the capacity of a cache is {capacity}, the least is 0 (keep nothing)")
        if ttl_s is not None and ttl_s <= 0:
            raise InputError(f"ttl_s is {ttl_s}, it must be above 0")
        self.capacity = capacity
        self.evictions = 0  # of values that had not expired, for want of room
        self.hits = 0
        self.misses = 0
        self._ttl_s = ttl_s
        self._clock = clock
        self._dropped = dropped
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # least recently used first
        self._expiries: list[
            tuple[float, int, K]
        ] = []  # a heap; numbers are unique, so keys are never compared
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Values that have not expired."""
        with self._lock:
            self._drop_expired()
            return len(self._entries)

    def holds(self, key: K) -> bool:
        """Whether `get` would find `key`; does not count as use."""
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.expires_s > self._clock()

    def get(self, key: K, default: D) -> V | D:
        """The value of `key`, now the most recently used; `default` where there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.expires_s != _NEVER and entry.expires_s <= self._clock():
                self._drop(key)
                entry = None
            if entry is None:
                self.misses += 1
                return default
            self.hits += 1
            self._entries.move_to_end(key)
            return entry.value

    def put(self, key: K, value: V, *, ttl_s: float | None = None) -> None:
        """Keep `value` as the most recently used one, for `ttl_s` seconds (None: as the cache was made)."""
        if not self.capacity:
            return
        ttl_s = self._ttl_s if ttl_s is None else ttl_s
        with self._lock:
            expires_s = _NEVER if ttl_s is None else self._clock() + ttl_s
            if key in self._entries:
                self._drop(key)
            entry = _Entry(value, expires_s, next(self._numbers))
            self._entries[key] = entry
            if expires_s != _NEVER:
                self._note_expiry(key, entry)
            if len(self._entries) > self.capacity:
                self._drop_expired()
            while len(self._entries) > self.capacity:
                self.evictions += 1
                self._drop(next(iter(self._entries)))

    def discard(self, key: K) -> bool:
        """Drop the value of `key`; whether there was one that had not expired."""
        with self._lock:
            self._drop_expired()
            if key not in self._entries:
                return False
            self._drop(key)
            return True

    def discard_where(self, condition: Callable[[K], bool]) -> int:
        """Drop the values whose key fulfils `condition`; their number. Looks at every key."""
        with self._lock:
            self._drop_expired()
            chosen = [key for key in self._entries if condition(key)]
            for key in chosen:
                self._drop(key)
            return len(chosen)

    def clear(self) -> int:
        """Drop everything; the number of values that had not expired."""
        return self.discard_where(lambda key: True)

    def stats(self) -> dict[str, int]:
        """`entries` now, of at most `capacity`; `hits` and `misses` of `get` and `evictions` so far."""
        return {
            "entries": len(self),
            "capacity": self.capacity,
            "hits": self.hits,
            "misses": self.misses,
            "evictions": self.evictions,
        }

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key)
        if self._dropped is not None:
            self._dropped(key, entry.value)

    def _drop_expired(self) -> None:
        if not self._expiries:
            return
        now_s = self._clock()
        while self._expiries and self._expiries[0][0] <= now_s:
            _, number, key = heapq.heappop(self._expiries)
            entry = self._entries.get(key)
            if entry is not None and entry.number == number:
                self._drop(key)

    def _note_expiry(self, key: K, entry: _Entry[V]) -> None:
        heapq.heappush(self._expiries, (entry.expires_s, entry.number, key))
        if len(self._expiries) > 2 * len(self._entries) + _HEAP_SLACK:
            self._expiries = [
                (entry.expires_s, entry.number, key)
                for key, entry in self._entries.items()
                if entry.expires_s != _NEVER
            ]
            heapq.heapify(self._expiries)
