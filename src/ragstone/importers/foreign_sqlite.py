"""Other tools' SQLite files, opened so that nothing is written beside them and nothing in them runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from ragstone.errors import DamagedError, NotFoundError, StoreError

MAGIC = b"SQLite format 3\0"


def is_sqlite(path: Path) -> bool:
    """Whether a file begins like an SQLite database."""
    try:
        with path.open("rb") as file:
            return file.read(16) == MAGIC
    except OSError:
        return False


@contextmanager
def reading(path: Path) -> Iterator[apsw.Connection]:
    """A read-only connection that takes no lock and leaves no file.

    Raises `NotFoundError`, `DamagedError` for what SQLite finds malformed, and `StoreError` while another program
    has unwritten changes in the database's log.
    """
    if not path.is_file():
        raise NotFoundError(f"no file {path}")
    for log in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal")):
        if log.is_file() and log.stat().st_size:
            raise StoreError(
                f"{path} is in use or was not closed: {log.name} holds changes",
                hint="close its program, or open the database once with it",
            )
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(uri, flags=flags)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            connection.execute("PRAGMA cell_size_check = ON")
            yield connection
        finally:
            connection.close()
    except (ValueError, TypeError, OverflowError) as error:  # a value of another kind than its column's
        raise DamagedError(f"{path} is damaged: {type(error).__name__} {error}") from error
    except apsw.Error as error:
        raise DamagedError(
            f"{path} cannot be read: {error}", hint="take it from a backup, or check it with its own tool"
        ) from error


def columns(db: apsw.Connection, table: str) -> frozenset[str]:
    """The columns of a table; empty where there is no such table (a view by its name is none)."""
    found = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchall()
    if not found:
        return frozenset()
    rows: list[tuple[Any, ...]] = db.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    return frozenset(str(name) for (name,) in rows)
