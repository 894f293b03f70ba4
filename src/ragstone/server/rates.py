"""How often somebody may ask: a token bucket for each caller, in this process or shared through Redis.

A bucket holds up to `burst` tokens and gains `per_minute` of them in a minute; a request takes as many as its route
costs, or is told when there will be enough. The shared form keeps one number for a caller, the time at which its
bucket will be full again, which is the same arithmetic (the generic cell rate algorithm of ATM networks).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

MAX_CALLERS = 10_000  # some 2 MB; whoever was seen longest ago is forgotten, which fills his bucket
REDIS_THREADS = 4  # each call takes a fraction of a millisecond, or 50 ms once in five seconds

# KEYS[1]: full again at (microseconds); ARGV: a token's microseconds, burst, cost. 0, or microseconds to wait.
_SCRIPT = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local token, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') or 0, now) + cost * token
local wait = full - burst * token - now
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return 0
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a minute, and how many may be saved up."""

    per_minute: float
    burst: int


class ScriptRunner(Protocol):
    """A Redis that runs a script on one key; `RedisCache` is one."""

    def evaluate(self, script: str, key: str, *arguments: int) -> object | None:
        """What the script returns; None when the server does not answer."""

    def close(self) -> None:
        """Close its connections."""


class TokenBuckets:
    """The buckets of this process. Thread-safe."""

    def __init__(self, rate: Rate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._full_at_s: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, who: str, cost: int) -> float:
        """Take `cost` tokens (at most a whole bucket) and return 0, or the seconds until they are there."""
        token_s = 60.0 / self._rate.per_minute
        cost = min(cost, self._rate.burst)
        with self._lock:
            now_s = self._clock()
            full_at_s = max(self._full_at_s.get(who, 0.0), now_s) + cost * token_s
            wait_s = full_at_s - self._rate.burst * token_s - now_s
            if wait_s > 1e-9:  # rounding is no reason to refuse
                return wait_s
            self._full_at_s[who] = full_at_s
            self._full_at_s.move_to_end(who)
            if len(self._full_at_s) > MAX_CALLERS:
                self._full_at_s.popitem(last=False)
        return 0.0


class Rates:
    """The limit that the door asks: in this process, and also over all that share a Redis while it answers."""

    def __init__(self, rate: Rate | None, *, shared: ScriptRunner | None = None) -> None:
        """`rate` None: no limit. `shared` is closed by `close`."""
        self._rate = rate
        self._own = TokenBuckets(rate) if rate else None
        self._shared = shared if rate else None
        self._threads = ThreadPoolExecutor(REDIS_THREADS, "ragstone-rates") if self._shared else None

    async def take(self, who: str, cost: int = 1, *, paid: int = 0) -> float:
        """0 when the request may go on, else the seconds to wait. An outage of Redis leaves this process's limit.

        `paid` of its cost, which is at most a whole bucket, have been taken already.
        """
        if self._own is None or self._rate is None:
            return 0.0
        cost = min(cost, self._rate.burst) - paid
        if cost <= 0:
            return 0.0
        wait_s = self._own.take(who, cost)
        if wait_s == 0 and self._threads is not None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._take_shared, who, cost)
        return wait_s

    def close(self) -> None:
        """End threads and connections; waits for calls under way, which are short."""
        if self._threads is not None and self._shared is not None:
            self._threads.shutdown(cancel_futures=True)
            self._shared.close()

    def _take_shared(self, who: str, cost: int) -> float:
        assert self._shared is not None  # noqa: S101 - only called with it
        assert self._rate is not None  # noqa: S101
        token_us = round(60e6 / self._rate.per_minute)
        cost = min(cost, self._rate.burst)
        waits_us = self._shared.evaluate(_SCRIPT, who, token_us, self._rate.burst, cost)
        return waits_us / 1e6 if isinstance(waits_us, int) else 0.0
