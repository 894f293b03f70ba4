"""Texts that wait for the model, and who waits for each. Knows no threads, futures or models; times are arguments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

W = TypeVar("W")


@dataclass(slots=True, eq=False)
class Wanted(Generic[W]):
    """A text that waits or is being embedded. `number` ascends in order of arrival; `since_s` is when it came. Of one
    `given_up` nothing is expected any more."""

    key: bytes
    text: str
    number: int
    since_s: float
    waiters: list[W] = field(default_factory=list)
    given_up: bool = False


class BatchQueue(Generic[W]):
    """First come, first served; a text that is already wanted gains a waiter, not a place. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, Wanted[W]] = OrderedDict()
        self._taken: dict[bytes, Wanted[W]] = {}
        self._numbers = 0

    def __len__(self) -> int:
        """Texts that wait; those being embedded are not among them."""
        return len(self._waiting)

    @property
    def newest(self) -> int:
        """The number of the text that came last, 0 before the first."""
        return self._numbers

    @property
    def oldest(self) -> int | None:
        """The number of the text that has waited longest; None when none waits."""
        return next(iter(self._waiting.values())).number if self._waiting else None

    def add(self, key: bytes, text: str, waiter: W, now_s: float) -> bool:
        """Let `waiter` wait for `text`; False when it was wanted already, so that nothing more is embedded for it."""
        wanted = self._waiting.get(key) or self._taken.get(key)
        if wanted is not None:
            wanted.waiters.append(waiter)
            return False
        self._numbers += 1
        self._waiting[key] = Wanted(key, text, self._numbers, now_s, [waiter])
        return True

    def withdraw(self, keys: Iterable[bytes], waiter: W) -> int:
        """Let `waiter` wait no more; the number of texts dropped because nobody else waits and none was taken."""
        dropped = 0
        for key in keys:
            wanted = self._waiting.get(key) or self._taken.get(key)
            if wanted is None:
                continue
            wanted.waiters = [other for other in wanted.waiters if other is not waiter]
            if not wanted.waiters and key in self._waiting:
                del self._waiting[key]
                dropped += 1
        return dropped

    def due_in_s(self, now_s: float, *, full: int, patience_s: float) -> float | None:
        """Seconds until a batch is due: 0 when `full` texts wait or one waited `patience_s`; None when none waits."""
        if not self._waiting:
            return None
        if len(self._waiting) >= full:
            return 0.0
        oldest = next(iter(self._waiting.values()))
        return max(0.0, oldest.since_s + patience_s - now_s)

    def take(self, limit: int) -> list[Wanted[W]]:
        """The `limit` texts that waited longest; further waiters may join until `finish`."""
        batch = [self._waiting.popitem(last=False)[1] for _ in range(min(limit, len(self._waiting)))]
        self._taken.update((wanted.key, wanted) for wanted in batch)
        return batch

    def finish(self, wanted: Wanted[W]) -> list[W]:
        """Everyone who waits for a text taken before; it is no longer wanted."""
        if self._taken.get(wanted.key) is wanted:  # not after `give_up_taken`
            del self._taken[wanted.key]
        waiters, wanted.waiters = wanted.waiters, []
        return waiters

    def give_up_waiting(self) -> list[Wanted[W]]:
        """Drop every text that waits, and return them with their waiters."""
        dropped = list(self._waiting.values())
        self._waiting.clear()
        return _given_up(dropped)

    def give_up_taken(self) -> list[Wanted[W]]:
        """Expect nothing of the texts taken; return them with their waiters. When asked for again, they wait again."""
        dropped = list(self._taken.values())
        self._taken.clear()
        return _given_up(dropped)


def _given_up(dropped: list[Wanted[W]]) -> list[Wanted[W]]:
    for wanted in dropped:
        wanted.given_up = True
    return dropped
