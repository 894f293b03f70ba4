"""The keys of a data directory: who may use its service, kept in `<data_dir>/keys.json`.

    store = KeyStore(data_dir)
    key, secret = store.add("laptop", permission="read", collections=["papers"])
    store.find(secret)  # the `Key`, or None

A key is `rgs_<id>_<256 random bits>`, shown once. What is stored is its SHA-256: nobody can guess 256 random bits, so a
salt or a slow hash, which protect passwords that people choose, would only make each request slower. A revoked key
stays listed, so that a service once closed does not fall open when its last key goes.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ragstone.durable import replace_file
from ragstone.errors import InputError, NotFoundError, StoreError

Granted: TypeAlias = Literal["read", "write", "admin"]
"""What a key lets its holder do, each including those before it."""

FILE_NAME = "keys.json"
PREFIX = "rgs"  # lets secret scanners and people recognise a key
MAX_KEYS = 10_000  # 2 MB of JSON, read whole
MAX_NAME_CHARACTERS = 100
_VERSION = 1
_SECRET = re.compile(r"rgs_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NOBODY = hashlib.sha256(b"").hexdigest()  # compared with where there is no such key: it takes as long


@dataclass(frozen=True, slots=True)
class Key:
    """One key without its secret; `collections` None: all; times are seconds since 1970, None: never."""

    id: str
    name: str
    permission: Granted
    collections: tuple[str, ...] | None
    sha256: str
    made_s: float
    expires_s: float | None = None
    revoked_s: float | None = None

    def is_current(self, now_s: float) -> bool:
        """Whether it is neither revoked nor past its time."""
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


class KeyStore:
    """The keys in a folder. Thread-safe; a change by any process is seen at the next call, for one `stat` each."""

    def __init__(self, folder: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        """Reads nothing yet; `clock` gives seconds since 1970."""
        self._path = Path(folder) / FILE_NAME
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}
        self._was_used = False

    @property
    def in_use(self) -> bool:
        """Whether a key was ever made here, as far as this object has seen: deleting the file does not undo it."""
        self._refresh()
        return self._was_used

    def keys(self) -> list[Key]:
        """All keys, the revoked ones too, oldest first. Raises `StoreError` for a damaged file."""
        self._refresh()
        return list(self._keys.values())

    def any_current(self) -> bool:
        """Whether somebody could come in."""
        return any(key.is_current(self._clock()) for key in self.keys())

    def find(self, secret: str) -> Key | None:
        """The current key of this secret. Takes as long for a wrong secret as for a right one."""
        self._refresh()
        matched = _SECRET.fullmatch(secret)
        key = self._keys.get(matched[1]) if matched else None
        same = hmac.compare_digest(_digest(secret), key.sha256 if key else _NOBODY)
        return key if key is not None and same and key.is_current(self._clock()) else None

    def is_current(self, key_id: str) -> bool:
        """Whether the key with this id may still be used."""
        self._refresh()
        key = self._keys.get(key_id)
        return key is not None and key.is_current(self._clock())

    def add(
        self,
        name: str,
        *,
        permission: Granted = "read",
        collections: Iterable[str] | None = None,
        days: float | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is nowhere else; durable when it returns.

        Good for `days` if given. Raises `InputError` for a name that is empty, too long or in use.
        """
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
            raise InputError(f"a key's name has 1 to {MAX_NAME_CHARACTERS} printable characters")
        if days is not None and not 0 < days <= 36_500:
            raise InputError(f"a key for {days:g} days", hint="above 0, up to 36,500")
        with self._changing() as keys:
            now_s = self._clock()
            if any(key.name == name and key.is_current(now_s) for key in keys.values()):
                raise InputError(f"there is a key {name!r} already", hint=f"ragstone keys revoke {name!r}")
            if len(keys) >= MAX_KEYS:
                raise InputError(
                    f"there are {MAX_KEYS} keys already", hint=f"remove old ones from {self._path}"
                )
            key_id = secrets.token_hex(6)
            secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
            bound = None if collections is None else tuple(sorted(set(collections)))
            expires_s = None if days is None else now_s + days * 86_400
            key = Key(key_id, name, permission, bound, _digest(secret), now_s, expires_s)
            keys[key_id] = key
        return key, secret

    def revoke(self, name_or_id: str) -> Key:
        """End a key, by its id or name; a running service refuses it at once. Raises `NotFoundError`."""
        with self._changing() as keys:
            now_s = self._clock()
            for key in keys.values():
                if name_or_id in {key.id, key.name} and key.revoked_s is None:
                    ended = keys[key.id] = replace(key, revoked_s=now_s)
                    return ended
        raise NotFoundError(f"no key {name_or_id!r} to revoke", hint="list them with: ragstone keys list")

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._keys, self._seen = {}, None
            return
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen == self._seen:
            return
        with self._lock:
            self._was_used = True
            try:
                self._keys, self._seen = _read(self._path), seen
            except StoreError:  # a file that cannot be read lets nobody in
                self._keys, self._seen = {}, None
                raise

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """The keys to change, written when the block ends well, by one process at a time."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = _read(self._path) if self._path.exists() else {}
            yield keys
            _write(self._path, keys.values())
        finally:
            os.close(lock)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> dict[str, Key]:
    try:
        stored = json.loads(path.read_bytes())
        if stored["version"] != _VERSION:
            raise ValueError(f"version {stored['version']}")
        return {entry["id"]: _key(entry) for entry in stored["keys"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} cannot be read: {type(error).__name__}: {error}",
            hint="put a copy of it back, or remove it and make new keys",
            code="keys_damaged",
        ) from error


def _key(entry: dict[str, Any]) -> Key:
    if entry["permission"] not in {"read", "write", "admin"}:
        raise ValueError(f"permission {entry['permission']!r}")
    bound = entry["collections"]
    return Key(**{**entry, "collections": None if bound is None else tuple(bound)})


def _write(path: Path, keys: Iterable[Key]) -> None:
    """Readable by its owner only."""
    body = {"version": _VERSION, "keys": [asdict(key) for key in keys]}
    replace_file(path, json.dumps(body, indent=1), mode=0o600)
