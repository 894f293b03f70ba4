"""Query results kept for a while, equal queries asked once, and likely ones asked ahead.

    optimizer = QueryOptimizer(version=collection_version)
    hits = await optimizer.execute_query(question, engine.search, question)     # computed
    hits = await optimizer.execute_query(question, engine.search, question)     # from memory

Knows neither engine nor index: what a query is, its functions say.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, overload

from ragstone.cache.flights import Flight, result_of
from ragstone.cache.prediction import Budget, NextKeys
from ragstone.cache.query_stats import Counts, QueryOptimizerStats
from ragstone.cache.shared_results import SharedResults
from ragstone.cache.tagged import TaggedCache
from ragstone.cache_levels import SharedCache

T = TypeVar("T")

DEFAULT_TTL_S = 300.0
DEFAULT_CACHE_SIZE = 1_000
# Guesses under way at once: more would queue before the queries that somebody waits for.
PREFETCHES_MAX = 2


@dataclass(slots=True)
class _Kept(Generic[T]):
    value: T
    prefetched: bool  # and not asked for yet


class QueryOptimizer:
    """Answers equal queries from memory. Usable from several threads and event loops; queries under way are shared
    within a loop. Results are handed to every caller as they are: treat them as read-only."""

    def __init__(
        self,
        ttl_s: float = DEFAULT_TTL_S,
        cache_size: int = DEFAULT_CACHE_SIZE,
        *,
        version: Callable[[], Hashable] | None = None,
        tags_of: Callable[[Any], Iterable[Hashable] | None] | None = None,
        prefetch: Callable[[str], Any] | None = None,
        prefetches_per_minute: float = 60.0,
        shared: SharedCache | None = None,
        namespace: str = "queries",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """At most `cache_size` results, each for `ttl_s` seconds.

        `version` gives the index's: another one than before drops every result. It must change with the data or after
        them, and for `shared` be a number or text that means the same in every process. `tags_of` gives the tags of a
        result, such as the ids of its documents, or None for one that is not to be kept (a degraded one). `prefetch`
        asks for a key that is likely to come next, at most `prefetches_per_minute` times. `shared` is a second level
        for results that JSON keeps as they are; those who share one under a `namespace` must mean the same by a key.
        Raises `InputError`.
        """
        self._kept: TaggedCache[_Kept[Any]] = TaggedCache(cache_size, ttl_s=ttl_s, clock=clock)
        self._version_now: Callable[[], Hashable] = version or _no_version
        self._version: Hashable = None
        self._tags_of = tags_of or (lambda result: ())
        self._prefetch = prefetch
        self._next_keys = NextKeys()
        self._budget = Budget(prefetches_per_minute, clock=clock)
        self._shared = (
            None
            if shared is None
            else SharedResults(shared, namespace=namespace, ttl_s=ttl_s, wall_clock=wall_clock)
        )
        self._flights: set[Flight] = set()
        self._joinable: dict[tuple[asyncio.AbstractEventLoop, str], Flight] = {}
        self._guesses: set[Flight] = set()
        self._counts = Counts()
        self._lock = threading.RLock()

    @overload
    async def execute_query(
        self, query_key: str, query_fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
    ) -> T: ...
    @overload
    async def execute_query(
        self, query_key: str, query_fn: Callable[..., T], *args: Any, **kwargs: Any
    ) -> T: ...
    async def execute_query(
        self, query_key: str, query_fn: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """The kept result of `query_key`, or what `query_fn(*args, **kwargs)` gives; what that raises is raised.

        A coroutine function runs on the loop, a plain one on a thread. Callers with an equal key wait for the one
        under way, whoever of them is cancelled. Where it fails, those who only waited ask once more, together, with
        a function of theirs. The query is cancelled when nobody waits for it any more; a plain function that already
        runs cannot be stopped, its result is dropped.
        """
        version = self._version_now()
        with self._lock:
            self._follow(version)
            self._next_keys.see(query_key)
            kept = self._kept.get(query_key, None)
            if kept is not None:
                self._count_hit(kept)
            else:
                self._counts.misses += 1
        if kept is None:
            result = await self._fly(query_key, partial(query_fn, *args, **kwargs), version)
        else:
            result = kept.value
        if self._prefetch is not None:
            self._ask_ahead(query_key, self._prefetch, version)
        return result

    def invalidate_cache(self, query_key: str | None = None) -> int:
        """Drop the result of one key, or all of them; how many were kept here.

        A query under way answers those who wait and is not kept; later callers ask anew. With a second level, all its
        results are invalidated for every process (their own memories keep theirs until `ttl_s` or a new version).
        """
        if query_key is None:
            return self._invalidate(partial(self._drop_keys, lambda key: True, self._kept.clear))
        return self._invalidate(
            partial(self._drop_keys, lambda key: key == query_key, partial(self._kept.drop, query_key))
        )

    def invalidate_prefix(self, prefix: str) -> int:
        """Drop the results whose keys begin with `prefix`, as `invalidate_cache` does; how many were kept here."""
        return self._invalidate(
            partial(
                self._drop_keys, lambda key: key.startswith(prefix), partial(self._kept.drop_prefix, prefix)
            )
        )

    def invalidate_tags(self, *tags: Hashable) -> int:
        """Drop the results that carry one of `tags`, as `invalidate_cache` does; how many were kept here.

        A query under way is kept only if its result turns out to carry none of them.
        """

        def drop() -> int:
            for flight in self._flights:
                flight.dead_tags.update(tags)
            self._joinable.clear()
            return self._kept.drop_tags(tags)

        return self._invalidate(drop)

    def get_stats(self) -> QueryOptimizerStats:
        """Counts so far; see `QueryOptimizerStats`."""
        with self._lock:
            return self._counts.stats(
                cache_size=len(self._kept), in_flight=len(self._flights), evictions=self._kept.evictions
            )

    async def close(self) -> None:
        """Cancel the queries under way on this loop, whose callers get `CancelledError`; it can be used again."""
        loop = asyncio.get_running_loop()
        with self._lock:
            own = [flight for flight in self._flights if flight.task.get_loop() is loop]
            for flight in own:
                flight.closed = flight.outdated = True
                flight.task.cancel()
        if own:
            await asyncio.wait([flight.task for flight in own])

    async def _fly(self, key: str, call: Callable[[], Any], version: Hashable) -> Any:
        flight, led = self._join(key, call, version)
        if not led:
            self._note_joined(flight)
        await flight.wait()
        if led or flight.succeeded or flight.closed:
            return flight.value()
        # Only once: an endless row of callers, each trying after the other, would keep a failing store from recovering.
        with self._lock:
            kept = self._kept.get(key, None)
            if kept is not None:
                return kept.value
        flight, _ = self._join(key, call, self._version_now())
        await flight.wait()
        return flight.value()

    def _join(
        self, key: str, call: Callable[[], Any], version: Hashable, *, prefetched: bool = False
    ) -> tuple[Flight, bool]:
        """The flight for `key`, and whether it was begun now."""
        place = asyncio.get_running_loop(), key
        with self._lock:
            flight = self._joinable.get(place)
            if flight is not None and not flight.outdated and flight.version == version:
                return flight, False
            flight = Flight(key, version, prefetched)
            flight.start(partial(self._run, call))
            flight.task.add_done_callback(partial(self._land, place, flight))
            self._flights.add(flight)
            self._joinable[place] = flight
            return flight, True

    async def _run(self, call: Callable[[], Any], flight: Flight) -> Any:
        generation = None
        if self._shared is not None:
            found, generation = await asyncio.to_thread(self._shared.find, flight.key, flight.version)
            if found is not None:
                with self._lock:
                    self._counts.shared += 1
                self._keep(flight, found.value, found.tags, ttl_s=found.ttl_s)
                return found.value
        result = await result_of(call)
        tags = self._tags_of(result)
        if tags is not None:
            tags = tuple(tags)
            if self._keep(flight, result, tags) and self._shared is not None and generation is not None:
                await asyncio.to_thread(
                    self._shared.keep, flight.key, flight.version, result, tags, generation
                )
        return result

    def _keep(
        self, flight: Flight, result: Any, tags: tuple[Hashable, ...], *, ttl_s: float | None = None
    ) -> bool:
        """Keep a result unless something was invalidated that it may have been made of; whether it was kept."""
        version = self._version_now()
        place = asyncio.get_running_loop(), flight.key
        with self._lock:
            if flight.outdated or flight.version != version or not flight.dead_tags.isdisjoint(tags):
                return False
            # A younger flight of this key has seen all that this one has, and more.
            if self._joinable.get(place) is not flight and self._kept.holds(flight.key):
                return False
            self._kept.put(flight.key, _Kept(result, flight.prefetched), tags=tags, ttl_s=ttl_s)
            return True

    def _land(
        self,
        place: tuple[asyncio.AbstractEventLoop, str],
        flight: Flight,
        task: asyncio.Task[Any],
    ) -> None:
        with self._lock:
            self._flights.discard(flight)
            if self._joinable.get(place) is flight:
                del self._joinable[place]
            if flight in self._guesses:
                self._guesses.discard(flight)
                self._counts.prefetch_failures += not flight.succeeded

    def _follow(self, version: Hashable) -> None:
        if version != self._version:
            self._version = version
            self._counts.invalidated += self._kept.clear()

    def _invalidate(self, drop: Callable[[], int]) -> int:
        if self._shared is not None:
            self._shared.owe()
        with self._lock:
            dropped = drop()
            self._counts.invalidated += dropped
        if self._shared is not None:
            self._shared.pay()
        return dropped

    def _drop_keys(self, concerns: Callable[[str], bool], drop: Callable[[], int]) -> int:
        for flight in self._flights:
            flight.outdated = flight.outdated or concerns(flight.key)
        return drop()

    def _ask_ahead(self, key: str, prefetch: Callable[[str], Any], version: Hashable) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            for guess in self._next_keys.likely(key):
                if self._kept.holds(guess) or (loop, guess) in self._joinable:
                    continue
                if len(self._guesses) >= PREFETCHES_MAX or not self._budget.take():
                    return
                flight, _ = self._join(guess, partial(prefetch, guess), version, prefetched=True)
                flight.waiting += 1  # itself: a caller that joins and leaves does not end it
                self._guesses.add(flight)
                self._counts.prefetches += 1

    def _count_hit(self, kept: _Kept[Any]) -> None:
        self._counts.hits += 1
        if kept.prefetched:
            kept.prefetched = False
            self._counts.prefetch_hits += 1

    def _note_joined(self, flight: Flight) -> None:
        with self._lock:
            self._counts.joined += 1
            if flight.prefetched:
                flight.prefetched = False
                self._counts.prefetch_hits += 1


def _no_version() -> None:
    """The index of a caller that names none never changes."""
