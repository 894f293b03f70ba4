"""The names that document 001 gives: one retriever for the process, asked with or without an event loop.

data = prefetch_all_rag_data(facts, other_facts, theme="career", locale="en")
data = await prefetch_all_rag_data_async(facts, other_facts)
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from ragstone.collection import MEMORY_SUFFIX
from ragstone.engine import Ragstone
from ragstone.memory.opening import memory_folder, open_memory, settings_embedder
from ragstone.monitoring.fetches import record_fetch
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.parallel.graph import GraphSource
from ragstone.parallel.names_graph import NamesGraph
from ragstone.parallel.passages import DomainSource, PassageSource
from ragstone.parallel.persona import Memory, PersonaSource
from ragstone.parallel.retriever import DEFAULT_LOCALE, Closeable, ParallelRetriever
from ragstone.parallel.sources import Facts, Source
from ragstone.settings import Settings

_lock = threading.Lock()
_retriever: ParallelRetriever | None = None


def open_retriever(
    settings: Settings | None = None,
    *,
    engine: Ragstone | None = None,
    memory: Memory | None = None,
    monitor: PerformanceMonitor | None = None,
) -> ParallelRetriever:
    """A retriever over what the settings name: their collection as `corpus`, the names in it as `graph`, all other
    collections as `domain`, and what is remembered for the collection, if anything is, as `persona`.

    `settings` default to `Settings.load()`. An `engine` or `memory` given is closed by its owner; without an engine,
    both are opened over one model, and closed with the retriever. What the steps take goes to `monitor`, or to the
    process's own (`get_performance_stats`). An analysis needs to be named: see
    `ParallelRetriever`. Raises `SettingsError`, and the errors of opening a memory.
    """
    settings = settings or Settings.load()
    owned: list[Closeable] = []
    if engine is None:
        if memory is None and (memory_folder(settings) / "catalog.sqlite").is_file():
            embedder = settings_embedder(settings)
            engine = Ragstone(settings=settings, embedder=embedder)
            memory = store = open_memory(settings, embedder=embedder, create=False)
            owned = [store, engine, embedder]
        else:
            engine = Ragstone(settings=settings)
            owned = [engine]
    sources: list[Source] = [
        PassageSource(engine),
        GraphSource(NamesGraph(engine), version=engine.version),
        DomainSource(engine, but_for=[settings.collection]),
    ]
    if memory is not None:
        kept_in = [settings.collection + MEMORY_SUFFIX]
        sources.append(PersonaSource(memory, version=partial(engine.version, kept_in)))
    return ParallelRetriever(
        sources,
        workers=settings.executor_workers,
        disabled=settings.disable_sources,
        observe=partial(record_fetch, monitor=monitor),
        owned=owned,
    )


def get_retriever(build: Callable[[], ParallelRetriever] = open_retriever) -> ParallelRetriever:
    """The process's retriever: made by `build` when there is none yet, closed at the end of the process."""
    global _retriever  # noqa: PLW0603 - one for the process is what it is for
    with _lock:
        if _retriever is None:
            _retriever = build()
        return _retriever


def close_retriever() -> None:
    """Close the process's retriever, if there is one; `get_retriever` makes another."""
    global _retriever
    with _lock:
        retriever, _retriever = _retriever, None
    if retriever is not None:
        retriever.close()


def prefetch_all_rag_data(
    facts: str | Facts,
    other_facts: Facts | None = None,
    theme: str = "",
    locale: str = DEFAULT_LOCALE,
) -> dict[str, Any]:
    """`ParallelRetriever.fetch_all_rag_data` of the process's retriever, without a loop, inside a running one (which it
    holds up meanwhile) and from any number of threads."""
    return get_retriever().fetch(facts, other_facts, theme, locale).to_dict()


async def prefetch_all_rag_data_async(
    facts: str | Facts,
    other_facts: Facts | None = None,
    theme: str = "",
    locale: str = DEFAULT_LOCALE,
) -> dict[str, Any]:
    """`ParallelRetriever.fetch_all_rag_data` of the process's retriever."""
    return await get_retriever().fetch_all_rag_data(facts, other_facts, theme, locale)


def _forget() -> None:
    """A forked process has none of its parent's threads: it makes a retriever of its own."""
    global _lock, _retriever
    _lock, _retriever = threading.Lock(), None


atexit.register(close_retriever)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
