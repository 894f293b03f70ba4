"""Queries that are asked at once share requests, wait for nobody, and fail only of their own accord."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from ragstone import deadlines
from ragstone.deadlines import DeadlineError
from ragstone.embedding.collected import AT_ONCE, TEXTS, Collected
from ragstone.errors import ModelError


class Model:
    """Waits at a gate, and notes what it was asked together."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.asked: list[list[str]] = []
        self.gate = threading.Event()
        self.most = self._inside = 0
        self._lock = threading.Lock()
        if is_open:
            self.gate.set()

    def __call__(self, texts: Sequence[str]) -> list[str]:
        with self._lock:
            self.asked.append(list(texts))
            self._inside += 1
            self.most = max(self.most, self._inside)
        assert self.gate.wait(20)
        with self._lock:
            self._inside -= 1
        if "bad" in texts:
            raise ModelError("refused")
        return [text.upper() for text in texts]


def _until(condition: object) -> None:
    ends_s = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends_s
        time.sleep(0.001)


def test_what_waits_goes_together_and_everybody_gets_his_own() -> None:
    model = Model(is_open=False)
    collected = Collected(model)
    texts = [f"text {number}" for number in range(2 * TEXTS + AT_ONCE)]
    with ThreadPoolExecutor(len(texts)) as threads:
        asked = [threads.submit(collected.get, text) for text in texts[:AT_ONCE]]
        _until(lambda: len(model.asked) == AT_ONCE)
        asked += [threads.submit(collected.get, text) for text in texts[AT_ONCE:]]
        _until(lambda: len(collected._waiting) == 2 * TEXTS)
        model.gate.set()
        assert [future.result(20) for future in asked] == [text.upper() for text in texts]
    assert sorted(map(len, model.asked)) == [1] * AT_ONCE + [TEXTS] * 2
    assert sorted(text for together in model.asked for text in together) == sorted(texts)
    assert model.most <= AT_ONCE


def test_a_text_alone_waits_for_nobody() -> None:
    model = Model()
    assert [Collected(model).get(text) for text in ("a", "b")] == ["A", "B"]
    assert model.asked == [["a"], ["b"]]


def test_many_threads_all_get_their_own() -> None:
    model = Model()
    collected = Collected(model)
    with ThreadPoolExecutor(16) as threads:
        texts = [str(number) * 3 for number in range(2000)]
        assert list(threads.map(collected.get, texts)) == texts
    assert model.most <= AT_ONCE
    assert (collected._under_way, len(collected._waiting)) == (0, 0)


def test_an_error_is_that_of_all_who_went_together_and_of_nobody_later() -> None:
    model = Model(is_open=False)
    collected = Collected(model)
    with ThreadPoolExecutor(8) as threads:
        first = [threads.submit(collected.get, text) for text in ("a", "b")]
        _until(lambda: len(model.asked) == AT_ONCE)
        together = [threads.submit(collected.get, text) for text in ("bad", "c")]
        _until(lambda: len(collected._waiting) == 2)
        model.gate.set()
        assert [future.result(20) for future in first] == ["A", "B"]
        for future in together:
            with pytest.raises(ModelError, match="refused"):
                future.result(20)
    assert collected.get("c") == "C"


def test_who_has_no_time_left_leaves_the_queue() -> None:
    model = Model(is_open=False)
    collected = Collected(model)
    with ThreadPoolExecutor(8) as threads:
        first = [threads.submit(collected.get, text) for text in ("a", "b")]
        _until(lambda: len(model.asked) == AT_ONCE)
        with deadlines.within(0.05), pytest.raises(DeadlineError):
            collected.get("late")
        model.gate.set()
        assert [future.result(20) for future in first] == ["A", "B"]
    assert collected.get("c") == "C"
    assert ["late"] not in model.asked


def test_the_time_of_another_ends_nobody_elses_request() -> None:
    asked: list[list[str]] = []

    def make(texts: Sequence[str]) -> list[str]:
        asked.append(list(texts))
        deadlines.check()
        return [text.upper() for text in texts]

    collected = Collected(make)
    collected._under_way = AT_ONCE  # as if requests were under way
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(collected.get, "b")
        _until(lambda: len(collected._waiting) == 1)
        # Somebody without time takes it along in his request.
        with deadlines.within(0.0), pytest.raises(DeadlineError):
            collected._under_way = 0
            collected.get("a")
        with collected._changed:
            collected._changed.notify_all()
        assert waiting.result(20) == "B"
