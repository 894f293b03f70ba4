"""Limits of rate: a bucket does what the slow obvious one does, several services share one, and an outage of Redis
leaves each its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from ragstone.cache.redis_cache import RedisCache
from ragstone.server.rates import MAX_CALLERS, Rate, Rates, TokenBuckets
from redis_server import RedisServer
from server.keyed import HOURS, fill, keyed

ASK = {"question": "When does the observatory open?"}
STEPS = st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab"), st.integers(1, 8)), max_size=60)


class SlowBucket:
    """Tokens that drip in."""

    def __init__(self, rate: Rate, now_s: float) -> None:
        self.rate, self.tokens, self.at_s = rate, float(rate.burst), now_s

    def take(self, now_s: float, cost: int) -> bool:
        gained = (now_s - self.at_s) * self.rate.per_minute / 60
        self.tokens, self.at_s = min(self.rate.burst, self.tokens + gained), now_s
        if self.tokens < cost - 1e-6:
            return False
        self.tokens -= cost
        return True


@given(STEPS, st.integers(1, 12), st.sampled_from([1.0, 7.0, 60.0, 600.0]))
def test_a_bucket_lets_pass_what_the_obvious_one_does(
    steps: list[tuple[float, str, int]], burst: int, per_minute: float
) -> None:
    clock, rate = FakeClock(), Rate(per_minute, burst)
    buckets = TokenBuckets(rate, clock=clock)
    slow = {who: SlowBucket(rate, clock()) for who in "ab"}
    for pause_s, who, cost in steps:
        clock.advance(round(pause_s, 3))
        wait_s = buckets.take(who, cost)
        assert (wait_s == 0) == slow[who].take(clock(), min(cost, burst))
        if wait_s:
            clock.advance(wait_s + 1e-6)
            assert buckets.take(who, cost) == 0  # as long as it said, and no longer
            assert slow[who].take(clock(), min(cost, burst))


def test_callers_without_number_cost_no_memory_without_end() -> None:
    buckets = TokenBuckets(Rate(60, 5), clock=FakeClock())
    for number in range(MAX_CALLERS + 500):
        buckets.take(str(number), 1)
    assert len(buckets._full_at_s) == MAX_CALLERS


def test_a_burst_is_refused_with_the_time_to_wait(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path, rate_per_minute=6, rate_burst=12) as service:
        one, other = service.key("one"), service.key("other")
        statuses = [service.get("/api/stats", one).status for _ in range(13)]
        assert statuses == [200] * 12 + [429]
        refused = service.get("/api/search?q=nine", one)
        assert refused.json()["code"] == "too_many_requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert service.get("/api/stats", other).status == 200  # everybody has a bucket of his own
        assert service.get("/health/live").status == 200
        assert service.post("/api/ask", ASK, other).status == 200  # ten tokens
        assert service.post("/api/ask/stream", ASK, other).status == 429
        nobody = [service.get("/api/stats").status for _ in range(13)]
        assert nobody == [401] * 12 + [429]  # guessing keys is slow


def test_this_machine_without_keys_is_not_counted(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path, rate_per_minute=6, rate_burst=2, require_key=False) as service:
        assert {service.get("/api/stats").status for _ in range(20)} == {200}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.close()


def _taken(rates: Rates, times: int, cost: int = 1) -> list[bool]:
    async def take() -> list[bool]:
        return [await rates.take("key:a", cost) == 0 for _ in range(times)]

    return asyncio.run(take())


def test_several_services_share_a_bucket(redis: RedisServer) -> None:
    services = [Rates(Rate(1, 10), shared=RedisCache(redis.url, prefix="r")) for _ in range(2)]
    try:
        assert _taken(services[0], 6) == [True] * 6
        assert _taken(services[1], 6) == [True] * 4 + [False] * 2
        assert _taken(services[0], 1) == [False]
        with redis.client() as client:
            assert 0 < client.ttl("r:key:a") <= 601  # nothing stays for ever
    finally:
        for rates in services:
            rates.close()


def test_an_outage_leaves_each_service_its_own_limit(redis: RedisServer) -> None:
    rates = Rates(Rate(1, 10), shared=RedisCache(redis.url, prefix="r", pause_s=0.0))
    try:
        assert _taken(rates, 2) == [True] * 2
        redis.freeze()
        assert _taken(rates, 2) == [True] * 2
        redis.thaw()
        redis.kill()
        assert _taken(rates, 8) == [True] * 6 + [False] * 2
    finally:
        rates.close()


def test_nonsense_under_the_key_does_not_matter(redis: RedisServer) -> None:
    rates = Rates(Rate(1, 2), shared=RedisCache(redis.url, prefix="r"))
    try:
        with redis.client() as client:
            client.set("r:key:a", "nonsense")
            assert _taken(rates, 1) == [True]
            client.delete("r:key:a")
            client.lpush("r:key:a", "a list")
            assert _taken(rates, 1) == [True]
    finally:
        rates.close()
