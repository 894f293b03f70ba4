"""Files and names that are on the disk for good once a call returns."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make every file and name below a folder durable."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def replace_file(file: Path, text: str, *, mode: int = 0o666) -> None:
    """Give a file new content, durably: a kill at any moment leaves the old one or the new one.

    `mode` are the permissions of the new file, less the process's mask. Raises `OSError`.
    """
    draft = file.with_name(f"{file.name}.draft")
    draft.unlink(missing_ok=True)  # left by a kill, perhaps
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)
    sync(file.parent)
