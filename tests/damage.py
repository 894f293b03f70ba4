"""Damage to a store's files, done so that a mapping this process still has stays whole.

Cutting a mapped file short in place makes the next read through the mapping kill the process (SIGBUS), whoever reads:
also a destructor that the garbage collector happens to run. A new file under the same name is what a bad disk or a
bad copy leaves after a restart.
"""

from __future__ import annotations

import random
import re
from contextlib import closing
from pathlib import Path

import apsw

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


def forbidden_values(catalog: Path) -> list[tuple[str, str, str]]:
    """Table, column and, as SQL, a value that the schema does not allow there: all that there are."""
    columns = (
        'SELECT t.name, c.name, c.type, c."notnull", c.pk FROM pragma_table_list t, pragma_table_info(t.name) c'
        " WHERE t.strict"
    )
    found = []
    with closing(apsw.Connection(str(catalog))) as db:
        for table, column, kind, not_null, key in db.execute(columns):
            values = {"NULL": not_null and not key, "x'00ff80'": kind != "BLOB", "'x'": kind != "TEXT"}
            if not (key and kind == "INTEGER"):  # a row's number, which is not among its values
                found += [(str(table), str(column), value) for value, wrong in values.items() if wrong]
    return found


def break_schema(catalog: Path, table: str, column: str, value: str) -> bool:
    """Put a value that the schema does not allow into all rows of a table, as damage may; whether it has any."""

    def declare(sql: object) -> None:
        with closing(apsw.Connection(str(catalog))) as db:
            db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
            db.pragma("writable_schema", True)
            db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (str(sql), table))

    with closing(apsw.Connection(str(catalog))) as db:
        (declared,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchall()[0]
    loose = re.sub(r"--[^\n]*|NOT NULL|\bSTRICT\b,?", "", str(declared)).rstrip().rstrip(",")
    declare(re.sub(rf"\b{column}(\s+)(TEXT|INTEGER|REAL|BLOB)\b", rf"{column}\1", loose))
    with closing(apsw.Connection(str(catalog))) as db:
        db.execute(f"UPDATE OR IGNORE {table} SET {column} = {value}")
        changed = db.changes() > 0
    declare(declared)
    return changed
