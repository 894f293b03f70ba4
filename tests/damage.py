"""Damage to a store's files, done so that a mapping this process still has stays whole.

Cutting a mapped file short in place makes the next read through the mapping kill the process (SIGBUS), whoever reads:
also a destructor that the garbage collector happens to run. A new file under the same name is what a bad disk or a
bad copy leaves after a restart.
"""

from __future__ import annotations

from pathlib import Path


def replace_bytes(path: Path, data: bytes | bytearray) -> None:
    """Put a file with other content in the place of `path`."""
    draft = path.with_name(f"{path.name}.damage")
    draft.write_bytes(data)
    draft.replace(path)
