"""`MemoryBackend`: the memory under the async names of document 003, with its background tasks.

    backend = MemoryBackend()
    await backend.initialize()
    await backend.store_memory("The boiler was serviced in May.", memory_type="long_term")
    for found in await backend.recall_memories("when was the heating checked?"):
        print(found.text, found.importance)
    await backend.close()

The work is `store.MemoryStore`'s, done in threads so that the event loop never waits for a disk or a model.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ragstone.chunking.chunker import chunk_document
from ragstone.documents.limits import ReadLimits
from ragstone.documents.pool import ReaderPool
from ragstone.errors import InputError
from ragstone.memory.audit import Audit
from ragstone.memory.background import Repeating
from ragstone.memory.entries import MemoryEntry
from ragstone.memory.gate import USER
from ragstone.memory.opening import open_memory, settings_embedder
from ragstone.memory.redis_truth import UnreachableError, redis_url
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import Clock
from ragstone.memory.writing import Stored
from ragstone.settings import Settings
from ragstone.types import Embedder, Vector

T = TypeVar("T")

logger = logging.getLogger("ragstone.memory")


class MemoryBackend:
    """A memory for programs with an event loop. `initialize` before use, `close` after it."""

    def __init__(
        self,
        redis_host: str | None = None,
        redis_port: int = 6380,
        *,
        data_dir: str | Path | None = None,
        collection: str | None = None,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        clock: Clock = time.time,
        cleanup_interval: float | None = None,
        consolidation_threshold: float | None = None,
        enable_background_tasks: bool | None = None,
        auto_consolidate: bool | None = None,
    ) -> None:
        """Nothing is opened yet. What is not given is as in `settings` (default: `Settings.load()`).

        `redis_host` puts memories into the Redis there, for several machines; without one, and without the setting
        `memory_redis_url`, they are on this machine's disk. `cleanup_interval` is in seconds. Raises `SettingsError`.
        """
        overrides = {
            "data_dir": data_dir,
            "collection": collection,
            "memory_cleanup_interval": cleanup_interval,
            "memory_consolidation_threshold": consolidation_threshold,
            "memory_enable_background_tasks": enable_background_tasks,
            "memory_auto_consolidate": auto_consolidate,
            "memory_redis_url": None if redis_host is None else redis_url(redis_host, redis_port),
        }
        if settings is None:
            self.settings = Settings.load(overrides=overrides)
        else:
            given = {name: value for name, value in overrides.items() if value is not None}
            self.settings = Settings.model_validate({**dict(settings), **given})
        self._clock = clock
        self._given_embedder = embedder
        self._embedder = embedder
        self._store: MemoryStore | None = None
        self._cleaning = Repeating("memory cleanup", self.cleanup_expired)
        self._consolidating = Repeating("memory consolidation", self.consolidate)

    async def initialize(self) -> bool:
        """Load the model, open the memory, start the background tasks; False if it is in a Redis that does not answer.

        Raises what opening a store raises.
        """
        if self._store is None:
            try:
                self._store = await asyncio.to_thread(self._open)
            except UnreachableError as error:
                logger.warning("%s", error)
                return False
        if self.settings.memory_enable_background_tasks:
            interval = self.settings.memory_cleanup_interval
            await self._cleaning.start(interval)
            if self.settings.memory_auto_consolidate:
                await self._consolidating.start(interval)
        return True

    def _open(self) -> MemoryStore:
        if self._embedder is None:
            self._embedder = settings_embedder(self.settings)
        return open_memory(self.settings, embedder=self._embedder, clock=self._clock)

    async def close(self) -> None:
        """Stop the tasks and let go of files and model; closing twice does nothing."""
        await self._consolidating.stop()
        await self._cleaning.stop()
        store, self._store = self._store, None
        if store is not None:
            await asyncio.to_thread(store.close)
        if self._embedder is not None and self._given_embedder is None:
            embedder, self._embedder = self._embedder, None
            await asyncio.to_thread(embedder.close)

    @property
    def store(self) -> MemoryStore:
        """The open memory itself, for callers without an event loop. Raises `InputError` before `initialize`."""
        if self._store is None:
            raise InputError("this memory is not open", hint="await backend.initialize() first")
        return self._store

    @property
    def embedding_model(self) -> Embedder:
        """The model that embeds memories; also for a `BatchEmbedder`. Loaded by `initialize`."""
        if self._embedder is None:
            raise InputError("the model is not loaded", hint="await backend.initialize() first")
        return self._embedder

    def get_embedding(self, text: str) -> Vector:
        """(dim,) float32 unit vector of a text; computed in the calling thread, a few milliseconds."""
        vector: Vector = self.embedding_model.embed_documents([text])[0]
        return vector

    # -- entries -----------------------------------------------------------------------------------------

    async def store_memory(
        self,
        content: str,
        memory_type: str = "short_term",
        importance: float = 0.5,
        tags: Sequence[str] = (),
        *,
        source: str = USER,
    ) -> str | None:
        """Remember a text; the id of the entry that stands for it, None when the gate refused it.

        `memory_type` is the tier. The id is an older entry's where that says the same. `store_with_verdict` says why.
        """
        stored = await self.store_with_verdict(content, memory_type, importance, tags, source=source)
        return stored.id

    async def store_with_verdict(
        self,
        content: str,
        memory_type: str = "short_term",
        importance: float = 0.5,
        tags: Sequence[str] = (),
        *,
        source: str = USER,
    ) -> Stored:
        """Remember a text; what became of it and why."""
        return await self.run(
            lambda store: store.add(
                content, tier=memory_type, importance=importance, source=source, tags=tags
            )
        )

    async def recall_memories(
        self, query: str, memory_type: str | None = None, limit: int = 5
    ) -> list[MemoryEntry]:
        """The entries that fit best by cosine × importance; each is counted as recalled."""
        found = await self.run(lambda store: store.recall(query, tier=memory_type, limit=limit))
        return [item.entry for item in found]

    async def search_memories(
        self, query: str, memory_type: str | None = None, min_importance: float = 0.0, limit: int = 10
    ) -> list[MemoryEntry]:
        """The entries that fit by meaning and words, of at least an importance; counts nothing."""
        found = await self.run(
            lambda store: store.search(query, tier=memory_type, min_importance=min_importance, limit=limit)
        )
        return [item.entry for item in found]

    async def ingest_document(
        self, file_path: str | Path, memory_type: str = "long_term", importance: float = 0.5
    ) -> int:
        """Read a file, cut it as an index would, and remember each piece; how many are new.

        Raises `DocumentError` for a file that cannot be read; then nothing is stored.
        """
        path = Path(file_path).expanduser().resolve()
        return await self.run(lambda store: self._ingest(store, path, memory_type, importance))

    def _ingest(self, store: MemoryStore, path: Path, tier: str, importance: float) -> int:
        with ReaderPool(limits=ReadLimits(file_bytes=self.settings.max_file_bytes)) as pool:
            document = pool.read(path)
        model = self.embedding_model
        chunks = chunk_document(document, tokens=model, max_tokens=model.max_tokens)
        texts = [document.text[chunk.start : chunk.end] for chunk in chunks]
        stored = [
            store.add(text, tier=tier, importance=importance, source=f"document:{path}") for text in texts
        ]
        return sum(each.outcome == "added" for each in stored)

    async def get_memory_stats(self) -> dict[str, Any]:
        """`total` live entries, their number by tier, and what each tier holds at most and for how long."""
        return await self.run(_stats)

    async def cleanup_expired(self) -> int:
        """Remove what has expired; how many."""
        return await self.run(lambda store: store.cleanup_expired())

    async def consolidate(self) -> int:
        """One pass of consolidation; how many entries went up. `MemoryConsolidator` also keeps statistics."""
        return len((await self.run(lambda store: store.consolidate())).promoted)

    async def audit(self) -> Audit:
        """Every entry with why it is kept, and its faults."""
        return await self.run(lambda store: store.audit())

    async def forget(self, entry_ids: Sequence[str]) -> int:
        """Remove entries so that no file holds a byte of their text; how many."""
        return await self.run(lambda store: store.forget(entry_ids))

    async def run(self, work: Callable[[MemoryStore], T]) -> T:
        """`work(store)` in a thread."""
        return await asyncio.to_thread(work, self.store)


def _stats(store: MemoryStore) -> dict[str, Any]:
    listed = store.entries()
    counts = dict.fromkeys(store.policy.names, 0)
    for entry in listed:
        counts[entry.tier] = counts.get(entry.tier, 0) + 1
    return {
        "total": len(listed),
        **counts,
        "superseded": sum(entry.superseded_by is not None for entry in listed),
        "limits": {
            tier.name: {"ttl_s": tier.ttl_s, "capacity": tier.capacity} for tier in store.policy.tiers
        },
    }
