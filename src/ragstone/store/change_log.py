"""What the keyword index has to follow: chunks added and deleted, in order, until it has durably applied them.

Functions over a connection that `Catalog.transaction` or `Catalog.reading` gave.
"""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from ragstone.store import counters
from ragstone.store.sql import DamagedRowError, first, row, rows


@dataclass(frozen=True, slots=True)
class Changes:
    """Chunks added and deleted after a sequence number, up to and with `last_sequence`."""

    last_sequence: int
    added: tuple[int, ...]
    deleted: tuple[int, ...]


def last(db: apsw.Connection) -> int:
    """The newest sequence number ever given, 0 before the first; it survives trimming."""
    found = first(db, "SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
    return int(found[0]) if found else 0


def since(db: apsw.Connection, sequence: int, limit: int) -> Changes | None:
    """The next up to `limit` changes after `sequence`; None if some of them have been trimmed away."""
    if sequence < counters.value(db, "changes_trimmed"):
        return None
    query = "SELECT sequence, chunk_id, deleted FROM changes WHERE sequence > ? ORDER BY sequence LIMIT ?"
    found = list(rows(db, query, (sequence, limit)))
    if not all(isinstance(chunk_id, int) for _, chunk_id, _ in found):
        raise DamagedRowError("a change is of no chunk")
    deleted = dict.fromkeys(chunk_id for _, chunk_id, gone in found if gone)
    added = dict.fromkeys(chunk_id for _, chunk_id, gone in found if not gone and chunk_id not in deleted)
    return Changes(found[-1][0] if found else sequence, tuple(added), tuple(deleted))


def lag(db: apsw.Connection, sequence: int) -> tuple[int, int]:
    """How many changes came after `sequence`, and the characters of the chunks they added."""
    query = (
        "SELECT count(*), coalesce(sum(c.end - c.start), 0)"
        " FROM changes s LEFT JOIN chunks c ON c.id = s.chunk_id WHERE s.sequence > ?"
    )
    found, characters = row(db, query, (sequence,))
    return int(found), int(characters)


def trim(db: apsw.Connection, sequence: int) -> None:
    """Forget the changes up to `sequence`, which the keyword index has durably applied."""
    db.execute("DELETE FROM changes WHERE sequence <= ?", (sequence,))
    db.execute("UPDATE counters SET value = max(value, ?) WHERE name = 'changes_trimmed'", (sequence,))
