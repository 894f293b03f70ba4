"""Query results that several processes share: found, invalidated everywhere, never the reason of a wrong answer."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fake_clock import FakeClock
from ragstone.cache.memory_cache import MemoryCache
from ragstone.cache.query_optimizer import QueryOptimizer
from ragstone.cache.redis_cache import PAUSE_S, RedisCache
from ragstone.cache_levels import SharedCache
from ragstone.errors import InputError
from redis_server import RedisServer


@pytest.fixture(params=["memory", "server"])
def level(request: pytest.FixtureRequest) -> Iterator[SharedCache]:
    if request.param == "memory":
        yield MemoryCache()
        return
    with closing(RedisCache(request.getfixturevalue("redis_server").url, timeout_s=5)) as cache:
        yield cache


class Asked:
    """A query function that counts."""

    def __init__(self, answer: Any = "fine") -> None:
        self.answer = answer
        self.times = 0

    def __call__(self) -> Any:
        self.times += 1
        return self.answer


def ask(optimizer: QueryOptimizer, function: Any, key: str = "q") -> Any:
    return asyncio.run(optimizer.execute_query(key, function))


def test_a_second_process_finds_what_the_first_computed(level: SharedCache) -> None:
    first, second = QueryOptimizer(shared=level), QueryOptimizer(shared=level)
    asked = Asked({"hits": [{"id": 1, "score": 0.5}], "none": None})
    assert ask(first, asked) == ask(second, asked) == ask(second, asked) == asked.answer
    assert asked.times == 1
    stats = second.get_stats()
    assert (stats["shared_hits"], stats["cache_hits"], stats["cache_misses"]) == (1, 1, 1)


def test_another_namespace_version_or_key_is_another_result(level: SharedCache) -> None:
    asked = Asked()
    ask(QueryOptimizer(shared=level, version=lambda: 1), asked)
    for other in (
        QueryOptimizer(shared=level, version=lambda: 2),
        QueryOptimizer(shared=level, version=lambda: "1"),
        QueryOptimizer(shared=level),
        QueryOptimizer(shared=level, version=lambda: 1, namespace="x"),
    ):
        ask(other, asked)
        assert other.get_stats()["shared_hits"] == 0
    ask(QueryOptimizer(shared=level, version=lambda: 1), asked, "other")
    assert asked.times == 6


@pytest.mark.parametrize("how", ["key", "all", "prefix", "tag"])
def test_an_invalidation_reaches_the_second_level(level: SharedCache, how: str) -> None:
    first, second = (
        QueryOptimizer(shared=level, tags_of=lambda result: [7]),
        QueryOptimizer(shared=level, tags_of=lambda result: [7]),
    )
    assert ask(first, Asked("old")) == "old"
    if how == "key":
        assert first.invalidate_cache("q") == 1
    elif how == "all":
        assert first.invalidate_cache() == 1
    elif how == "prefix":
        assert first.invalidate_prefix("q") == 1
    else:
        assert first.invalidate_tags(7) == 1
    assert ask(second, Asked("new")) == "new"
    assert ask(first, Asked("unused")) == "new"


def test_tags_come_back_with_a_shared_result(level: SharedCache) -> None:
    first, second = (QueryOptimizer(shared=level, tags_of=lambda result: [7, "b"]) for _ in range(2))
    ask(first, Asked())
    ask(second, Asked())
    assert second.get_stats()["shared_hits"] == 1
    assert second.invalidate_tags(8) == 0
    assert second.invalidate_tags("b") == 1


def test_a_query_under_way_elsewhere_during_an_invalidation_is_not_shared(level: SharedCache) -> None:
    first, second = QueryOptimizer(shared=level), QueryOptimizer(shared=level)

    def slow() -> str:
        second.invalidate_cache()  # another process changes the data meanwhile
        return "stale"

    assert ask(first, slow) == "stale"
    assert ask(second, Asked("new")) == "new"


def test_a_shared_result_does_not_live_longer_here() -> None:
    clock, level = FakeClock(), MemoryCache()

    def optimizer() -> QueryOptimizer:
        return QueryOptimizer(ttl_s=10, shared=level, clock=clock, wall_clock=clock)

    asked, second = Asked(), optimizer()
    ask(optimizer(), asked)
    clock.advance(8)
    ask(second, asked)
    clock.advance(1.9)
    ask(second, asked)
    assert asked.times == 1
    clock.advance(0.2)
    ask(second, asked)
    assert asked.times == 2


@pytest.mark.parametrize(
    "answer",
    [(1, 2), {1: "x"}, float("nan"), b"bytes", {"a", "b"}, object()],
    ids=lambda answer: type(answer).__name__,
)
def test_what_json_would_change_stays_in_this_process(answer: object) -> None:
    level = MemoryCache()
    asked = Asked(answer)
    first, second = QueryOptimizer(shared=level), QueryOptimizer(shared=level)
    assert ask(first, asked) is answer and ask(first, asked) is answer
    assert ask(second, asked) is answer
    assert asked.times == 2 and second.get_stats()["shared_hits"] == 0


def test_garbage_on_the_server_is_computed_anew_and_replaced(redis_server: RedisServer) -> None:
    with closing(RedisCache(redis_server.url, timeout_s=5)) as level, redis_server.client() as client:
        ask(QueryOptimizer(shared=level), Asked())
        (entry,) = [key for key in client.scan_iter() if b"{" in (client.get(key) or b"")]
        whole = client.get(entry)
        record = json.loads(whole)
        changes: list[dict[str, Any]] = [
            {"key": "0" * 64},
            {"generation": "old"},
            {"expires_s": "soon"},
            {"expires_s": time.time() - 1},
            {"tags": [[]]},
            {"tags": None},
        ]
        spoilt = [
            b"\x80\x04K\x01.",  # a pickle
            b"[" * 100_000,
            b"{}",
            b"null",
            b'"text"',
            whole[:-5],
            *(json.dumps(record | change).encode() for change in changes),
        ]
        for value in spoilt:
            client.set(entry, value)
            asked = Asked("new")
            assert ask(QueryOptimizer(shared=level), asked) == "new"
            assert asked.times == 1, value[:80]
        client.set(
            entry, json.dumps(record | {"expires_s": 1e400})
        )  # an endless life is cut to the usual one
        assert ask(QueryOptimizer(shared=level), Asked("unused")) == "fine"
        for key in client.scan_iter():
            client.delete(key)
            client.lpush(key, "x")
        assert ask(QueryOptimizer(shared=level), Asked("again")) == "again"
        assert ask(QueryOptimizer(shared=level), Asked("unused")) == "again"
        client.flushall()
        assert ask(QueryOptimizer(shared=level), Asked("after")) == "after"


def test_random_bytes_under_every_key_change_no_answer(redis_server: RedisServer) -> None:
    with closing(RedisCache(redis_server.url, timeout_s=5)) as level, redis_server.client() as client:
        for number in range(60):
            optimizer = QueryOptimizer(shared=level)
            assert ask(optimizer, Asked(f"answer {number % 6}"), f"q{number % 6}") == f"answer {number % 6}"
            for key in client.scan_iter():
                if number % 3 == 0:
                    client.set(key, secrets.token_bytes(60))


def test_answers_go_on_when_the_server_is_killed_or_frozen_in_the_middle(redis_server: RedisServer) -> None:
    clock = FakeClock()

    async def test() -> None:
        with closing(RedisCache(redis_server.url, timeout_s=0.2, clock=clock)) as level:
            for number in range(300):
                optimizer = QueryOptimizer(shared=level)
                if number == 100:
                    redis_server.freeze()
                if number == 150:
                    redis_server.thaw()
                    clock.advance(PAUSE_S)
                if number == 200:
                    redis_server.kill()
                if number == 250:
                    redis_server.start()
                    clock.advance(PAUSE_S)
                key = f"q{number % 10}"
                assert await optimizer.execute_query(key, Asked(key.upper())) == key.upper()
            return

    asyncio.run(test())


def test_an_invalidation_the_server_missed_is_made_good_before_it_is_looked_at_again(
    redis_server: RedisServer,
) -> None:
    clock = FakeClock()
    with closing(RedisCache(redis_server.url, timeout_s=0.2, clock=clock)) as level:
        first = QueryOptimizer(shared=level)
        ask(first, Asked("old"))
        redis_server.freeze()
        assert first.invalidate_cache("q") == 1
        redis_server.thaw()
        clock.advance(PAUSE_S)
        assert ask(first, Asked("new")) == "new"
        assert ask(QueryOptimizer(shared=level), Asked("newer")) in {"new", "newer"}


def test_a_version_that_may_mean_something_here_alone_is_refused() -> None:
    asked = Asked()
    optimizer = QueryOptimizer(shared=MemoryCache(), version=lambda: (("default", 7),))
    with pytest.raises(InputError, match="this process alone"):
        ask(optimizer, asked)
    assert ask(QueryOptimizer(version=lambda: (("default", 7),)), asked) == "fine"
