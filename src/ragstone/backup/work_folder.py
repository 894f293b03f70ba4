"""A folder for what is not finished yet, beside the place it is for; gone at the end, or when the next is made."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.errors import StoreError
from ragstone.store.lock import WriterLock

_LOCK = "lock"


@contextmanager
def work_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """An empty folder below `parent`, locked while the block runs, then removed; those of killed processes go first."""
    for left in parent.glob(f"{prefix}*"):
        try:
            with WriterLock(left / _LOCK).held():
                shutil.rmtree(left)
        except (StoreError, OSError):  # at work, or another user's
            continue
    folder = parent / f"{prefix}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        with WriterLock(folder / _LOCK).held():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
