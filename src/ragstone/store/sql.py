"""SQLite's rows with the types our schema promises: every table is STRICT, so a checker may trust them.

Only damage breaks that promise: SQLite gives what a damaged row says it holds. Whoever finds something else raises
`DamagedRowError`, which becomes a `DamagedError` at the rim of the catalog's blocks, so rows are read inside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_type_hints

import apsw

Record = TypeVar("Record")


class DamagedRowError(Exception):
    """A row is not one that we write."""


_STORED = (int, float, str, bytes)  # what a column may be declared as


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


def as_declared(record: Record) -> Record:
    """A record made from a row, if each of its fields has its declared type, else `DamagedRowError`; 1 µs."""
    for name, kind in _stored_fields(type(record)):  # type: ignore[arg-type]  # classes are hashable
        if not isinstance(value := getattr(record, name), kind):
            raise DamagedRowError(f"a row has a {type(value).__name__} for {type(record).__name__}.{name}")
    return record


@cache
def _stored_fields(record: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(record).items()
    return tuple((name, kind) for name, kind in hints if kind in _STORED or isinstance(kind, UnionType))


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
