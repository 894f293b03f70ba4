"""Query results on a second level that several processes share: their form there, and how they are invalidated.

A namespace has a generation, a random word under a key of its own, and each result carries the one that was in force
when its query began. Replacing the word invalidates all results everywhere at once, also those still being computed.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from ragstone.cache_levels import SharedCache
from ragstone.errors import InputError

# Longer than any result lives. When it is gone, all results of the namespace are misses, which is safe.
_GENERATION_TTL_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class SharedResult:
    """A result as another process left it, which may be kept for `ttl_s` more seconds."""

    value: Any
    tags: tuple[Hashable, ...]
    ttl_s: float


class SharedResults:
    """The results of one namespace. Thread-safe; calls block for a round trip, and never raise for the server's sake.

    Values are JSON: one that does not come back from it equal is not shared. Times are Unix seconds, so the machines'
    clocks must agree to within what a result may outlive its time.
    """

    def __init__(
        self,
        level: SharedCache,
        *,
        namespace: str,
        ttl_s: float,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._level = level
        self._namespace = namespace
        self._ttl_s = ttl_s
        self._wall_clock = wall_clock
        self._generation_key = _digest("generation", namespace)
        # Invalidations the server was not told of. Until it is, what it holds may be stale and is not looked at.
        self._owed = 0
        self._owing = threading.Lock()

    def find(self, key: str, version: Hashable) -> tuple[SharedResult | None, str | None]:
        """The result of `key` under `version`, if any, and the generation in force, None where nothing may be kept."""
        if self._owed and not self.pay():
            return None, None
        digest = self._key(key, version)
        generation_bytes, data = self._level.get_many([self._generation_key, digest])
        if generation_bytes is None:
            return None, self._begin_generation()
        generation = generation_bytes.decode("ascii", "replace")
        return (None if data is None else self._read(data, digest, generation)), generation

    def keep(
        self, key: str, version: Hashable, value: object, tags: tuple[Hashable, ...], generation: str
    ) -> bool:
        """Offer a result computed under `generation`; whether it was taken. False too for what JSON does not keep."""
        digest = self._key(key, version)
        record = {
            "key": digest,
            "generation": generation,
            "expires_s": self._wall_clock() + self._ttl_s,
            "tags": list(tags),
            "value": value,
        }
        try:
            text = json.dumps(record, allow_nan=False)
            same = json.loads(text) == record
        except (TypeError, ValueError, RecursionError):
            return False
        return same and self._level.put_many({digest: text.encode()}, ttl_s=self._ttl_s)

    def owe(self) -> None:
        """Look at nothing until `pay` has succeeded. Costs no round trip; to be called before results are dropped
        elsewhere: one could come back from here in between."""
        with self._owing:
            self._owed += 1

    def pay(self) -> bool:
        """Make every result of the namespace a miss in all processes; False while the server cannot be told.

        Until it is told, this process does not look at it; the others still do.
        """
        with self._owing:
            owed = self._owed
        if self._begin_generation() is None:
            return False
        with self._owing:
            self._owed = max(0, self._owed - owed)
        return True

    def _begin_generation(self) -> str | None:
        generation = secrets.token_hex(16)
        kept = self._level.put_many({self._generation_key: generation.encode()}, ttl_s=_GENERATION_TTL_S)
        return generation if kept else None

    def _read(self, data: bytes, digest: str, generation: str) -> SharedResult | None:
        try:
            record = json.loads(data)
            ttl_s = min(self._ttl_s, float(record["expires_s"]) - self._wall_clock())
            if record["key"] != digest or record["generation"] != generation or not ttl_s > 0:
                return None
            return SharedResult(record["value"], tuple(_tags(record["tags"])), ttl_s)
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):  # none of ours
            return None

    def _key(self, key: str, version: Hashable) -> str:
        if version is not None and not isinstance(version, int | str):
            raise InputError(
                f"the version is a {type(version).__name__}, which may mean something to this process alone",
                hint="give a number or text that is the same in every process that shares results, or share none",
            )
        return _digest("result", self._namespace, version, key)


def _tags(tags: Any) -> list[str | int]:
    if not isinstance(tags, list) or not all(isinstance(tag, str | int) for tag in tags):
        raise TypeError("tags are texts and numbers")
    return tags


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
