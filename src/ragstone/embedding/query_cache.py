"""What the queries asked last were embedded to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Generic, TypeVar

T = TypeVar("T")

# 1,024 vectors of 384 dimensions are 1.6 MB: nothing beside the model, and more than one person asks in a day.
DEFAULT_CAPACITY = 1024


class QueryCache(Generic[T]):
    """Least recently used out first; at most `capacity` values, which nobody may change. Thread-safe.

    One cache belongs to one embedder, so the text alone is the key. What several threads ask for at once is made once.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._values: OrderedDict[str, T] = OrderedDict()
        self._making: dict[str, Future[T]] = {}
        self._lock = threading.Lock()

    def get_or_make(self, text: str, make: Callable[[], T]) -> T:
        """What is kept for `text`, else what `make` gives, which is kept then.

        Who asks while another thread makes it waits for that, and gets its error if it fails.
        """
        while True:
            kept = self.get(text)
            if kept is not None:
                return kept
            with self._lock:
                making = self._making.get(text)
                if making is None:
                    ours = self._making[text] = Future()
            if making is None:
                return self._made(text, make, ours)
            try:
                return making.result()
            except CancelledError:  # whoever made it was interrupted, which is not our error
                continue

    def _made(self, text: str, make: Callable[[], T], ours: Future[T]) -> T:
        try:
            value = self.put(text, make())
        except Exception as error:
            ours.set_exception(error)
            raise
        except BaseException:
            ours.cancel()
            raise
        else:
            ours.set_result(value)
            return value
        finally:
            with self._lock:
                del self._making[text]

    def get(self, text: str) -> T | None:
        """What is kept for `text`, now the most recently used; None when it is not held."""
        with self._lock:
            value = self._values.get(text)
            if value is not None:
                self._values.move_to_end(text)
            return value

    def put(self, text: str, value: T) -> T:
        """Keep `value` and return it."""
        with self._lock:
            self._values[text] = value
            self._values.move_to_end(text)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return value
