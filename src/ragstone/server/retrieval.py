"""Several sources at once, over the service's engine and its memory; opened with the first request."""

from __future__ import annotations

import asyncio
import threading

from ragstone import wire
from ragstone.engine import Ragstone
from ragstone.errors import NotFoundError
from ragstone.memory.store import MemoryStore
from ragstone.parallel.prefetch import open_retriever
from ragstone.parallel.retriever import ParallelRetriever
from ragstone.server.change_requests import RetrieveRequest
from ragstone.server.memories import Memories
from ragstone.server.workers import Room, Workers

WAITING = 32  # requests at once; each asks a handful of sources, which have threads of their own


class Retrieval:
    """The retriever of a service. Thread-safe."""

    def __init__(self, engine: Ragstone, memories: Memories) -> None:
        self._engine = engine
        self._memories = memories
        self._lock = threading.Lock()
        self._memory: MemoryStore | None = None
        self._retriever: ParallelRetriever | None = None
        self._workers = Workers(Room("retrievals", waiting=WAITING), threads=1)

    async def fetch(self, request: RetrieveRequest) -> wire.Json:
        """The documented keys, see `parallel.fetched.Fetched.to_dict`. Raises `BusyError`, `InputError`."""
        with self._workers.slot():
            retriever = await asyncio.wrap_future(self._workers.submit(self._opened))
            return await retriever.fetch_all_rag_data(
                request.facts, request.other_facts, request.theme, request.locale
            )

    def close(self) -> None:
        """End the sources' threads."""
        self._workers.close()
        with self._lock:
            if self._retriever is not None:
                self._retriever.close()

    def _opened(self) -> ParallelRetriever:
        """The retriever, made anew when something has been remembered for the first time."""
        try:
            memory: MemoryStore | None = self._memories.store(self._engine.collection)
        except NotFoundError:
            memory = None
        with self._lock:
            if self._retriever is None or memory is not self._memory:
                if self._retriever is not None:
                    self._retriever.close()
                self._memory = memory
                self._retriever = open_retriever(
                    self._engine.settings, engine=self._engine, memory=memory, monitor=self._engine.monitor
                )
            return self._retriever
