"""Which query comes next: a bounded first-order Markov chain over the queries seen, and a budget to act on it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from ragstone.errors import InputError

# 2,000 keys with 8 successors each are some 2 MB of Python objects at most.
KEYS_MAX = 2_000
SUCCESSORS_MAX = 8
# Seen this often after a key, its successors' counts are halved: the chain follows habits that change.
_OBSERVATIONS_MAX = 64
# A guess that is right less often than one time in three costs more than it saves under a small budget.
LEAST_PROBABILITY = 1 / 3
LEAST_OBSERVATIONS = 2
GUESSES_MAX = 2


class NextKeys:
    """What follows what in one sequence of keys. Not thread-safe; every call is O(successors)."""

    def __init__(self, *, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._followers: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._last: str | None = None

    def __len__(self) -> int:
        """Keys of which a successor is known."""
        return len(self._followers)

    def see(self, key: str) -> None:
        """Note that `key` came now."""
        last, self._last = self._last, key
        if last is None or last == key:  # the same again needs no guess: it is in the cache
            return
        counts = self._followers.setdefault(last, {})
        self._followers.move_to_end(last)
        if key not in counts and len(counts) == SUCCESSORS_MAX:
            del counts[min(counts, key=lambda follower: counts[follower])]
        counts[key] = counts.get(key, 0) + 1
        if sum(counts.values()) > _OBSERVATIONS_MAX:
            self._followers[last] = {follower: n // 2 for follower, n in counts.items() if n > 1}
        while len(self._followers) > self._keys_max:
            self._followers.popitem(last=False)

    def likely(self, key: str) -> list[str]:
        """At most two keys that are likely to follow `key`, the likeliest first; none before enough was seen."""
        counts = self._followers.get(key, {})
        total = sum(counts.values())
        ranked = sorted(counts, key=lambda follower: -counts[follower])[:GUESSES_MAX]
        return [
            follower
            for follower in ranked
            if counts[follower] >= LEAST_OBSERVATIONS and counts[follower] / total >= LEAST_PROBABILITY
        ]


class Budget:
    """Permission for at most `per_minute` actions in any minute, evenly refilled, and at most `burst` at once.

    Over any t seconds no more than `burst + per_minute·t/60` are granted. Not thread-safe.
    """

    def __init__(
        self, per_minute: float, *, burst: int = 5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises `InputError` for a negative rate."""
        if per_minute < 0:
            raise InputError(f"a budget of {per_minute} a minute is negative")
        self._per_second = per_minute / 60
        self._most = float(burst) if per_minute else 0.0
        self._clock = clock
        self._left = self._most
        self._at_s = clock()

    def take(self) -> bool:
        """Whether one more action is granted now."""
        now_s = self._clock()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
