"""Queries of many callers in few requests: what is asked while requests are under way goes into the next one together.

Nobody waits for companions: a query that finds a request free is sent at once, alone.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from ragstone import deadlines
from ragstone.deadlines import DeadlineError

T = TypeVar("T")

AT_ONCE = 2  # one request on its way while the other is being computed
TEXTS = 32  # the batch that embedding servers and GPUs are fastest with


class Collected(Generic[T]):
    """A function of many texts, called by many threads with one text each. Thread-safe; has no thread of its own."""

    def __init__(self, make: Callable[[Sequence[str]], Sequence[T]]) -> None:
        """`make` gives a value for each text, in their order."""
        self._make = make
        self._waiting: deque[tuple[str, Future[T]]] = deque()
        self._under_way = 0
        self._changed = threading.Condition()

    def get(self, text: str) -> T:
        """The text's value. Raises what `make` raised for the texts that it went with, and `DeadlineError`."""
        mine: Future[T] = Future()
        with self._changed:
            self._waiting.append((text, mine))
        while together := self._turn(text, mine):
            self._answer(together)
        try:
            left_s = deadlines.left_s()
            return mine.result(None if math.isinf(left_s) else left_s)
        except DeadlineError:  # of the caller whose request it was
            deadlines.check()
            return self._make([text])[0]
        except TimeoutError:
            deadlines.check()
            raise

    def _turn(self, text: str, mine: Future[T]) -> list[tuple[str, Future[T]]]:
        """The texts to ask for now, as soon as a request may be made; none once `mine` is on its way."""
        with self._changed:
            while not (mine.running() or mine.done()):
                if self._under_way < AT_ONCE:
                    self._under_way += 1
                    together = [self._waiting.popleft() for _ in range(min(TEXTS, len(self._waiting)))]
                    for _, future in together:
                        future.set_running_or_notify_cancel()
                    return together
                left_s = deadlines.left_s()
                if left_s == 0:
                    self._waiting.remove((text, mine))
                    deadlines.check()
                self._changed.wait(None if math.isinf(left_s) else left_s)
            return []

    def _answer(self, together: Sequence[tuple[str, Future[T]]]) -> None:
        try:
            values = self._make([text for text, _ in together])
            for (_, future), value in zip(together, values, strict=True):
                future.set_result(value)
        except BaseException as error:
            for _, future in together:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()
