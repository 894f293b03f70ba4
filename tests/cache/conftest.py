"""A Redis for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from redis_server import RedisServer


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that nobody else uses."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A cluster of one node, for all tests: it takes two seconds to agree with itself."""
    server = RedisServer(tmp_path_factory.mktemp("cluster"), "--cluster-enabled", "yes")
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        give_up_s = monotonic() + 30
        while "'cluster_state': 'ok'" not in repr(client.execute_command("CLUSTER INFO")):
            assert monotonic() < give_up_s
    yield server
    server.close()
