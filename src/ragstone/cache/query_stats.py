"""What the query optimizer counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class QueryOptimizerStats(TypedDict):
    """Counts since it was made. `total_queries` = `cache_hits` + `cache_misses`, and of the misses
    `deduplication_hits` waited for an equal query under way and `shared_hits` came from the second level.
    `cache_hit_rate` is hits over queries, 0 before the first. `cache_size` and `in_flight_queries` are of now.
    `prefetch_hits` are prefetches that a caller then asked for; `invalidated` are results dropped by invalidation.
    """

    total_queries: int
    cache_hits: int
    cache_misses: int
    cache_hit_rate: float
    deduplication_hits: int
    shared_hits: int
    cache_size: int
    in_flight_queries: int
    evictions: int
    invalidated: int
    prefetches: int
    prefetch_hits: int
    prefetch_failures: int


@dataclass(slots=True)
class Counts:
    """Sums behind the statistics."""

    hits: int = 0
    misses: int = 0
    joined: int = 0
    shared: int = 0
    invalidated: int = 0
    prefetches: int = 0
    prefetch_hits: int = 0
    prefetch_failures: int = 0

    def stats(self, *, cache_size: int, in_flight: int, evictions: int) -> QueryOptimizerStats:
        """The statistics, with what is so now."""
        queries = self.hits + self.misses
        return QueryOptimizerStats(
            total_queries=queries,
            cache_hits=self.hits,
            cache_misses=self.misses,
            cache_hit_rate=self.hits / queries if queries else 0.0,
            deduplication_hits=self.joined,
            shared_hits=self.shared,
            cache_size=cache_size,
            in_flight_queries=in_flight,
            evictions=evictions,
            invalidated=self.invalidated,
            prefetches=self.prefetches,
            prefetch_hits=self.prefetch_hits,
            prefetch_failures=self.prefetch_failures,
        )
