"""One writer per collection, across processes. The kernel drops the lock when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.errors import LockedError


class WriterLock:
    """An exclusive `flock` on a file that names its holder.

    Threads of one process share the lock (they take turns at the catalog's transactions instead), so a
    long indexing run does not keep the same process from adding or deleting a document between batches.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._descriptor = -1
        self._holders = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a block. Raises `LockedError` at once, naming the holder, if it is another process."""
        self._acquire()
        try:
            yield
        finally:
            self._release()

    @property
    def held_here(self) -> bool:
        """Whether some thread of this process holds the lock at this moment."""
        return self._holders > 0

    def _acquire(self) -> None:
        with self._guard:
            if self._holders == 0:
                self._descriptor = self._open_locked()
            self._holders += 1

    def _release(self) -> None:
        with self._guard:
            self._holders -= 1
            if self._holders == 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open_locked(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 4096, 0)
            os.close(descriptor)
            raise LockedError(
                f"{self._path.parent.name!r} is being written by {_describe(holder)}",
                hint="wait for it to finish or stop it; searching works meanwhile",
            ) from error
        note = {"pid": os.getpid(), "command": " ".join(sys.argv)[:200], "since_s": round(time.time())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        return descriptor


def _describe(note: bytes) -> str:
    # The note is advisory: its writer may be between taking the lock and writing its name.
    try:
        holder = json.loads(note)
        since = time.strftime("%H:%M:%S", time.localtime(holder["since_s"]))
        return f"process {holder['pid']} ({holder['command']}), since {since}"
    except (ValueError, KeyError, TypeError):
        return "another process"
