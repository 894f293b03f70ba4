"""SQLite's rows with the types our schema promises (every table is STRICT, so a checker may trust them)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import apsw


def rows(db: apsw.Connection, query: str, bindings: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, as they are stepped."""
    yield from db.execute(query, tuple(bindings))


def rows_at_once(
    db: apsw.Connection, columns: str, rest: str, bindings: Sequence[Any] = ()
) -> list[list[Any]]:
    """The rows of `SELECT columns rest`, no blobs among them, in any order.

    SQLite lets go of the interpreter at each row, and a thread among others waits for its turn then; one text of JSON
    is one row. For a few rows that many threads read at once.
    """
    (found,) = row(db, f"SELECT json_group_array(json_array({columns})) {rest}", bindings)
    read: list[list[Any]] = json.loads(found)
    return read


def row(db: apsw.Connection, query: str, bindings: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The one row of a query that always has one."""
    return db.execute(query, tuple(bindings)).fetchall()[0]


def first(db: apsw.Connection, query: str, bindings: Sequence[Any] = ()) -> tuple[Any, ...] | None:
    """The first row of a query; None where it has none."""
    found = db.execute(query, tuple(bindings)).fetchall()
    return found[0] if found else None


def any_row(db: apsw.Connection, table: str) -> bool:
    """Whether a table, which its caller names, has rows."""
    (found,) = row(db, f"SELECT EXISTS (SELECT 1 FROM {table})")
    return bool(found)
