"""SQLite's rows with the types our schema promises (every table is STRICT, so a checker may trust them)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw


def rows(db: apsw.Connection, query: str, bindings: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, as they are stepped."""
    yield from db.execute(query, tuple(bindings))


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
