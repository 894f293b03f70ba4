"""Passages of collections as sources: the corpus, other collections by theme, and single search modes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from ragstone.engine import Ragstone
from ragstone.parallel.sources import Found, Item, Request
from ragstone.types import SearchMode, SearchResult
from ragstone.wire import hit_json

# FEATURES "Parallel sources": the documented caps and the least score of a quote.
CORPUS_TOP_K = 8
CORPUS_MIN_SCORE = 0.12
DOMAIN_TOP_K = 5


class PassageSource:
    """Searches collections of one engine. The engine is closed by its owner."""

    def __init__(
        self,
        engine: Ragstone,
        *,
        name: str = "corpus",
        collections: Sequence[str] | None = None,
        mode: SearchMode = "hybrid",
        top_k: int = CORPUS_TOP_K,
        min_score: float = CORPUS_MIN_SCORE,
        locale_field: str | None = None,
    ) -> None:
        """`collections` default to the engine's own. Hits below `min_score` are left out: 0 to 1 in hybrid mode, a
        cosine in dense, BM25 in keyword mode. With `locale_field`, only documents are found whose metadata of that name
        is the request's locale."""
        self._engine = engine
        self.name = name
        self._collections = None if collections is None else list(collections)
        self._mode = mode
        self._top_k = top_k
        self._min_score = min_score
        self._locale_field = locale_field

    def fetch(self, request: Request) -> Found:
        """The best passages for the query."""
        locale = f"{self._locale_field}:{request.locale}" if self._locale_field else None
        result = self._engine.search(
            request.query, top_k=self._top_k, mode=self._mode, filter=locale, collections=self._collections
        )
        return _found(result, self._min_score)

    def version(self) -> Hashable:
        """That of the collections."""
        return self._engine.version(self._collections)


class DomainSource:
    """Searches the collections that a theme calls for. The engine is closed by its owner."""

    def __init__(
        self,
        engine: Ragstone,
        *,
        name: str = "domain",
        by_theme: Mapping[str, str] | None = None,
        but_for: Sequence[str] = (),
        top_k: int = DOMAIN_TOP_K,
        min_score: float = CORPUS_MIN_SCORE,
    ) -> None:
        """`by_theme` names the collection for each theme; a theme that is not there is looked for in all of them.
        Without it, all collections `but_for` these are searched, whichever there are at the time."""
        self._engine = engine
        self.name = name
        self._by_theme = dict(by_theme) if by_theme is not None else None
        self._but_for = frozenset(but_for)
        self._top_k = top_k
        self._min_score = min_score

    def fetch(self, request: Request) -> Found:
        """The best passages for the query; nothing where there is no other collection."""
        collections = self._named(request.theme)
        if not collections:
            return Found()
        return _found(
            self._engine.search(request.query, top_k=self._top_k, collections=collections), self._min_score
        )

    def version(self) -> Hashable:
        """That of all collections it may search."""
        collections = self._named(None)
        return self._engine.version(collections) if collections else ()

    def _named(self, theme: str | None) -> list[str]:
        if self._by_theme is None:
            return [name for name in self._engine.collections() if name not in self._but_for]
        if theme in self._by_theme:
            return [self._by_theme[theme]]
        return sorted(set(self._by_theme.values()))


def _found(result: SearchResult, min_score: float) -> Found:
    items = tuple(
        Item(
            id=f"{hit.collection}/{hit.id}",
            text=hit.text,
            score=hit.score,
            details={
                key: value for key, value in hit_json(hit).items() if key not in {"id", "text", "score"}
            },
        )
        for hit in result.hits
        if hit.score >= min_score
    )
    return Found(items, degraded=result.degraded)
