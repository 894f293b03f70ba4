"""One writer per collection, across processes. The kernel drops the lock when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ragstone.errors import DiskFullError, LockedError, StoreError

# The holder writes its name microseconds after it has the lock; a refused process waits this long for it.
_NAME_WAIT_S = 0.2
_NAME_POLL_S = 0.005


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
                with suppress(OSError):  # a failing disk: the name stays, it is advisory; the lock must not
                    os.ftruncate(self._descriptor, 0)  # nobody is to be named in our stead
                os.close(self._descriptor)
                self._descriptor = -1

    def _open_locked(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _not_taken(self._path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            note = {"pid": os.getpid(), "command": " ".join(sys.argv)[:200], "since_s": round(time.time())}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(note).encode(), 0)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise LockedError(
                f"{self._path.parent.name!r} is being written by {holder}",
                hint="wait for it to finish or stop it; searching works meanwhile",
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise _not_taken(self._path, error) from error
        return descriptor


def _not_taken(path: Path, error: OSError) -> StoreError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError(
            f"no space left at {path.parent}",
            hint="free some space and run the same command again; nothing acknowledged was lost",
        )
    return StoreError(
        f"the lock {path} cannot be taken: {error.strerror}", hint="check the folder's owner and permissions"
    )


def _holder(descriptor: int) -> str:
    # The note is advisory: its writer may be between taking the lock and writing its name, and a killed one
    # leaves its name behind.
    give_up_s = time.monotonic() + _NAME_WAIT_S
    while time.monotonic() < give_up_s:
        try:
            holder = json.loads(os.pread(descriptor, 4096, 0))
            if _is_alive(int(holder["pid"])):
                since = time.strftime("%H:%M:%S", time.localtime(holder["since_s"]))
                return f"process {holder['pid']} ({holder['command']}), since {since}"
        except (ValueError, KeyError, TypeError):
            pass
        time.sleep(_NAME_POLL_S)
    return "another process"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True
