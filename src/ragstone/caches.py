"""What an engine keeps beside its collections: answers, search results, and the level it shares with others."""

from __future__ import annotations

from collections.abc import Mapping

from ragstone.answering.kept_answers import KeptAnswers
from ragstone.cache.redis_cache import RedisCache
from ragstone.cache.searches import SearchCache
from ragstone.cache_levels import LRUCache
from ragstone.errors import StoreError
from ragstone.types import Embedder


class EngineCaches:
    """The caches of one engine; they connect to nothing before something is looked for. Thread-safe."""

    def __init__(self, *, answers_s: float, searches: int, redis_url: str | None, answers_of: str) -> None:
        """Answers live `answers_s` seconds (0: none are kept), at most `searches` results are held.

        `answers_of` says which endpoint's answers they are. Raises `SettingsError` where Redis is wanted and its
        client is not installed, `InputError` for a URL that is not one of a Redis.
        """
        self.shared = None if redis_url is None else RedisCache(redis_url)
        self.answers = KeptAnswers(answers_s, of=answers_of, shared=self.shared) if answers_s else None
        self.searches = SearchCache(searches)

    def forget(self) -> None:
        """Drop everything, on the second level too. Raises `StoreError` when that does not answer."""
        self.searches.clear()
        if self.answers is not None:
            self.answers.clear()
        if self.shared is not None and not self.shared.clear():
            raise StoreError(
                "the shared cache does not answer and may still hold words of what was deleted",
                hint="run the same command again when it does",
            )

    def stats(self, embedder: Embedder | None) -> Mapping[str, Mapping[str, int]]:
        """Each cache in numbers; asks the second level whether it answers."""
        found = dict(self.search_stats(embedder))
        if self.answers is not None:
            found["answers"] = self.answers.stats()
        if self.shared is not None:
            self.shared.get_many(["stats"])
            found["shared"] = {"reachable": int(self.shared.is_reachable)}
        return found

    def search_stats(self, embedder: Embedder | None) -> Mapping[str, Mapping[str, int]]:
        """Those that searches use, in numbers."""
        queries = getattr(embedder, "query_cache", None)
        found: dict[str, Mapping[str, int]] = {"searches": self.searches.stats()}
        if isinstance(queries, LRUCache):
            found["query_vectors"] = queries.stats()
        return found

    def close(self) -> None:
        """Let go of connections."""
        if self.shared is not None:
            self.shared.close()
