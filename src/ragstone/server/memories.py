"""The memories of the service's collections: opened when first asked for, over the engine's own model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from ragstone.engine import Ragstone
from ragstone.errors import NoCollectionError, NotFoundError
from ragstone.memory.background import Repeating
from ragstone.memory.opening import open_memory
from ragstone.memory.store import MemoryStore
from ragstone.server.workers import Room, Workers

T = TypeVar("T")

THREADS = 2
WAITING = 32  # at 10 ms each the last one waits a sixth of a second


class Memories:
    """Every memory that the service has open. Thread-safe."""

    def __init__(self, engine: Ragstone) -> None:
        self._engine = engine
        self._opening = threading.Lock()
        self._open: dict[str, MemoryStore] = {}
        self._workers = Workers(Room("memories", waiting=WAITING), threads=THREADS)
        self._care = Repeating("memory care", self._tend)

    async def run(self, collection: str, call: Callable[[MemoryStore], T], *, create: bool = False) -> T:
        """`call` with a collection's memory, in a thread. Raises `NotFoundError` where nothing has been remembered
        and none is to be made, `BusyError`, and what opening raises."""
        return await self._workers.run(lambda: call(self.store(collection, create=create)))

    def store(self, collection: str, *, create: bool = False) -> MemoryStore:
        """A collection's memory; blocks. Raises as `run`.

        Opened anew once it was restored or dropped: calls that are in the old one meanwhile may fail with `StoreError`.
        """
        with self._opening:
            known = self._open.get(collection)
            if known is not None and not known.is_there:
                known.close()
                del self._open[collection]
            if collection not in self._open:
                if collection != self._engine.collection and collection not in self._engine.collections():
                    raise NoCollectionError(f"no collection {collection!r}")
                settings = self._engine.settings.model_copy(update={"collection": collection})
                self._open[collection] = open_memory(
                    settings, embedder=self._engine.embedder(), create=create
                )
            return self._open[collection]

    async def start(self) -> None:
        """Begin to tend what is open at intervals, where the settings say so; on the loop."""
        settings = self._engine.settings
        if settings.memory_enable_background_tasks:
            await self._care.start(settings.memory_cleanup_interval)

    async def stop(self) -> None:
        """End that; on the loop."""
        await self._care.stop()

    def close(self) -> None:
        """Close every memory; blocks until no call uses one."""
        self._workers.close(wait=True)
        with self._opening:
            for store in self._open.values():
                store.close()
            self._open.clear()

    async def _tend(self) -> None:
        tended = partial(_tended, consolidate=self._engine.settings.memory_auto_consolidate)
        for collection in list(self._open):
            with suppress(NotFoundError):  # dropped meanwhile
                await self.run(collection, tended)


def _tended(store: MemoryStore, *, consolidate: bool) -> None:
    store.cleanup_expired()
    if consolidate:
        store.consolidate()
