"""Threads that share one list of work, longest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ragstone.embedding.cores import give_way
from ragstone.errors import ModelError

Item = TypeVar("Item")


class Workers:
    """`threads` threads, started when first needed, at lower priority when `background`."""

    def __init__(self, *, threads: int, background: bool) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "embed", initializer=give_way if background else None)

    def run(self, work: Callable[[Item], None], items: Iterable[Item]) -> None:
        """Call `work` on every item, in order of their starts, and return when all are done.

        The first error (also an interrupt of the caller) drops what has not started, waits for what has, and is
        raised. One task per thread, not per item: a future costs 20 µs, a short text 500.
        """
        waiting = deque(items)

        def drain() -> None:
            while True:
                try:
                    item = waiting.popleft()
                except IndexError:  # all taken; `if waiting` would race with the other threads
                    return
                try:
                    work(item)
                except BaseException:
                    waiting.clear()
                    raise

        try:
            futures = [self._pool.submit(drain) for _ in range(min(self.threads, len(waiting)))]
        except RuntimeError as error:  # the pool was shut down meanwhile
            waiting.clear()
            raise ModelError(
                "the embedding model was closed during the call", hint="open it again"
            ) from error
        try:
            for future in futures:
                future.result()
        except BaseException:
            waiting.clear()
            raise

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._pool.shutdown(wait=True)
