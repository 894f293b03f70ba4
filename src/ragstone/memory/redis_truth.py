"""What Redis holds of a memory that several machines share: entries by number, and which of them changed since when.

Each change is one script, so it happens whole or not at all, and only in the turn of the process that makes it and on
the state that this process has seen. Knows no tiers and no SQL. All keys of one memory share a hash tag: a cluster
keeps them on one node.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragstone.errors import InputError, LockedError, MismatchError, SettingsError, StoreError
from ragstone.redis_url import client_options, redis_place, require_redis

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT_S = 5.0  # of one command; the first reading of 50,000 entries takes two seconds
TURN_S = 10.0  # a turn that was not ended, because its process was killed, ends by itself
_TURN_POLL_S = 0.005
_HISTORY = 10_000  # changes after which a copy that slept is read anew instead of being brought up to date

# head: `VERSION:STAMP` of the newest change. history: stamps by version. log: items by the version of their last
# change. items: item → its JSON. vectors: item → bytes. facts: what there is once (model, newest numbers, version of
# the last removal).
_KEYS = ("turn", "head", "history", "log", "items", "vectors", "facts")

_CHANGE = """
local turn, head, history, log, items, vectors, facts = unpack(KEYS)
if redis.call('GET', turn) ~= ARGV[1] then return 'turn' end
local old = redis.call('GET', head) or ''
if old ~= ARGV[2] then return 'head' end
local version = (tonumber(string.match(old, '^%d+')) or 0) + 1
redis.call('SET', head, version .. ':' .. ARGV[3])
redis.call('ZADD', history, version, ARGV[3])
redis.call('ZREMRANGEBYRANK', history, 0, -1 - tonumber(ARGV[4]))
redis.call('HSET', facts, 'entry', ARGV[5], 'answer', ARGV[6])
local removed = tonumber(ARGV[7])
for i = 9, 8 + removed do
  redis.call('HDEL', items, ARGV[i])
  redis.call('HDEL', vectors, ARGV[i])
  redis.call('ZREM', log, ARGV[i])
end
if removed > 0 then redis.call('HSET', facts, 'removal', version) end
if ARGV[8] == '1' then redis.call('HSET', facts, 'forgotten', version) end
for i = 9 + removed, #ARGV, 3 do
  redis.call('HSET', items, ARGV[i], ARGV[i + 1])
  if ARGV[i + 2] ~= '' then redis.call('HSET', vectors, ARGV[i], ARGV[i + 2]) end
  redis.call('ZADD', log, version, ARGV[i])
end
return version .. ':' .. ARGV[3]
"""

_SINCE = """
local turn, head, history, log, items, vectors, facts = unpack(KEYS)
local new = redis.call('GET', head) or ''
local known = tonumber(string.match(ARGV[1], '^%d+')) or 0
local stamp = string.match(ARGV[1], ':(.*)$')
local follows = stamp and tonumber(redis.call('ZSCORE', history, stamp) or -1) == known
if not follows then known = 0 end
local changed = redis.call('ZRANGEBYSCORE', log, '(' .. known, '+inf')
local values, there = {}, {}
for i, item in ipairs(changed) do values[i] = redis.call('HGET', items, item) end
local removal = tonumber(redis.call('HGET', facts, 'removal') or 0)
if follows and removal > known then there = redis.call('HKEYS', items) end
local numbers = redis.call('HMGET', facts, 'entry', 'answer')
local forgotten = tonumber(redis.call('HGET', facts, 'forgotten') or 0)
return {new, follows and 1 or 0, removal > known and 1 or 0, changed, values, there,
        numbers[1] or '0', numbers[2] or '0', forgotten > known and 1 or 0}
