"""Keys: shown once, stored as digests, revoked at once, and never lost or opened by what happens to the file."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from ragstone.errors import InputError, NotFoundError, StoreError
from ragstone.keys import FILE_NAME, KeyStore


def test_a_key_is_found_by_its_secret_and_by_nothing_else(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    key, secret = store.add("laptop", permission="write", collections=["papers", "notes"])
    assert store.find(secret) == key
    assert key.collections == ("notes", "papers")
    _, other = store.add("phone")
    crossed = secret[: len("rgs_") + 12] + other[len("rgs_") + 12 :]
    for wrong in ("", secret[:-1], secret + "a", secret.upper(), f" {secret}", crossed, "é\ud800"):
        assert store.find(wrong) is None, wrong


@given(st.text(max_size=80))
def test_no_text_is_a_key(text: str) -> None:
    assert KEPT.find(text) is None


def test_the_secret_is_nowhere_in_the_folder_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    key, secret = KeyStore(tmp_path).add("laptop")
    assert len(secret.rpartition("_")[2]) >= 43 or "_" in secret[17:]  # 256 bits in base64
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert secret[17:] not in path.read_text()
    assert key.sha256 in (tmp_path / FILE_NAME).read_text()
    assert secret not in repr(key)


def test_a_revoked_key_ends_at_once_for_those_who_had_it_open(tmp_path: Path) -> None:
    held = KeyStore(tmp_path)
    key, secret = held.add("laptop")
    assert held.find(secret) is not None
    KeyStore(tmp_path).revoke("laptop")
    assert held.find(secret) is None
    assert not held.is_current(key.id)
    assert not held.any_current()
    assert held.in_use  # a service that needed keys still needs them
    with pytest.raises(NotFoundError, match="laptop"):
        held.revoke("laptop")
    again, fresh = held.add("laptop")  # the name is free again
    assert held.find(fresh) == again


def test_a_key_ends_with_its_days(tmp_path: Path) -> None:
    clock = FakeClock(1_000.0)
    store = KeyStore(tmp_path, clock=clock)
    _, secret = store.add("guest", days=2)
    clock.now_s += 2 * 86_400 - 1
    assert store.find(secret) is not None
    clock.now_s += 1
    assert store.find(secret) is None
    assert store.in_use


def test_a_removed_file_lets_nobody_in(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    _, secret = store.add("laptop")
    assert store.find(secret) is not None
    (tmp_path / FILE_NAME).unlink()
    assert store.find(secret) is None
    assert store.in_use
    assert not KeyStore(tmp_path).in_use  # who starts afresh without the file has no keys


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", '{"version": 2, "keys": []}', '{"version": 1, "keys": [{"id": "x"}]}', "\xff"],
)
def test_a_damaged_file_is_said_and_lets_nobody_in(tmp_path: Path, body: str) -> None:
    store = KeyStore(tmp_path)
    _, secret = store.add("laptop")
    assert store.find(secret) is not None
    (tmp_path / FILE_NAME).write_bytes(body.encode("latin-1"))
    for _ in range(2):  # it does not take the damage for what it knows
        with pytest.raises(StoreError, match=FILE_NAME):
            store.find(secret)
    assert store._was_used


def test_a_permission_that_nobody_knows_is_damage(tmp_path: Path) -> None:
    KeyStore(tmp_path).add("laptop")
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"read"', '"root"'))
    with pytest.raises(StoreError):
        KeyStore(tmp_path).keys()


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00b"])
def test_a_name_that_would_spoil_the_log_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        KeyStore(tmp_path).add(name)
    assert not KeyStore(tmp_path).in_use


def test_a_name_is_given_once(tmp_path: Path) -> None:
    KeyStore(tmp_path).add("laptop")
    with pytest.raises(InputError, match="laptop"):
        KeyStore(tmp_path).add("laptop")


ADD = """
import sys
from ragstone.keys import KeyStore
for number in range(20):
    KeyStore(sys.argv[1]).add(f"{sys.argv[2]}-{number}")
"""


def test_processes_and_threads_that_add_at_once_lose_none(tmp_path: Path) -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path), name], stderr=subprocess.PIPE)
        for name in ("a", "b")
    ]
    store = KeyStore(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda number: store.add(f"t-{number}"), range(20)))
    for other in others:
        assert other.communicate(timeout=60)[1] == b""
    assert len(store.keys()) == 60
    assert all(store.find(secret) == key for key, secret in made)
    assert json.loads((tmp_path / FILE_NAME).read_text())["version"] == 1


class _Kept:
    """A store with one key for hypothesis, made when it is first asked."""

    def __init__(self) -> None:
        self._store: KeyStore | None = None

    def find(self, text: str) -> object:
        if self._store is None:
            import tempfile

            folder = tempfile.TemporaryDirectory()
            self._folder, self._store = folder, KeyStore(folder.name)
            self._store.add("one")
        return self._store.find(text)


KEPT = _Kept()
