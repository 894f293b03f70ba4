"""Where a Redis is, read off its URL: the same for caches, memories and imports, and without a password in a word."""

from __future__ import annotations

import pytest

from ragstone.errors import SettingsError
from ragstone.redis_url import redis_place
from ragstone.settings import Settings


@pytest.mark.parametrize(
    ("url", "said", "database"),
    [
        ("redis://Host", "redis://host:6379", 0),
        ("rediss://user:hush@host:6380/2", "rediss://host:6380", 2),
        ("redis://[::1]/3", "redis://[::1]:6379", 3),
        ("unix://:hush@/run/redis%20one.sock?db=4", "unix:///run/redis one.sock", 4),
        ("redis+cluster://:hush@node:7000", "redis+cluster://node:7000", 0),
    ],
)
def test_a_place_is_a_url_without_its_password(url: str, said: str, database: int) -> None:
    place = redis_place(url)
    assert (str(place), place.database, place.has_password) == (said, database, "hush" in url)
    assert "hush" not in repr(place)


@pytest.mark.parametrize(
    "url",
    [
        "http://:hush@host",
        "unix+cluster:///hush",
        "redis://:hush@",
        "redis://:hush@host:hush",
        "redis://:hu/sh@host",
        "redis://:hu#sh@host",
        "redis://:hush@host/hush",
        "redis://:hush@[host",
        "unix://:hush@",
    ],
)
def test_what_cannot_be_one_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|names|not") as refused:
        redis_place(url)
    assert "hu" not in f"{refused.value!r} {refused.value.__context__!r}"
    with pytest.raises(SettingsError, match="cache_redis_url") as named:
        Settings.load(environ={"RAGSTONE_CACHE_REDIS_URL": url, "HOME": "/"})
    assert "hu" not in str(named.value)
