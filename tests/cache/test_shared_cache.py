"""What every second level does, in memory, on a Redis and on a Redis Cluster; then what only a server can do wrong."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fake_clock import FakeClock
from ragstone.cache.breaker import Breaker
from ragstone.cache.memory_cache import MemoryCache
from ragstone.cache.redis_cache import PAUSE_S, VALUE_BYTES_MAX, RedisCache
from ragstone.cache_levels import SharedCache
from ragstone.errors import InputError
from redis_server import RedisServer

# The servers of these tests share two cores with the rest of the suite: only outages are to be cut off.
PATIENT_S = 5.0


@pytest.fixture(params=["memory", "server", "cluster"])
def level(request: pytest.FixtureRequest) -> Iterator[SharedCache]:
    if request.param == "memory":
        with closing(MemoryCache()) as memory:
            yield memory
        return
    server: RedisServer = request.getfixturevalue(f"redis_{request.param}")
    url = server.url if request.param == "server" else f"redis+cluster://127.0.0.1:{server.port}"
    with closing(RedisCache(url, prefix=secrets.token_hex(4), timeout_s=PATIENT_S)) as cache:
        yield cache


def test_values_come_back_as_they_were_in_the_order_asked(level: SharedCache) -> None:
    values = {f"key {number}": secrets.token_bytes(number + 1) for number in range(40)}
    assert level.put_many(values, ttl_s=60)
    asked = [*reversed(values), "absent", "key 3"]
    assert level.get_many(asked) == [values.get(key) for key in asked]
    assert level.put_many({"key 3": b"other"}, ttl_s=60)
    assert level.get_many(["key 3"]) == [b"other"]
    assert level.get_many([]) == []
    assert level.put_many({}, ttl_s=60)


def test_values_expire(level: SharedCache) -> None:
    assert level.put_many({"brief": b"1"}, ttl_s=0.001)
    assert level.put_many({"long": b"2"}, ttl_s=60)
    give_up_s = time.monotonic() + 10
    while level.get_many(["brief"]) != [None]:
        assert time.monotonic() < give_up_s
    assert level.get_many(["long"]) == [b"2"]


def test_threads_use_one_level_at_once(level: SharedCache) -> None:
    wrong: list[object] = []

    def work(thread: int) -> None:
        for number in range(30):
            value = f"{thread} {number}".encode()
            taken = level.put_many({f"{thread}": value}, ttl_s=60)
            found = level.get_many([f"{thread}"])
            if not taken or found != [value]:
                wrong.append((taken, found))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_clearing_drops_every_value(level: SharedCache) -> None:
    values = {f"key {number}": b"x" for number in range(1_200)}
    assert level.put_many(values, ttl_s=60)
    assert level.clear()
    assert level.get_many(list(values)) == [None] * 1_200
    assert level.clear()


def test_clearing_leaves_other_prefixes_alone_and_says_when_the_server_is_away(
    redis_server: RedisServer,
) -> None:
    with (
        closing(RedisCache(redis_server.url, prefix="a*[b", timeout_s=PATIENT_S)) as cache,
        closing(RedisCache(redis_server.url, prefix="axxb", timeout_s=PATIENT_S)) as other,
    ):
        for one in (cache, other):
            assert one.put_many({"k": b"1"}, ttl_s=60)
        assert cache.clear()
        assert (cache.get_many(["k"]), other.get_many(["k"])) == ([None], [b"1"])
        redis_server.kill()
        assert not cache.clear()
    assert not cache.clear()


def test_a_closed_level_finds_and_keeps_nothing(level: SharedCache) -> None:
    level.put_many({"a": b"1"}, ttl_s=60)
    level.close()
    level.close()
    assert not level.put_many({"a": b"1"}, ttl_s=60)
    assert level.get_many(["a"]) == [None]


def test_keys_carry_the_prefix_and_values_are_plain_bytes(redis_server: RedisServer) -> None:
    with closing(RedisCache(redis_server.url, prefix="mine", timeout_s=PATIENT_S)) as cache:
        cache.put_many({"ab12": b"\x00\xff"}, ttl_s=60)
    with redis_server.client() as client:
        assert client.keys() == [b"mine:ab12"]
        assert client.get("mine:ab12") == b"\x00\xff"
        assert 0 < int(str(client.pttl("mine:ab12"))) <= 60_000


def test_values_of_another_type_or_of_a_foreign_size_are_misses_and_no_outage(
    redis_server: RedisServer,
) -> None:
    with closing(RedisCache(redis_server.url, timeout_s=PATIENT_S)) as cache:
        with redis_server.client() as client:
            client.lpush("ragstone-cache:list", "x")
            client.hset("ragstone-cache:hash", "field", "x")
            client.set("ragstone-cache:huge", b"x" * (VALUE_BYTES_MAX + 1))
            client.set("ragstone-cache:empty", b"")
        assert not cache.put_many({"large": b"x" * (VALUE_BYTES_MAX + 1)}, ttl_s=60)
        cache.put_many({"mine": b"1"}, ttl_s=60)
        found = cache.get_many(["list", "hash", "huge", "empty", "large", "mine"])
        assert found == [None, None, None, None, None, b"1"]
        assert cache.is_reachable
        assert cache.put_many({"list": b"mine now"}, ttl_s=60)
        assert cache.get_many(["list"]) == [b"mine now"]


def test_a_full_server_is_read_but_not_written_for_a_while(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    with (
        closing(RedisCache(redis_server.url, timeout_s=PATIENT_S, clock=clock)) as cache,
        redis_server.client() as client,
    ):
        assert cache.put_many({"a": b"1"}, ttl_s=60)
        client.config_set("maxmemory", 1)
        assert not cache.put_many({"b": b"2"}, ttl_s=60)
        assert cache.get_many(["a", "b"]) == [b"1", None]
        client.config_set("maxmemory", 0)
        assert not cache.put_many({"b": b"2"}, ttl_s=60)
        clock.advance(PAUSE_S)
        assert cache.put_many({"b": b"2"}, ttl_s=60)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "OutOfMemoryError" in caplog.text


def test_a_server_that_does_not_answer_is_asked_once_in_a_while(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ragstone")
    clock = FakeClock()
    with closing(RedisCache(redis_server.url, timeout_s=0.2, clock=clock)) as cache:
        assert cache.put_many({"a": b"1"}, ttl_s=600)
        redis_server.freeze()
        started_s = time.monotonic()
        for _ in range(100):
            assert cache.get_many(["a"]) == [None]
            assert not cache.put_many({"b": b"2"}, ttl_s=60)
        assert time.monotonic() - started_s < 100 * 0.2  # one timeout, not two hundred
        assert not cache.is_reachable
        redis_server.thaw()
        assert cache.get_many(["a"]) == [None]
        clock.advance(PAUSE_S)
        give_up_s = time.monotonic() + 10
        while cache.get_many(["a"]) != [b"1"]:
            clock.advance(PAUSE_S)
            assert time.monotonic() < give_up_s
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_killed_server_is_used_again_when_it_is_back(redis_server: RedisServer) -> None:
    clock = FakeClock()
    with closing(RedisCache(redis_server.url, timeout_s=PATIENT_S, clock=clock)) as cache:
        assert cache.put_many({"a": b"1"}, ttl_s=600)
        redis_server.kill()
        assert cache.get_many(["a"]) == [None]
        redis_server.start()
        assert not cache.put_many({"a": b"2"}, ttl_s=600)
        clock.advance(PAUSE_S)
        assert cache.put_many({"a": b"2"}, ttl_s=600)
        assert cache.get_many(["a"]) == [b"2"]


def test_what_answers_but_is_no_redis_is_an_outage() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with closing(
            RedisCache(f"redis://127.0.0.1:{server.getsockname()[1]}", timeout_s=PATIENT_S)
        ) as cache:
            assert cache.get_many(["a", "b"]) == [None, None]
            assert not cache.is_reachable
        thread.join()


def test_passwords_are_never_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with closing(RedisServer(tmp_path, "--requirepass", "right-horse")) as server:
        right = f"redis://:right-horse@127.0.0.1:{server.port}"
        wrong = f"redis://admin:wrong-horse@127.0.0.1:{server.port}"
        with closing(RedisCache(right, timeout_s=PATIENT_S)) as cache:
            assert cache.put_many({"a": b"1"}, ttl_s=60)
            server.kill()
            assert cache.get_many(["a"]) == [None]
            told = repr(cache)
        server.start()
        with closing(RedisCache(wrong, timeout_s=PATIENT_S)) as cache:
            assert cache.get_many(["a"]) == [None]
            told += repr(cache)
    for url in ("redis://u:bad-horse@host:port", "http://u:bad-horse@host", "redis://u:bad-horse@h?x=1"):
        with pytest.raises(InputError) as refused:
            RedisCache(url)
        told += str(refused.value) + repr(refused.value.__context__)
    told += caplog.text + "".join(capsys.readouterr())
    assert "127.0.0.1" in told
    assert "horse" not in told


def test_an_option_in_the_url_cannot_lift_the_timeout() -> None:
    with pytest.raises(InputError, match="socket_timeout"):
        RedisCache("redis://127.0.0.1?socket_timeout=600")
    RedisCache("redis://127.0.0.1?db=2").close()
    RedisCache("unix:///run/redis.sock?db=2").close()


def test_a_breaker_lets_one_call_try_again_after_each_pause() -> None:
    clock = FakeClock()
    breaker = Breaker(5.0, clock=clock)
    assert breaker.allows()
    assert breaker.failed() and not breaker.failed()
    assert not breaker.allows()
    clock.advance(5)
    assert breaker.allows() and not breaker.allows()
    clock.advance(5)
    assert breaker.allows()
    assert breaker.succeeded() and not breaker.succeeded()
    assert breaker.allows() and breaker.allows()


def test_a_cluster_that_does_not_answer_is_a_miss_too(redis_cluster: RedisServer) -> None:
    url, clock = f"redis+cluster://127.0.0.1:{redis_cluster.port}", FakeClock()
    with closing(RedisCache(url, prefix="frozen", timeout_s=0.2, clock=clock)) as cache:
        assert cache.put_many({"a": b"1", "b": b"2"}, ttl_s=600)
        redis_cluster.freeze()
        try:
            assert cache.get_many(["a", "b"]) == [None, None]
            assert not cache.put_many({"a": b"3"}, ttl_s=60)
        finally:
            redis_cluster.thaw()
        give_up_s = time.monotonic() + 10
        while cache.get_many(["a", "b"]) != [b"1", b"2"]:
            clock.advance(PAUSE_S)
            assert time.monotonic() < give_up_s
