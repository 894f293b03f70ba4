"""Threads are used again, and none keeps anybody waiting."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import wait

import pytest

from parallel.scripted_sources import LIMIT_S
from ragstone.parallel.threads import Threads


def until(so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + LIMIT_S
    while not so():
        assert time.monotonic() < give_up_s


def test_a_thread_that_is_free_takes_the_next_call() -> None:
    threads = Threads("ragstone-source", keep=2)
    used = {threads.run(threading.get_ident).result(LIMIT_S) for _ in range(200)}
    assert len(used) == 1
    assert threads.close(LIMIT_S) == 0


def test_calls_at_once_have_a_thread_each_and_few_are_kept() -> None:
    threads = Threads("ragstone-source", keep=2)
    together = threading.Barrier(6)
    futures = [threads.run(lambda: together.wait(LIMIT_S)) for _ in range(6)]
    assert sorted(future.result(LIMIT_S) for future in futures) == list(range(6))
    until(lambda: len(threads) == 2)
    ended = [thread for thread in threading.enumerate() if thread.name.startswith("ragstone-source")]
    assert threads.close(LIMIT_S) == 0
    assert len(threads) == 0
    assert not any(thread.is_alive() for thread in ended)


def test_an_error_is_the_callers_and_the_thread_goes_on() -> None:
    threads = Threads("ragstone-source", keep=1)

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        threads.run(leave).result(LIMIT_S)
    assert threads.run(lambda: "next").result(LIMIT_S) == "next"
    assert len(threads) == 1
    threads.close(LIMIT_S)


def test_closing_leaves_a_hung_call_behind_which_ends_by_itself() -> None:
    threads = Threads("ragstone-source", keep=1)
    release, began = threading.Event(), threading.Event()

    def hang() -> threading.Thread:
        began.set()
        release.wait(LIMIT_S)
        return threading.current_thread()

    future = threads.run(hang)
    assert began.wait(LIMIT_S)
    assert threads.close(0.0) == 1
    with pytest.raises(RuntimeError, match="closed"):
        threads.run(lambda: None)
    release.set()
    thread = future.result(LIMIT_S)
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert len(threads) == 0


def test_an_idle_thread_holds_nothing_of_its_last_call() -> None:
    class Large:
        """Something worth letting go of."""

    threads = Threads("ragstone-source", keep=1)
    large = Large()
    gone = weakref.ref(large)
    future = threads.run(lambda held=large: held)  # type: ignore[misc]
    wait([future], LIMIT_S)
    del large, future
    until(lambda: gone() is None)
    threads.close(LIMIT_S)
