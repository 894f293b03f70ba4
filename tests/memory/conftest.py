"""A memory of hashed words on a clock that tests turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import Policy

NOON = 1_750_000_000.0

Open = Callable[..., MemoryStore]


class Clock:
    """Unix seconds that only tests move."""

    def __init__(self, now_s: float = NOON) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.fixture
def opened(tmp_path: Path, embedder: HashingEmbedder, clock: Clock) -> Iterator[Open]:
    """Opens the test's memory, once or several times; all are closed at the end."""
    stores: list[MemoryStore] = []

    def open_(policy: Policy | None = None) -> MemoryStore:
        stores.append(MemoryStore(tmp_path / "memory", embedder=embedder, policy=policy, clock=clock))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Open) -> MemoryStore:
    return opened()
