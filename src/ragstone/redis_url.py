"""Where a Redis is, read off its URL in one way, and what every client of one is opened with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ragstone.errors import SettingsError

SCHEMES = ("redis", "rediss", "unix")
CLUSTER = "+cluster"
_PORT = 6379


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """What a URL says beside user and password. `host` is empty and `socket` a path for `unix://`, else the other way.

    `options` are the names behind the `?`, without `db`.
    """

    scheme: str
    host: str
    port: int
    socket: str
    database: int
    options: tuple[str, ...]
    has_password: bool

    @property
    def address(self) -> str:
        """`HOST:PORT`, or the socket's path."""
        return self.socket or f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __str__(self) -> str:
        """Scheme and address."""
        return f"{self.scheme}://{self.address}"


def redis_place(url: str) -> RedisPlace:
    """Where the Redis of a URL is; with `+cluster` behind the scheme, a node of a cluster.

    Raises `ValueError`, which does not quote the URL, for what cannot be one.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
    except ValueError:
        port = 0
    if not port:  # raised here, so that the library's words, which quote, are not behind ours
        raise ValueError("the port is not a number, or the brackets do not belong to an IPv6 address")
    if parts.scheme not in {*SCHEMES, *(scheme + CLUSTER for scheme in SCHEMES[:2])}:
        raise ValueError(
            "must begin with redis://, rediss://, unix://, redis+cluster:// or rediss+cluster://"
        )
    is_socket = parts.scheme == "unix"
    if parts.fragment or not (parts.path if is_socket else parts.hostname):
        raise ValueError("names no host, or no socket")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = options.pop("db", "") or ("" if is_socket else parts.path.strip("/")) or "0"
    if not database.isdecimal():
        raise ValueError("the database is not a number")
    return RedisPlace(
        parts.scheme,
        "" if is_socket else parts.hostname or "",
        port,
        unquote(parts.path) if is_socket else "",
        int(database),
        tuple(sorted(options)),
        parts.password is not None,
    )


def require_redis(user: str) -> None:
    """Raise `SettingsError`, saying that `user` needs it, where the client library is not installed."""
    try:
        import redis  # noqa: F401 - whether it is there
    except ImportError as error:
        raise SettingsError(
            f"{user} needs the redis package", hint="pip install 'ragstone[redis]'"
        ) from error


def client_options(timeout_s: float) -> dict[str, Any]:
    """For the library's clients: every step of a command may take `timeout_s`, and nothing is sent twice."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
