"""Threads that may be left behind.

A call that hangs cannot be stopped in Python; it can only be left alone. `ThreadPoolExecutor` joins its threads when
the interpreter ends, however long that takes (python/cpython#80961), and a hung call holds one of its threads for ever.
Here threads are daemons, and there is one for every call at work: whoever limits the calls limits the threads, and
decides which calls no longer count. A thread that is free waits for the next call, or ends when enough others wait.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

_Task: TypeAlias = tuple[Callable[[], Any], Future[Any]]


class _Worker:
    """A thread and what it is given to do; None ends it."""

    def __init__(self, name: str, serve: Callable[[_Worker], None]) -> None:
        self.tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self.thread = threading.Thread(target=serve, args=(self,), name=name, daemon=True)


class Threads:
    """Runs each call on a thread of its own; at most `keep` threads wait for more. Thread-safe."""

    def __init__(self, name: str, *, keep: int) -> None:
        self._name = name
        self._keep = keep
        self._numbers = itertools.count()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Threads there are, at work or waiting."""
        return len(self._all)

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Start `work` now; the future of what it returns or raises. Raises `RuntimeError` after `close`, and when the
        system gives no thread."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise RuntimeError("these threads are closed")
            worker = self._idle.pop() if self._idle else self._new()
            worker.tasks.put((work, future))
        return future

    def close(self, grace_s: float) -> int:
        """End the threads, waiting up to `grace_s` seconds for those at work; how many are left behind.

        Those end by themselves when their call returns, if it ever does, and do not keep the process alive.
        """
        with self._lock:
            self._closed = True
            workers = list(self._all)
            for worker in workers:
                worker.tasks.put(None)
        end_s = time.monotonic() + grace_s
        for worker in workers:
            worker.thread.join(max(0.0, end_s - time.monotonic()))
        return sum(worker.thread.is_alive() for worker in workers)

    def _new(self) -> _Worker:
        worker = _Worker(f"{self._name}-{next(self._numbers)}", self._serve)
        worker.thread.start()
        self._all.add(worker)
        return worker

    def _serve(self, worker: _Worker) -> None:
        staying = True
        while staying and (task := worker.tasks.get()) is not None:
            work, future = task
            settle: Callable[[], None]
            try:
                settle = _result(future, work())
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
                settle = _failure(future, error)
            staying = self._rest(worker)
            settle()  # only now: who learns of it may start the next call, which then finds this thread free
            del task, work, future, settle  # an idle thread holds nothing of its last call
        with self._lock:
            self._all.discard(worker)

    def _rest(self, worker: _Worker) -> bool:
        """Whether the thread stays for another call."""
        with self._lock:
            if self._closed or len(self._idle) >= self._keep:
                return False
            self._idle.append(worker)
            return True


def _result(future: Future[T], value: T) -> Callable[[], None]:
    return lambda: future.set_result(value)


def _failure(future: Future[Any], error: BaseException) -> Callable[[], None]:
    return lambda: future.set_exception(error)
