"""A memory of hashed words on a clock that tests turn, on this machine's disk and in a real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.memory.shared_store import SharedMemoryStore
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import Policy
from redis_server import RedisServer

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


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for all tests; each has a memory of its own in it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture(params=["disk", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """Where the memory is: every test of the store runs on both."""
    return str(request.param)


@pytest.fixture
def opened(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    embedder: HashingEmbedder,
    clock: Clock,
) -> Iterator[Open]:
    """Opens the test's memory, once or several times; all are closed at the end."""
    stores: list[MemoryStore] = []
    server = request.getfixturevalue("redis_server") if kind == "redis" else None

    def open_(policy: Policy | None = None, folder: str = "memory") -> MemoryStore:
        place = tmp_path / folder
        stores.append(
            MemoryStore(place, embedder=embedder, policy=policy, clock=clock)
            if server is None
            else SharedMemoryStore(
                place, url=server.url, name=str(tmp_path), embedder=embedder, policy=policy, clock=clock
            )
        )
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Open) -> MemoryStore:
    return opened()
