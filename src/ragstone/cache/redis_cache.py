"""A second level on Redis, single server or cluster: asked briefly, never trusted, and left alone while it is down."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ragstone.cache.breaker import Breaker
from ragstone.errors import InputError
from ragstone.redis_url import CLUSTER, RedisPlace, client_options, redis_place, require_redis

if TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster

# A server on the same network answers in less than 1 ms; an embedding, which the second level saves, takes 1 to 30.
TIMEOUT_S = 0.05
# How long a server that failed is left alone. A caller then waits at most one timeout in five seconds for it.
PAUSE_S = 5.0
# A larger value costs more to move than it saves, and a foreign one under our key must not fill the memory.
VALUE_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 16
_SCANNED = 500  # keys looked at or deleted in one round trip

logger = logging.getLogger("ragstone.cache")


class RedisCache:
    """A `SharedCache` on the Redis at a URL. Thread-safe; opens no connection before the first call.

    An outage, a slow or full server and values of a wrong type are misses. They are logged once, without the URL's
    user name and password; a server that failed is asked again after a pause.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "ragstone-cache",
        timeout_s: float = TIMEOUT_S,
        pause_s: float = PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` begins with `redis://`, `rediss://` (TLS) or `unix://`, or with `redis+cluster://` or
        `rediss+cluster://` for a cluster, of which it names one node. Keys begin with `prefix`. `timeout_s` is for
        each step of a call: connecting, sending, receiving.

        Raises `InputError` for another URL and `SettingsError` where the client library is not installed.
        """
        self._place = _place(url)
        self._url = url
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._answers = Breaker(pause_s, clock=clock)
        self._takes = Breaker(pause_s, clock=clock)  # a full or read-only server still answers
        self._opened: Redis | RedisCluster | None = None
        self._closed = False
        self._opening = threading.Lock()
        require_redis("a shared cache on Redis")

    def __repr__(self) -> str:
        return f"RedisCache({self._place})"

    @property
    def is_reachable(self) -> bool:
        """False while the server is left alone because it failed."""
        return not self._answers.is_open

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, in their order; None where there is none, or it cannot be had now."""
        nothing: list[bytes | None] = [None] * len(keys)
        if not keys or self._closed or not self._answers.allows():
            return nothing
        # GETRANGE and not GET: of a value that is none of ours no more than the limit is fetched.
        commands = [("GETRANGE", self._key(key), 0, VALUE_BYTES_MAX) for key in keys]
        replies = self._run(commands)
        if replies is None:
            return nothing
        for reply in replies:
            if _is_outage(reply):
                self._failed(reply)
                return nothing
        self._succeeded()
        return [
            reply if isinstance(reply, bytes) and 0 < len(reply) <= VALUE_BYTES_MAX else None
            for reply in replies
        ]

    def put_many(self, values: Mapping[str, bytes], *, ttl_s: float) -> bool:
        """Keep each value for `ttl_s` seconds, at least a millisecond; whether all were taken.

        Values of more than 1 MiB are not sent.
        """
        fitting = {key: value for key, value in values.items() if 0 < len(value) <= VALUE_BYTES_MAX}
        if self._closed or not self._answers.allows() or not self._takes.allows():
            return False
        ttl_ms = max(1, round(ttl_s * 1e3))
        replies = self._run([("SET", self._key(key), value, "PX", ttl_ms) for key, value in fitting.items()])
        if replies is None:
            return False
        self._succeeded()
        refusal = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if refusal is not None:
            if self._takes.failed():
                logger.warning(
                    "the shared cache at %s takes no values (%s): they stay in this process",
                    self._place,
                    type(refusal).__name__,
                )
            return False
        self._takes.succeeded()
        return len(fitting) == len(values)

    def evaluate(self, script: str, key: str, *arguments: int) -> object | None:
        """What a Lua script on one key returns; None when the server does not answer or the script fails."""
        if self._closed or not self._answers.allows():
            return None
        replies = self._run([("EVAL", script, 1, self._key(key), *arguments)])
        if replies is None:
            return None
        if _is_outage(replies[0]):
            self._failed(replies[0])
            return None
        self._succeeded()
        return None if isinstance(replies[0], Exception) else replies[0]

    def clear(self) -> bool:
        """Delete every key with the prefix, looking at all that the server holds; False when it does not answer."""
        if self._closed or not self._answers.allows():
            return False
        try:
            client: Any = self._client()
            keys = list(client.scan_iter(match=f"{_literal(self._prefix)}:*", count=_SCANNED))
            for start in range(0, len(keys), _SCANNED):
                # One at a time: a cluster refuses one command on the keys of several nodes.
                pipeline = client.pipeline(transaction=False)
                for key in keys[start : start + _SCANNED]:
                    pipeline.execute_command("UNLINK", key)
                pipeline.execute()
        except Exception as error:  # noqa: BLE001 - as in `_run`
            self._failed(error)
            return False
        self._succeeded()
        return True

    def close(self) -> None:
        """Close the connections; further calls find and keep nothing."""
        with self._opening:
            self._closed = True
            client, self._opened = self._opened, None
        if client is not None:
            client.close()

    def _key(self, key: str) -> str:
        return f"{self._prefix}:{key}"

    def _run(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any] | None:
        """A reply or an exception for each command, sent together; None when the server does not answer."""
        if not commands:
            return []
        try:
            pipeline: Any = self._client().pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        # The client's errors share no base: a cluster's are none of RedisError, and its parsers let more through.
        except Exception as error:  # noqa: BLE001
            self._failed(error)
            return None
        return replies

    def _client(self) -> Redis | RedisCluster:
        with self._opening:
            if self._closed:
                raise ConnectionError("closed")
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> Redis | RedisCluster:
        from redis import Redis, RedisCluster

        options = {**client_options(self._timeout_s), "max_connections": CONNECTIONS_MAX}
        if self._place.scheme.endswith(CLUSTER):
            # It connects at once to learn which node has which keys.
            return RedisCluster.from_url(self._url.replace(CLUSTER, "", 1), **options)
        return Redis.from_url(self._url, **options)

    def _failed(self, error: Exception) -> None:
        if self._answers.failed():
            # The class alone: a library's message may quote what it was given.
            logger.warning(
                "the shared cache at %s does not answer (%s): this process goes on with its own",
                self._place,
                type(error).__name__,
            )

    def _succeeded(self) -> None:
        if self._answers.succeeded():
            logger.info("the shared cache at %s answers again", self._place)


def _literal(text: str) -> str:
    """`text` as a pattern of Redis that matches nothing else."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)


def _place(url: str) -> RedisPlace:
    """Refuses what cannot be a Redis, without quoting it."""
    try:
        place = redis_place(url)
    except ValueError as error:
        raise InputError(
            "the shared cache's URL is not one of a Redis",
            hint="redis://HOST:6379/0, rediss:// with TLS, unix:///PATH, or redis+cluster://HOST:6379",
        ) from error
    # An option there would win over ours, above all a timeout.
    if place.options:
        raise InputError(
            f"the shared cache's URL has options: {', '.join(place.options)}",
            hint="only db may stand there",
        )
    return place


def _is_outage(reply: object) -> bool:
    """Whether a reply says that the server, not this one value, is unusable."""
    from redis.exceptions import ResponseError

    if not isinstance(reply, Exception):
        return False
    return not (isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"))
