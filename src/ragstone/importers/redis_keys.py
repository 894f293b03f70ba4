"""A Redis server whose keys are read: where it is, which keys it has, and what they hold, in bounded batches.

Knows nothing of texts and vectors. The commands sent are SCAN, TYPE, MEMORY USAGE, HGETALL, GET, JSON.GET and INFO,
and those of a connection (AUTH, SELECT): none writes, and none blocks the server for long.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from ragstone.errors import InputError, RagstoneError, StoreError
from ragstone.importers.records import printable
from ragstone.redis_url import SCHEMES, client_options, redis_place, require_redis

if TYPE_CHECKING:
    from redis import Redis

PASSWORD_VARIABLE = "REDISCLI_AUTH"  # noqa: S105 - where redis-cli looks for a password, too
# A server under load answers a batch within seconds; one that takes longer has stopped answering.
TIMEOUT_S = 30.0
_CONNECT_S = 5.0
_SCANNED = (
    500  # keys of one SCAN and of one round trip for their types: below a millisecond of the server's time
)
_GROUPED = 100_000  # keys looked at to say which prefixes there are
_REPLY_BYTES = 8 << 20  # values asked for in one round trip
VALUE_BYTES_MAX = 64 << 20  # the document reader's own limit for a text is 50 MB
_ASSUMED_BYTES = 64 << 10  # of a value whose size the server does not tell: a text with 4,096 dimensions
READS = {"hash": "HGETALL", "string": "GET", "ReJSON-RL": "JSON.GET"}

Value: TypeAlias = Mapping[bytes, bytes] | bytes


@dataclass(frozen=True, slots=True)
class Server:
    """A Redis. `address` is its URL without user and password, always with port and database.

    `password` is the one that stands outside of the URL, if there is such.
    """

    url: str = field(repr=False)
    address: str
    password: str | None = field(repr=False)
    has_password: bool
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Key:
    """A key and what it holds: fields and values of a `hash`, the bytes of a `string`, the text of a JSON document.

    `value` is None for another `kind`, and for a value of more than `VALUE_BYTES_MAX`, which `size_bytes` then says.
    """

    name: bytes
    kind: str
    value: Value | None
    size_bytes: int


def is_address(word: str) -> bool:
    """Whether a word on the command line is a URL, of a Redis or not; a path is none."""
    return "://" in word


def server_at(url: str, *, timeout_s: float = TIMEOUT_S) -> Server:
    """The server a URL names; nothing is asked of it. A password may stand in `REDISCLI_AUTH` instead of the URL.

    Raises `InputError` for what is no URL of a Redis, without quoting it.
    """
    try:
        place = redis_place(url)
        if place.scheme not in SCHEMES or place.options:
            raise ValueError("of a cluster, or with options")
    except ValueError as error:
        raise InputError(
            "the URL is not one of a Redis",
            hint="redis://HOST:6379/0, rediss:// with TLS, or unix:///PATH?db=0; in a password write @ as %40,"
            f" # as %23, or leave it out and set {PASSWORD_VARIABLE}",
        ) from error
    address = f"{place}{'?db=' if place.socket else '/'}{place.database}"
    password = None if place.has_password else os.environ.get(PASSWORD_VARIABLE)
    return Server(url, printable(address), password, place.has_password or password is not None, timeout_s)


@contextmanager
def connected(server: Server) -> Iterator[Redis]:
    """A client, closed at the end; what goes wrong with the server inside is raised as an error of ours.

    Raises `SettingsError` without the redis package, `InputError` for a server that is no Redis, refuses the login or
    is part of a cluster, `StoreError` for one that cannot be reached or stops answering.
    """
    require_redis("a Redis")
    import redis

    options = client_options(server.timeout_s)
    options["socket_connect_timeout"] = min(_CONNECT_S, server.timeout_s)
    if server.password is not None:
        options["password"] = server.password
    client: Redis = redis.Redis.from_url(server.url, **options)
    try:
        yield client
    except (redis.RedisError, OSError) as error:
        _translate(server, error)
    finally:
        client.close()


def _translate(server: Server, error: Exception) -> NoReturn:
    """Raise an error of ours; the library's words name host and port, the server's a command, never a password."""
    from redis import exceptions

    raised: RagstoneError
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        said = "refuses the user name or password" if server.has_password else "asks for a password"
        raised = InputError(
            f"{server.address} {said}",
            hint=f"redis://USER:PASSWORD@HOST, or the password in {PASSWORD_VARIABLE}",
        )
    elif isinstance(error, exceptions.NoPermissionError):
        raised = InputError(
            f"{server.address}: the user may not run a command: {error}",
            hint="reading takes +@read, +@connection and +memory|usage on the keys",
        )
    elif isinstance(error, exceptions.InvalidResponse):
        raised = InputError(f"what answers at {server.address} is not a Redis", hint="check host and port")
    elif isinstance(error, exceptions.BusyLoadingError):
        raised = StoreError(f"{server.address} is still loading its data", hint="try again in a while")
    elif isinstance(error, exceptions.TimeoutError | TimeoutError):
        raised = StoreError(
            f"{server.address} did not answer within {server.timeout_s:g} s",
            hint="does it speak TLS?"
            if server.address.startswith("rediss:")
            else "the same command goes on from here once it does",
        )
    elif isinstance(error, exceptions.ResponseError):
        raised = StoreError(f"{server.address} cannot do what is asked: {error}")
    else:
        raised = StoreError(
            f"{server.address} cannot be reached: {str(error).rstrip('.')}",
            hint="is a Redis running there? the same command goes on from here",
        )
    raise raised from error


def require_single(client: Redis, server: Server) -> str | None:
    """Raise `InputError` for a node of a cluster, which has a part of the keys; what could not be found out, if so."""
    from redis.exceptions import NoPermissionError

    try:
        info: Any = client.info("cluster")
    except NoPermissionError:
        return "the user may not run INFO: if the server is part of a cluster, only its own part was read"
    if info.get("cluster_enabled"):
        raise InputError(
            f"{server.address} is a node of a cluster, which has only a part of the keys",
            hint="copy the keys to a single server first, with MIGRATE ... COPY or redis-shake, and import that",
        )
    return None


def keys(client: Redis, prefix: str) -> Iterator[Key]:
    """The keys that begin with `prefix`, each once, with what they hold; those that vanish meanwhile are left away."""
    names = _names(client, prefix)
    while batch := list(islice(names, _SCANNED)):
        pipeline: Any = client.pipeline(transaction=False)
        for name in batch:
            pipeline.execute_command("TYPE", name)
            pipeline.execute_command("MEMORY USAGE", name)
        replies = pipeline.execute(raise_on_error=False)
        kinds = [_unless_error(reply).decode() for reply in replies[::2]]
        sizes = [reply if isinstance(reply, int) else _ASSUMED_BYTES for reply in replies[1::2]]
        found = [one for one in zip(batch, kinds, sizes, strict=True) if one[1] != "none"]
        for part in _parts(found):
            yield from _values(client, part)


def _names(client: Redis, prefix: str) -> Iterator[bytes]:
    """SCAN gives a key more than once while the server grows or shrinks its table."""
    pattern = re.sub(rb"([\\*?\[\]^-])", rb"\\\1", prefix.encode("utf-8", "surrogateescape")) + b"*"
    seen: set[bytes] = set()
    cursor: Any = 0
    found: Any
    while True:
        cursor, found = client.scan(cursor, match=pattern, count=_SCANNED)
        for name in found:
            if name not in seen:
                seen.add(name)
                yield name
        if cursor == 0:
            return


def _parts(found: Sequence[tuple[bytes, str, int]]) -> Iterator[list[tuple[bytes, str, int]]]:
    """Keys whose values together take about `_REPLY_BYTES`; one at least."""
    part: list[tuple[bytes, str, int]] = []
    total = 0
    for one in found:
        if part and total + one[2] > _REPLY_BYTES:
            yield part
            part, total = [], 0
        part.append(one)
        total += one[2]
    if part:
        yield part


def _values(client: Redis, part: Sequence[tuple[bytes, str, int]]) -> Iterator[Key]:
    from redis.exceptions import ResponseError

    asked = [one for one in part if one[1] in READS and one[2] <= VALUE_BYTES_MAX]
    pipeline: Any = client.pipeline(transaction=False)
    for name, kind, _ in asked:
        pipeline.execute_command(READS[kind], name)
    values = dict(zip((name for name, _, _ in asked), pipeline.execute(raise_on_error=False), strict=True))
    for name, kind, size in part:
        if name not in values:
            yield Key(name, kind, None, size)
            continue
        value = values[name]
        if isinstance(value, ResponseError) and str(value).startswith("WRONGTYPE"):
            continue  # it was replaced by a key of another type after it was looked at
        value = _unless_error(value)
        if value:
            yield Key(name, kind, value.encode() if isinstance(value, str) else value, size)


def _unless_error(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


def prefixes(client: Redis) -> dict[str, int]:
    """How many of the first 100,000 keys begin alike, by the part up to the last `:`, else `/`; most frequent first."""
    counts = Counter(_group(name) for name in islice(_names(client, ""), _GROUPED))
    return dict(counts.most_common())


def _group(name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape")
    for separator in ":/":
        if separator in text:
            return text[: text.rindex(separator) + 1]
    return ""
