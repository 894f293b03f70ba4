"""Moving an application from one index to another by degrees: a share of its queries, and both compared on the way.

    rollout = Rollout(old=ask_llamaindex, new=ask_ragstone, shadow=True, key=lambda hit: hit.uri)
    hits = rollout.search("how are backups made?", top_k=10)      # still the old one's, the new one is asked beside it
    print(rollout.report())                                       # overlap@10, failures, latencies
    rollout.share = 0.1                                           # a tenth of the queries, always the same ones

Both are functions of the application's own: nothing here knows what they ask.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np

from ragstone.errors import InputError

T = TypeVar("T")
Search: TypeAlias = Callable[[str, int], Sequence[T]]  # (query, top_k) → results, best first
Side: TypeAlias = Literal["old", "new"]

OVERLAP_TOP_K = 10
WINDOW = 1_000  # latest comparisons and latencies that a report is about
# Comparisons that may wait for the other index; more are left out rather than let the memory grow.
_MOST_WAITING = 32

logger = logging.getLogger("ragstone.importers")


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """What happened so far. `overlap_at_10`, 0 to 1, is the mean share of the old index's ten best that the new one has
    among its ten, over the latest `compared` queries; None before the first. `fallbacks` were answered by the old one
    because the new one failed, `failures` are all failures of the new one. Latencies are medians, None where not asked.
    """

    answered_by_old: int
    answered_by_new: int
    fallbacks: int
    failures: int
    compared: int
    not_compared: int
    overlap_at_10: float | None
    old_p50_ms: float | None
    new_p50_ms: float | None


class Rollout(Generic[T]):
    """Two searches behind one. Thread-safe; `close` when done, or use it as a context manager."""

    def __init__(
        self,
        old: Search[T],
        new: Search[T],
        *,
        share: float = 0.0,
        shadow: bool = False,
        key: Callable[[T], Hashable] = lambda result: result,
    ) -> None:
        """`share`, 0 to 1, of the queries are answered by `new`: by the query's hash, so that a query keeps its side
        and a growing share only moves queries over. With `shadow` the other one is asked as well, after the answer,
        and compared; `key` says what makes a result the same on both sides. Raises `InputError`."""
        self._searches: dict[Side, Search[T]] = {"old": old, "new": new}
        self.share = share
        self.shadow = shadow
        self._key = key
        self._counts = dict.fromkeys(("old", "new", "fallbacks", "failures", "not_compared"), 0)
        self._overlaps: deque[float] = deque(maxlen=WINDOW)
        self._taken_ms: dict[Side, deque[float]] = {"old": deque(maxlen=WINDOW), "new": deque(maxlen=WINDOW)}
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ragstone-shadow")

    def __enter__(self) -> Rollout[T]:
        """The rollout itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`close`."""
        self.close()

    @property
    def share(self) -> float:
        """Of the queries, what `new` answers: 0 none, 1 all."""
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"share is {share}, the range is 0 (none) to 1 (all)")
        self._share = float(share)

    def search(self, query: str, top_k: int = OVERLAP_TOP_K) -> Sequence[T]:
        """The answer of the query's side; of `old` where `new` fails. What `old` raises is raised."""
        side: Side = "new" if _place(query) < self._share else "old"
        try:
            results = self._timed(side, query, top_k)
        except Exception:
            if side == "old":
                raise
            logger.warning("the new index failed, the old one answers", exc_info=True)
            self._count("fallbacks")
            side, results = "old", self._timed("old", query, top_k)
        else:
            if self.shadow:
                self._compare_later(side, query, top_k, results)
        self._count(side)
        return results

    def report(self) -> RolloutReport:
        """Counts and figures so far; comparisons still waiting are not in them."""
        with self._lock:
            counts, overlaps = dict(self._counts), list(self._overlaps)
            taken = {side: list(ms) for side, ms in self._taken_ms.items()}
        return RolloutReport(
            answered_by_old=counts["old"],
            answered_by_new=counts["new"],
            fallbacks=counts["fallbacks"],
            failures=counts["failures"],
            compared=len(overlaps),
            not_compared=counts["not_compared"],
            overlap_at_10=float(np.mean(overlaps)) if overlaps else None,
            old_p50_ms=float(np.median(taken["old"])) if taken["old"] else None,
            new_p50_ms=float(np.median(taken["new"])) if taken["new"] else None,
        )

    def close(self) -> None:
        """Finish the comparisons that wait, and stop comparing."""
        self.shadow = False
        self._worker.shutdown(wait=True)

    def _timed(self, side: Side, query: str, top_k: int) -> Sequence[T]:
        started_s = time.perf_counter()
        try:
            results = self._searches[side](query, top_k)
        except Exception:
            if side == "new":
                self._count("failures")
            raise
        with self._lock:
            self._taken_ms[side].append((time.perf_counter() - started_s) * 1e3)
        return results

    def _compare_later(self, side: Side, query: str, top_k: int, results: Sequence[T]) -> None:
        if not self._waiting.acquire(blocking=False):
            self._count("not_compared")
            return
        try:
            self._worker.submit(self._compare, side, query, top_k, results)
        except RuntimeError:  # closed meanwhile
            self._waiting.release()

    def _compare(self, side: Side, query: str, top_k: int, results: Sequence[T]) -> None:
        other: Side = "old" if side == "new" else "new"
        try:
            found = {side: results, other: self._timed(other, query, top_k)}
            old, new = ({self._key(result) for result in found[s][:OVERLAP_TOP_K]} for s in ("old", "new"))
            with self._lock:
                self._overlaps.append(len(old & new) / len(old) if old else float(not new))
        except Exception:
            logger.warning("the %s index failed while compared", other, exc_info=True)
            self._count("not_compared")
        finally:
            self._waiting.release()

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1


def _place(query: str) -> float:
    """Where a query stands in [0, 1), the same in every process."""
    return int.from_bytes(hashlib.sha256(query.encode("utf-8", "replace")).digest()[:6], "big") / 2**48
