"""Two folders change places in one step, so that a process killed at any moment leaves either the one or the other."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from ragstone.durable import sync
from ragstone.errors import StoreError

_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h, and RENAME_SWAP of macOS


def exchange(one: Path, other: Path) -> None:
    """Let two folders of one file system change names, durably. Raises `StoreError`, changing nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(first, second, _EXCHANGE)
        else:
            failed = libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _EXCHANGE)
        reason = os.strerror(ctypes.get_errno())
    except AttributeError:  # musl, for one, has no such call
        failed, reason = -1, "this system has no call for it"
    if failed:
        raise StoreError(
            f"{one} and {other} cannot change places in one step: {reason}",
            hint="restore under another name, then drop the old collection",
        )
    for parent in {one.parent, other.parent}:
        sync(parent)
