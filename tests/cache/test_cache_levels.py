"""The bounded cache: use, age, room, prefixes and tags, against a plain list that does the same slowly."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fake_clock import FakeClock
from ragstone.cache.tagged import TaggedCache
from ragstone.cache_levels import LRUCache
from ragstone.errors import InputError

CAPACITY = 4
TTL_S = 10.0
KEYS = st.sampled_from(["a", "ab", "abc", "b", "ba", "c", "ca", "cab"])
TAGS = st.frozensets(st.sampled_from([1, 2, 3, "x"]), max_size=3)


def test_a_hit_makes_a_value_the_last_to_be_dropped() -> None:
    cache: LRUCache[str, int] = LRUCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a", None) == 1
    cache.put("c", 3)
    assert (cache.get("a", None), cache.get("b", None), cache.get("c", None)) == (1, None, 3)
    assert cache.evictions == 1


def test_holding_does_not_count_as_use() -> None:
    cache: LRUCache[str, int] = LRUCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.holds("a")
    cache.put("c", 3)
    assert not cache.holds("a")


def test_a_value_expires_at_its_time_and_none_is_a_value() -> None:
    clock = FakeClock()
    cache: LRUCache[str, None] = LRUCache(2, ttl_s=300, clock=clock)
    cache.put("a", None)
    clock.advance(299.9)
    assert cache.get("a", "nothing") is None
    clock.advance(0.1)
    assert cache.get("a", "nothing") == "nothing"
    assert len(cache) == 0


def test_what_has_expired_makes_room_before_what_has_not() -> None:
    clock = FakeClock()
    cache: LRUCache[str, int] = LRUCache(2, ttl_s=100, clock=clock)
    cache.put("old", 1)
    cache.put("brief", 2, ttl_s=1)
    clock.advance(2)
    cache.put("new", 3)
    assert cache.get("old", None) == 1
    assert cache.evictions == 0


def test_replacing_one_value_over_and_over_holds_no_memory() -> None:
    clock = FakeClock()
    cache: LRUCache[str, int] = LRUCache(2, ttl_s=100, clock=clock)
    for number in range(1_000):
        cache.put("a", number)
    assert len(cache._expiries) < 200
    clock.advance(99)
    assert cache.get("a", None) == 999


def test_every_value_that_leaves_is_told_once() -> None:
    clock = FakeClock()
    gone: list[tuple[str, int]] = []
    cache: LRUCache[str, int] = LRUCache(
        2, ttl_s=5, clock=clock, dropped=lambda key, value: gone.append((key, value))
    )
    cache.put("a", 1)
    cache.put("a", 2)
    cache.put("b", 3)
    cache.put("c", 4)
    assert cache.discard("b") and not cache.discard("b")
    clock.advance(5)
    assert len(cache) == 0
    assert gone == [("a", 1), ("a", 2), ("b", 3), ("c", 4)]


def test_a_cache_without_room_keeps_nothing_and_senseless_sizes_are_refused() -> None:
    cache: LRUCache[str, int] = LRUCache(0)
    cache.put("a", 1)
    assert not cache.holds("a")
    with pytest.raises(InputError, match="-1"):
        LRUCache(-1)
    with pytest.raises(InputError, match="ttl_s"):
        LRUCache(1, ttl_s=0)


def test_threads_that_put_get_and_drop_leave_a_whole_cache() -> None:
    cache: TaggedCache[int] = TaggedCache(8, ttl_s=60)

    def work(thread: int) -> None:
        for number in range(500):
            key = str((number * 7 + thread) % 20)
            cache.put(key, number, tags=[number % 3])
            cache.get(key, None)
            if number % 11 == 0:
                cache.drop_tags([number % 3])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) <= 8
    cache.clear()
    assert not cache.tags


@dataclass
class Row:
    """What the model knows of a value."""

    key: str
    value: int
    expires_s: float
    tags: frozenset[int | str]


class CacheMachine(RuleBasedStateMachine):
    """A list, least recently used first, does what the cache does."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.cache: TaggedCache[int] = TaggedCache(CAPACITY, ttl_s=TTL_S, clock=self.clock)
        self.rows: list[Row] = []

    def live(self) -> list[Row]:
        return [row for row in self.rows if row.expires_s > self.clock()]

    @rule(key=KEYS, value=st.integers(), tags=TAGS, ttl_s=st.sampled_from([None, 1.0, 3.0, 30.0]))
    def put(self, key: str, value: int, tags: frozenset[int | str], ttl_s: float | None) -> None:
        self.cache.put(key, value, tags=tags, ttl_s=ttl_s)
        self.rows = [row for row in self.rows if row.key != key]
        self.rows.append(Row(key, value, self.clock() + (ttl_s or TTL_S), tags))
        if len(self.rows) > CAPACITY:
            self.rows = self.live()
        self.rows = self.rows[-CAPACITY:]

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        row = next((row for row in self.live() if row.key == key), None)
        assert self.cache.get(key, None) == (row.value if row else None)
        if row:
            self.rows.remove(row)
            self.rows.append(row)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        self.expect_dropped(self.cache.drop(key), lambda row: row.key == key)

    @rule(prefix=st.sampled_from(["a", "ab", "c", ""]))
    def drop_prefix(self, prefix: str) -> None:
        self.expect_dropped(self.cache.drop_prefix(prefix), lambda row: row.key.startswith(prefix))

    @rule(tags=TAGS)
    def drop_tags(self, tags: frozenset[int | str]) -> None:
        self.expect_dropped(self.cache.drop_tags(tags), lambda row: bool(row.tags & tags))

    @rule()
    def clear(self) -> None:
        self.expect_dropped(self.cache.clear(), lambda row: True)

    def expect_dropped(self, dropped: int, concerned: object) -> None:
        assert callable(concerned)
        assert dropped == sum(concerned(row) for row in self.live())
        self.rows = [row for row in self.rows if not concerned(row)]

    @invariant()
    def the_same_values_are_held(self) -> None:
        live = self.live()
        for key in ("a", "ab", "abc", "b", "ba", "c", "ca", "cab"):
            assert self.cache.holds(key) == any(row.key == key for row in live)

    @rule()
    def tags_are_those_of_values(self) -> None:
        assert len(self.cache) == len(self.live())  # drops what has expired
        self.rows = self.live()
        assert self.cache.tags == {tag for row in self.rows for tag in row.tags}


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
