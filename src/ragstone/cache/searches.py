"""Search results that hold until somebody commits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import replace

from ragstone.cache_levels import LRUCache
from ragstone.types import SearchResult

# A chunk is some 2 KB of text: 256 results of 100 hits are 50 MB, of the usual 10 hits 5.
HITS_MAX = 100


class SearchCache:
    """The last `capacity` results, none for 0, each for the state of the collections it was found in. Thread-safe.

    Any commit changes the state: also a new document elsewhere may be a better hit. A result with more than 100 hits
    or with a source missing is not kept.
    """

    def __init__(self, capacity: int) -> None:
        """Raises `InputError` for a negative capacity."""
        self._results: LRUCache[Hashable, tuple[Hashable, SearchResult]] = LRUCache(capacity)
        self._hits = self._misses = 0
        self._counting = threading.Lock()

    def found(
        self, query: Hashable, state: Callable[[], Hashable], search: Callable[[], SearchResult]
    ) -> SearchResult:
        """The result of `query`, kept or from `search`. `state` differs from before once anybody has committed."""
        if not self._results.capacity:
            return search()
        now = (
            state()
        )  # before the search, which may already see a later one: then the result is found once too seldom
        kept = self._results.get(query, None)
        valid = kept is not None and kept[0] == now
        with self._counting:
            self._hits += valid
            self._misses += not valid
        if kept is not None and valid:
            return replace(_own(kept[1]), timings_ms={})
        self._results.discard(query)
        result = search()
        if not result.degraded and len(result.hits) <= HITS_MAX:
            self._results.put(query, (now, _own(result)))
        return result

    def clear(self) -> None:
        """Drop everything."""
        self._results.clear()

    def stats(self) -> dict[str, int]:
        """As `LRUCache.stats`; an outdated result is a miss."""
        return {**self._results.stats(), "hits": self._hits, "misses": self._misses}


def _own(result: SearchResult) -> SearchResult:
    """A copy that shares nothing that can be changed."""
    hits = tuple(replace(hit, sources=dict(hit.sources), metadata=dict(hit.metadata)) for hit in result.hits)
    return replace(result, hits=hits)
