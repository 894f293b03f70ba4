"""Damage to a store's files, done so that a mapping this process still has stays whole.

Cutting a mapped file short in place makes the next read through the mapping kill the process (SIGBUS), whoever reads:
also a destructor that the garbage collector happens to run. A new file under the same name is what a bad disk or a
bad copy leaves after a restart.
"""

from __future__ import annotations

import random
from pathlib import Path

KINDS = ("flip", "cut", "zero", "swap", "extend", "noise", "remove")
_SECTOR = 512  # what a disk loses at once


def replace_bytes(path: Path, data: bytes | bytearray) -> None:
    """Put a file with other content in the place of `path`."""
    draft = path.with_name(f"{path.name}.damage")
    draft.write_bytes(data)
    draft.replace(path)


def damage(path: Path, kind: str, choice: random.Random) -> bool:
    """Damage a file: one bit or a sector of it changed, its end lost or grown, two sectors exchanged, the file gone.

    Whether it is now another file than before: a sector of zeros may be zeroed.
    """
    if kind == "remove":
        path.unlink()
        return True
    before = path.read_bytes()
    data = bytearray(before)
    start = choice.randrange(len(data)) if data else 0
    sector = slice(start, start + _SECTOR)
    if kind == "flip" and data:
        data[start] ^= 1 << choice.randrange(8)
    elif kind == "cut":
        del data[start:]
    elif kind == "zero":
        data[sector] = bytes(len(data[sector]))
    elif kind == "noise":
        data[sector] = choice.randbytes(len(data[sector]))
    elif kind == "extend":
        data += choice.randbytes(choice.choice((1, _SECTOR, 70_000)))
    elif kind == "swap" and len(data) > 2 * _SECTOR:
        one, two = choice.sample(range(len(data) // _SECTOR), 2)
        first, second = (slice(n * _SECTOR, (n + 1) * _SECTOR) for n in (one, two))
        data[first], data[second] = data[second], data[first]
    replace_bytes(path, data)
    return bytes(data) != before
