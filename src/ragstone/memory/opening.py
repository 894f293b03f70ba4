"""From settings to an open memory: where it lies, and the numbers a user may set."""

from __future__ import annotations

import time
from pathlib import Path

from ragstone.collection import MEMORY_COPY_SUFFIX, MEMORY_SUFFIX
from ragstone.embedding import load_embedder
from ragstone.errors import NotFoundError
from ragstone.memory.shared_store import SharedMemoryStore
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import Clock, Policy
from ragstone.settings import Settings
from ragstone.types import Embedder


def memory_folder(settings: Settings) -> Path:
    """The collection that holds a collection's memory: each has one of its own, `<name>.memory` beside it."""
    return settings.data_dir / "collections" / f"{settings.collection}{MEMORY_SUFFIX}"


def memory_policy(settings: Settings) -> Policy:
    """The tiers and formulas with what a user has set."""
    return Policy(
        decay_per_day=settings.memory_importance_decay_rate,
        consolidation_threshold=settings.memory_consolidation_threshold,
    )


def open_memory(
    settings: Settings, *, embedder: Embedder, create: bool = True, clock: Clock = time.time
) -> MemoryStore:
    """The memory of the settings' collection. Raises `NotFoundError` where there is none and none is to be made.

    With `memory_redis_url` it is in Redis, under the collection's name; the folder holds a copy.
    """
    folder = memory_folder(settings)
    policy = memory_policy(settings)
    if settings.memory_redis_url is not None:
        return SharedMemoryStore(
            folder.with_name(folder.name + MEMORY_COPY_SUFFIX),
            url=settings.memory_redis_url.get_secret_value(),
            name=settings.collection,
            embedder=embedder,
            policy=policy,
            clock=clock,
        )
    if not create and not (folder / "catalog.sqlite").is_file():
        raise NotFoundError(
            f"nothing has been remembered for {settings.collection!r} in {settings.data_dir}",
            hint="begin with: ragstone memory add 'The boiler was serviced in May.'",
        )
    return MemoryStore(folder, embedder=embedder, policy=policy, clock=clock)


def settings_embedder(settings: Settings) -> Embedder:
    """The embedder the settings name; the caller closes it."""
    key = settings.embedding_api_key
    return load_embedder(
        settings.model,
        cache_dir=settings.data_dir / "models",
        threads=settings.model_threads,
        background=True,
        device=settings.device,
        base_url=settings.embedding_base_url,
        api_key=key.get_secret_value() if key else None,
    )
