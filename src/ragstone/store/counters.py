"""Numbers of a catalog that outlive the rows they are about: versions of rules, and what grows with each change."""

from __future__ import annotations

import apsw

from ragstone.store.sql import DamagedRowError, first


def value(db: apsw.Connection, name: str) -> int:
    """The number of that name, which the schema put there."""
    found = first(db, "SELECT value FROM counters WHERE name = ?", (name,))
    if found is None or not isinstance(found[0], int):
        raise DamagedRowError(f"the counter {name} is {found}")
    return found[0]


def advance(db: apsw.Connection, name: str) -> None:
    """Make it larger by one; inside a transaction."""
    db.execute("UPDATE counters SET value = value + 1 WHERE name = ?", (name,))


def put(db: apsw.Connection, name: str, number: int) -> None:
    """Make it this number; inside a transaction."""
    db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, number))
