"""What people said of hits: stored, read, taken back. Functions over a connection, as in `documents`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import apsw
import numpy as np

from ragstone.store import counters
from ragstone.store.sql import DamagedRowError, as_declared, rows
from ragstone.types import Matrix, Vector

# The latest: they are held in memory, 2 kB each, and compared with every query in 0.5 ms.
KEPT = 4_096


@dataclass(frozen=True, slots=True)
class Vote:
    """`value`, -1 to 1, that somebody gave to a chunk as an answer to `query`, at `given_s` (Unix seconds)."""

    id: int
    chunk_id: int
    query: str
    value: float
    given_s: float


def put(db: apsw.Connection, chunk_id: int, query: str, vector: Vector | None, value: float) -> int:
    """Store a vote, inside a transaction; its id. Beyond `KEPT` the oldest go."""
    blob = None if vector is None else vector.astype("<f2").tobytes()
    db.execute(
        "INSERT INTO votes (chunk_id, query, vector, value, given_s) VALUES (?, ?, ?, ?, ?)",
        (chunk_id, query, blob, value, time.time()),
    )
    id_ = db.last_insert_rowid()
    db.execute(
        "DELETE FROM votes WHERE id <= (SELECT id FROM votes ORDER BY id DESC LIMIT 1 OFFSET ?)", (KEPT,)
    )
    _changed(db)
    return id_


def remove(db: apsw.Connection, ids: Sequence[int] | None) -> int:
    """Take votes back, all for None; how many there were."""
    if ids is None:
        db.execute("DELETE FROM votes")
        removed = db.changes()
    else:
        removed = 0
        for id_ in ids:
            db.execute("DELETE FROM votes WHERE id = ?", (id_,))
            removed += db.changes()
    _changed(db)
    return removed


def of_removed_chunk(db: apsw.Connection, chunk_id: int) -> None:
    """Remove the votes on a chunk that is being removed."""
    db.execute("DELETE FROM votes WHERE chunk_id = ?", (chunk_id,))
    if db.changes():
        _changed(db)


def every(db: apsw.Connection) -> list[Vote]:
    """All votes, oldest first."""
    return [
        as_declared(Vote(*found))
        for found in rows(db, "SELECT id, chunk_id, query, value, given_s FROM votes ORDER BY id")
    ]


def query_vectors(db: apsw.Connection, dim: int) -> Matrix:
    """(n, dim) float32 vectors of the voted queries, in the order of `every`; rows of zeros where there was none."""
    empty = bytes(2 * dim)
    found = [vector or empty for (vector,) in rows(db, "SELECT vector FROM votes ORDER BY id")]
    if any(len(vector) != len(empty) for vector in found):
        raise DamagedRowError(f"the vector of a vote has not {dim} numbers")
    return np.frombuffer(b"".join(found), "<f2").reshape(len(found), dim).astype(np.float32)


def changes(db: apsw.Connection) -> int:
    """A count that grows whenever a vote is given or taken back."""
    return counters.value(db, "vote_changes")


def _changed(db: apsw.Connection) -> None:
    counters.advance(db, "vote_changes")
