"""Searches of an engine: of several collections at once, kept while none of them changes, timed and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import numpy.typing as npt

from ragstone.cache.searches import SearchCache
from ragstone.engine_models import EngineModels
from ragstone.errors import RagstoneError
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import PerformanceTimer
from ragstone.open_collections import OpenCollections
from ragstone.queries import Query
from ragstone.retrieval.merge import merge
from ragstone.searching import search_collection, vote
from ragstone.settings import Settings
from ragstone.stats import MissedSources
from ragstone.types import SearchMode, SearchResult


class Searches:
    """What `settings` say of searches, put to collections. `missed` counts what could not take part. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        models: EngineModels,
        collections: OpenCollections,
        kept: SearchCache,
        monitor: PerformanceMonitor,
    ) -> None:
        self._settings = settings
        self._models = models
        self._collections = collections
        self._kept = kept
        self._monitor = monitor
        self.missed = MissedSources()

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        mode: SearchMode = "hybrid",
        filter: str | None = None,  # noqa: A002  - the word users know
        collections: Sequence[str] | None = None,
        vector: npt.ArrayLike | None = None,
        recall: float | None = None,
        graph: bool | None = None,
        rerank: bool | None = None,
        by_names_alone: bool = False,
    ) -> SearchResult:
        """As `Ragstone.search`; `by_names_alone`: as `Ragstone.graph_search`."""
        with PerformanceTimer("search", self._monitor) as timer:
            settings = self._settings
            walks = settings.graph if graph is None else graph
            asked = Query.checked(
                query,
                top_k=settings.top_k if top_k is None else top_k,
                mode=mode,
                filter=filter,
                vector=vector,
                recall=settings.recall if recall is None else recall,
                graph="only" if by_names_alone else "on" if walks else "off",
                rerank=self._models.rerank_depth(wanted=rerank),
                acronyms=settings.acronyms,
            )
            names = self._collections.chosen(collections)
            if asked.vector is None:
                found = self._kept.found(
                    (asked, *names),
                    lambda: self._collections.versions(names),
                    lambda: self._search(asked, names),
                )
            else:
                found = self._search(asked, names)
            self.missed.note(found.degraded)
            timer.stages_ms = found.timings_ms
            stages_ms = found.timings_ms if len(names) == 1 else {}
            return replace(found, timings_ms={**stages_ms, "total": timer.elapsed_ms})

    def vote(self, name: str | None, query: str, chunk_id: int, value: float) -> int:
        """As `Ragstone.vote`."""
        return vote(
            self._collections.get(name),
            self._plain(query),
            chunk_id,
            value,
            self._models.embedder,
            synonyms=self._models.synonyms(),
        )

    def warm_up(self) -> None:
        """The first search maps files and starts threads; nobody waits for this one, and nobody counts it."""
        with suppress(RagstoneError):  # what is wrong will be said to who searches
            self._search(self._plain("warm up"), self._collections.chosen(None))

    def _plain(self, query: str) -> Query:
        """The query as the settings would have it."""
        settings = self._settings
        return Query.checked(
            query,
            top_k=settings.top_k,
            mode="hybrid",
            filter=None,
            vector=None,
            recall=settings.recall,
            graph="on" if settings.graph else "off",
            acronyms=settings.acronyms,
        )

    def _search(self, asked: Query, names: Sequence[str]) -> SearchResult:
        results = [
            search_collection(
                self._collections.get(name),
                asked,
                self._models.embedder,
                self._collections.recall_keeper(name),
                self._models.reranker,
                synonyms=self._models.synonyms(),
            )
            for name in names
        ]
        if len(results) == 1:
            return results[0]
        return SearchResult(
            hits=tuple(merge([r.hits for r in results], top_k=asked.top_k, score=lambda hit: hit.score)),
            degraded=tuple(dict.fromkeys(entry for r in results for entry in r.degraded)),
            timings_ms=_summed([r.timings_ms for r in results]),
            names=tuple(name for r in results for name in r.names),
            expansions=tuple(dict.fromkeys(entry for r in results for entry in r.expansions)),
        )


def _summed(timings: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """What stages took in all collections together."""
    return {
        stage: sum(taken.get(stage, 0.0) for taken in timings) for stage in dict.fromkeys(chain(*timings))
    }
