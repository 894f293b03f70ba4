"""Guessing the next query: what was seen often follows, memory and budget are bounded."""

from __future__ import annotations

import random

import pytest

from fake_clock import FakeClock
from ragstone.cache.prediction import KEYS_MAX, SUCCESSORS_MAX, Budget, NextKeys
from ragstone.errors import InputError


def test_what_followed_twice_is_expected_and_once_is_chance() -> None:
    keys = NextKeys()
    for key in ("a", "b", "c", "a"):
        keys.see(key)
    assert keys.likely("a") == []
    keys.see("b")
    assert keys.likely("a") == ["b"]
    assert keys.likely("never seen") == []


def test_a_key_that_many_others_follow_alike_gives_no_guess() -> None:
    keys = NextKeys()
    for number in range(40):
        keys.see("hub")
        keys.see(f"spoke {number % 8}")
    assert keys.likely("hub") == []
    assert keys.likely("spoke 3") == ["hub"]


def test_the_same_key_again_is_no_successor() -> None:
    keys = NextKeys()
    for key in ("a", "a", "a", "b", "a", "b"):
        keys.see(key)
    assert keys.likely("a") == ["b"]


def test_a_habit_that_changes_is_followed() -> None:
    keys = NextKeys()
    for _ in range(60):
        keys.see("a")
        keys.see("old")
    for _ in range(60):
        keys.see("a")
        keys.see("new")
    assert keys.likely("a")[0] == "new"


def test_endless_new_keys_take_no_more_memory() -> None:
    keys = NextKeys(keys_max=50)
    choice = random.Random(1)
    for _ in range(5_000):
        keys.see(f"key {choice.randrange(300)}")
    assert len(keys) == 50
    assert max(map(len, keys._followers.values())) <= SUCCESSORS_MAX
    assert KEYS_MAX <= 10_000


def test_no_window_of_time_holds_more_than_the_budget() -> None:
    clock = FakeClock()
    budget = Budget(6, burst=2, clock=clock)
    granted: list[float] = []
    for _ in range(600):
        if budget.take():
            granted.append(clock())
        clock.advance(0.5)
    for start in granted:
        assert sum(start <= at < start + 60 for at in granted) <= 2 + 6
    assert 28 <= len(granted) <= 32  # five minutes


def test_a_budget_of_nothing_grants_nothing() -> None:
    assert not Budget(0).take()
    with pytest.raises(InputError, match="-1"):
        Budget(-1)
