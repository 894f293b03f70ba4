"""What the queries asked last were embedded to."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from ragstone import deadlines
from ragstone.cache_levels import LRUCache
from ragstone.deadlines import DeadlineError

T = TypeVar("T")

# 1,024 vectors of 384 dimensions are 1.6 MB: nothing beside the model, and more than one person asks in a day.
QUERIES_KEPT = 1024


class QueryCache(LRUCache[str, T]):
    """The last 1,024 queries, whose values nobody may change. Thread-safe.

    One cache belongs to one embedder, so the text alone is the key. What several threads ask for at once is made once.
    """

    def __init__(self) -> None:
        super().__init__(QUERIES_KEPT)
        self._making: dict[str, Future[T]] = {}
        self._starting = threading.Lock()

    def get_or_make(self, text: str, make: Callable[[], T]) -> T:
        """What is kept for `text`, else what `make` gives, which is kept then.

        Who asks while another thread makes it waits for that, and gets its error if it fails.
        """
        while True:
            kept = self.get(text, None)
            if kept is not None:
                return kept
            with self._starting:
                making = self._making.get(text)
                if making is None:
                    ours = self._making[text] = Future()
            if making is None:
                return self._made(text, make, ours)
            try:
                return making.result(left if (left := deadlines.left_s()) < math.inf else None)
            except (CancelledError, DeadlineError):  # of whoever made it, which is not our error
                deadlines.check()
            except TimeoutError:
                deadlines.check()
                raise

    def _made(self, text: str, make: Callable[[], T], ours: Future[T]) -> T:
        try:
            value = make()
            self.put(text, value)
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
            with self._starting:
                del self._making[text]