"""

_END_TURN = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class UnreachableError(StoreError):
    """Redis does not answer."""


@dataclass(frozen=True, slots=True)
class Since:
    """What changed since a head. `items` are JSON by item, as they are now.

    `anew`: nothing known holds any more, `items` is all there is. `there` are all items if some were removed, else
    None. `entry` and `answer` are the newest numbers that were ever given. `forgotten`: a copy's files may not hold any
    more what was removed.
    """

    head: str
    anew: bool
    items: Mapping[str, str]
    there: frozenset[str] | None
    entry: int
    answer: int
    forgotten: bool


class RedisTruth:
    """One memory in one Redis. Thread-safe; every error of Redis is an `UnreachableError` that says where it is."""

    def __init__(self, url: str, name: str, *, turn_s: float = TURN_S) -> None:
        """Connects with the first command. Raises `SettingsError` without the redis package or for a bad `url`."""
        require_redis("a memory in Redis")
        import redis

        try:
            self.place = redis_place(url)
            # Nothing is sent twice: a change would be refused the second time.
            self._client: Redis = redis.Redis.from_url(url, **client_options(TIMEOUT_S))
        except ValueError as error:
            raise SettingsError(f"memory_redis_url: {error}", hint="redis://HOST:6380/0") from error
        self._errors = redis.RedisError
        self._keys = [f"{{ragstone:memory:{name}}}:{key}" for key in _KEYS]
        self._turn_s = turn_s

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def settle_model(self, model: str) -> None:
        """Raises `MismatchError` if the memory's vectors are another model's."""
        with self._translated():
            self._client.hsetnx(self._keys[6], "model", model)
            kept: Any = self._client.hget(self._keys[6], "model")
        if kept != model.encode():
            raise MismatchError(
                f"the memory in {self.place} was made with {(kept or b'').decode()}, this is {model}",
                hint="set that model, or another collection",
            )

    def since(self, head: str) -> Since | None:
        """What changed since `head`, in one piece; None if nothing has."""
        with self._translated():
            now: Any = self._client.get(self._keys[1])
            if (now or b"") == head.encode():
                return None
            found: Any = self._client.eval(_SINCE, len(self._keys), *self._keys, head)
        new, follows, removed, changed, values, there, entry, answer, forgotten = found
        return Since(
            head=new.decode(),
            anew=not follows,
            items={item.decode(): value.decode() for item, value in zip(changed, values, strict=True)},
            there=frozenset(item.decode() for item in there) if follows and removed else None,
            entry=int(entry),
            answer=int(answer),
            forgotten=bool(forgotten),
        )

    def vectors(self, items: Sequence[str]) -> list[bytes | None]:
        """What was kept beside each item; None for those removed meanwhile."""
        if not items:
            return []
        with self._translated():
            found: Any = self._client.hmget(self._keys[5], list(items))
        return list(found)

    def change(
        self,
        turn: str,
        head: str,
        *,
        removed: Sequence[str],
        items: Mapping[str, tuple[str, bytes]],
        entry: int,
        answer: int,
        forgotten: bool,
    ) -> str:
        """Make a change in one's turn, on the state `head`; the new head. `items`: JSON, and bytes if they are new.

        Raises `StoreError` when the turn is over; then nothing has changed.
        """
        pieces = [part for item, (value, vector) in items.items() for part in (item, value, vector)]
        stamp = secrets.token_hex(8)
        given: list[str | bytes | int] = [
            turn,
            head,
            stamp,
            _HISTORY,
            entry,
            answer,
            len(removed),
            int(forgotten),
        ]
        given += [*removed, *pieces]
        with self._translated():
            said: Any = self._client.eval(_CHANGE, len(self._keys), *self._keys, *given)
        if said in {b"turn", b"head"}:
            raise StoreError(
                f"this change of the memory in {self.place} took longer than its turn of {self._turn_s:g} s",
                hint="nothing was changed; try again, with fewer entries at once",
            )
        return str(said.decode())

    @contextmanager
    def turn(self) -> Iterator[str]:
        """A time in which nobody else changes the memory; its name. Raises `LockedError` if others go on too long."""
        name, give_up_s = secrets.token_hex(8), time.monotonic() + 1.5 * self._turn_s
        while True:
            with self._translated():
                taken = self._client.set(self._keys[0], name, nx=True, px=int(self._turn_s * 1e3))
            if taken:
                break
            if time.monotonic() > give_up_s:
                raise LockedError(f"the memory in {self.place} is being changed by others all the time")
            time.sleep(_TURN_POLL_S)
        try:
            yield name
        finally:
            with suppress(self._errors):  # it ends by itself, and what happened in it is said already
                self._client.eval(_END_TURN, 1, self._keys[0], name)

    def rewrite_files(self) -> None:
        """Ask Redis to write its files anew, in its own time, so that what was removed leaves them too."""
        from redis import ResponseError

        # A server that allows neither, or is at it already, writes its files by its own rules.
        with self._translated(), suppress(ResponseError):
            info: Any = self._client.info("persistence")
            if info["aof_enabled"]:
                self._client.bgrewriteaof()
            saves: Any = self._client.config_get("save")
            if saves.get("save"):
                self._client.bgsave()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            # The class alone: a message of the library may quote what it was given.
            raise UnreachableError(
                f"the memory in {self.place} cannot be reached ({type(error).__name__})",
                hint="start Redis, or leave memory_redis_url out to keep memories on this machine",
            ) from error


def redis_url(host: str, port: int) -> str:
    """The address of document 003's `redis_host` and `redis_port`. Raises `InputError`."""
    if not host or any(character in host for character in "/@ ") or not 0 < port < 65_536:
        raise InputError(f"no Redis can be at {host!r}, port {port}", hint="redis_host='localhost'")
    return f"redis://{f'[{host}]' if ':' in host else host}:{port}/0"
