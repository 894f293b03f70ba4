"""Memories as records, and their rows: a table beside the documents, in the same catalog and its transactions.

A memory's text is a document of one chunk with its vector; what changes often is a row here. Both are written in one
transaction, so neither is ever without the other. Functions take a connection; they know no tiers and no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from ragstone.store import counters, storing
from ragstone.store.sql import as_declared, first, row, rows


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """One memory. Times are Unix seconds; `expires_s` None: never; `importance` 0 to 1.

    `source` says who stated it (`user`, `assistant`, `document:…`). `superseded_by` is the id of the newer statement
    that contradicts it, else None. `loop` marks an answer of ours that was stored on request. `refreshed` counts the
    near-duplicates it stands for.
    """

    id: str
    text: str
    tier: str
    importance: float
    created_s: float
    last_accessed_s: float
    access_count: int
    expires_s: float | None
    source: str
    tags: tuple[str, ...]
    superseded_by: str | None
    loop: bool
    refreshed: int
    document_id: int
    chunk_id: int


_TABLES = """
    CREATE TABLE IF NOT EXISTS memory_entries (
        document_id     INTEGER PRIMARY KEY,        -- of `documents`; the text and its chunk are there
        chunk_id        INTEGER NOT NULL UNIQUE,
        words_sha256    BLOB NOT NULL,              -- first 16 bytes; of the words without case and punctuation
        tier            TEXT NOT NULL,
        importance      REAL NOT NULL,
        created_s       REAL NOT NULL,
        last_accessed_s REAL NOT NULL,
        access_count    INTEGER NOT NULL,
        expires_s       REAL,                       -- NULL: never
        source          TEXT NOT NULL,
        tags            TEXT NOT NULL,              -- a JSON list
        superseded_by   INTEGER,                    -- document_id of the newer statement
        loop            INTEGER NOT NULL,
        refreshed       INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS memory_by_tier ON memory_entries (tier, expires_s);
    CREATE INDEX IF NOT EXISTS memory_by_expiry ON memory_entries (expires_s);
    CREATE INDEX IF NOT EXISTS memory_by_words ON memory_entries (words_sha256);
    -- Answers of ours, as hashes of their word pairs: enough to know one again, nothing to read.
    CREATE TABLE IF NOT EXISTS memory_answers (
        id    INTEGER PRIMARY KEY AUTOINCREMENT,
        pairs BLOB NOT NULL                         -- little-endian 64-bit numbers, ascending
    ) STRICT;
    INSERT OR IGNORE INTO counters VALUES ('memory_changes', 0);
"""

_COLUMNS = (
    "m.document_id, m.chunk_id, m.tier, m.importance, m.created_s, m.last_accessed_s, m.access_count, m.expires_s,"
    " m.source, m.tags, m.superseded_by, m.loop, m.refreshed, c.tile"
)
_FROM = "memory_entries m JOIN chunks c ON c.id = m.chunk_id"
_LIVE = "(m.expires_s IS NULL OR m.expires_s > ?)"
_GIVEN = "(SELECT value FROM json_each(?))"


def has_tables(db: apsw.Connection) -> bool:
    """Whether the catalog holds memories' tables."""
    return first(db, "SELECT 1 FROM sqlite_master WHERE name = 'memory_answers'") is not None


def create_tables(db: apsw.Connection) -> None:
    """Make the tables where they are not there."""
    db.execute(_TABLES)


def entry_id(document_id: int) -> str:
    """An entry's id for people: `m12`."""
    return f"m{document_id}"


def document_id_of(entry: str) -> int | None:
    """The number in an entry's id; None for what is no such id."""
    number = entry.removeprefix("m")
    return (
        int(number)
        if entry.startswith("m") and number.isascii() and number.isdigit() and len(number) < 19
        else None
    )


def insert(db: apsw.Connection, entry: MemoryEntry, *, words_sha256: bytes) -> None:
    """Add the row of an entry whose document is already there."""
    db.execute(
        "INSERT INTO memory_entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.document_id,
            entry.chunk_id,
            words_sha256,
            entry.tier,
            entry.importance,
            entry.created_s,
            entry.last_accessed_s,
            entry.access_count,
            entry.expires_s,
            entry.source,
            json.dumps(entry.tags, ensure_ascii=False),
            None,
            int(entry.loop),
            entry.refreshed,
        ),
    )
    counters.advance(db, "memory_changes")


def live(db: apsw.Connection, now_s: float, *, tier: str | None = None) -> list[MemoryEntry]:
    """Every entry that has not expired, oldest first."""
    query = f"SELECT {_COLUMNS} FROM {_FROM} WHERE {_LIVE}"
    found = (
        rows(db, f"{query} ORDER BY m.document_id", (now_s,))
        if tier is None
        else rows(db, f"{query} AND m.tier = ? ORDER BY m.document_id", (now_s, tier))
    )
    return [_entry(fields) for fields in found]


def changes(db: apsw.Connection) -> int:
    """A number that grows whenever an entry is added, removed or altered in what ranks it; not by recalls."""
    return counters.value(db, "memory_changes")


def ranking_rows(db: apsw.Connection) -> list[tuple[int, int, float, int, float, float | None, str]]:
    """Of every entry, by document id: that, chunk id, importance, superseded 0 or 1, when made, expiry, tier."""
    query = (
        "SELECT document_id, chunk_id, importance, superseded_by IS NOT NULL, created_s, expires_s, tier"
        " FROM memory_entries"
        " ORDER BY document_id"
    )
    return db.execute(query).fetchall()  # type: ignore[return-value]  # columns as in the query


def by_chunks(db: apsw.Connection, chunk_ids: Sequence[int], now_s: float) -> dict[int, MemoryEntry]:
    """Live entries by chunk id; ids of anything else are absent."""
    query = f"SELECT {_COLUMNS} FROM {_FROM} WHERE m.chunk_id IN {_GIVEN} AND {_LIVE}"
    return {fields[1]: _entry(fields) for fields in rows(db, query, (json.dumps(chunk_ids), now_s))}


def by_words(db: apsw.Connection, words_sha256: bytes, now_s: float) -> list[MemoryEntry]:
    """Live entries of these very words, oldest first."""
    query = f"SELECT {_COLUMNS} FROM {_FROM} WHERE m.words_sha256 = ? AND {_LIVE} ORDER BY m.document_id"
    return [_entry(fields) for fields in rows(db, query, (words_sha256, now_s))]


def by_id(db: apsw.Connection, entry: str, now_s: float) -> MemoryEntry | None:
    """A live entry; None for an unknown or expired one."""
    found = first(
        db,
        f"SELECT {_COLUMNS} FROM {_FROM} WHERE m.document_id = ? AND {_LIVE}",
        (document_id_of(entry), now_s),
    )
    return None if found is None else _entry(found)


def count(db: apsw.Connection, tier: str, now_s: float) -> int:
    """Live entries of a tier."""
    (number,) = row(db, f"SELECT count(*) FROM memory_entries m WHERE m.tier = ? AND {_LIVE}", (tier, now_s))
    return int(number)


def expired(db: apsw.Connection, now_s: float) -> list[int]:
    """Document ids of entries whose time is over."""
    query = "SELECT document_id FROM memory_entries WHERE expires_s <= ?"
    return [document_id for (document_id,) in rows(db, query, (now_s,))]


def remove(db: apsw.Connection, document_ids: Iterable[int]) -> int:
    """Remove entries with their texts and vectors, and what points at them; how many."""
    removed = 0
    for document_id in document_ids:
        db.execute("DELETE FROM memory_entries WHERE document_id = ?", (document_id,))
        removed += db.changes()
        db.execute("UPDATE memory_entries SET superseded_by = NULL WHERE superseded_by = ?", (document_id,))
        storing.delete_documents(db, [document_id])
    if removed:
        counters.advance(db, "memory_changes")
    return removed


def without_text(db: apsw.Connection) -> list[int]:
    """Document ids of rows whose document somebody deleted through the collection."""
    query = "SELECT document_id FROM memory_entries WHERE chunk_id NOT IN (SELECT id FROM chunks)"
    return [document_id for (document_id,) in rows(db, query)]


def touch(db: apsw.Connection, document_ids: Sequence[int], now_s: float) -> None:
    """Count one recall of each."""
    db.execute(
        "UPDATE memory_entries SET access_count = access_count + 1, last_accessed_s = max(last_accessed_s, ?)"
        f" WHERE document_id IN {_GIVEN}",
        (now_s, json.dumps(document_ids)),
    )


def update(db: apsw.Connection, document_id: int, **values: object) -> None:
    """Set columns of one entry."""
    columns = ", ".join(f"{name} = ?" for name in values)
    bound: tuple[Any, ...] = (*values.values(), document_id)
    db.execute(f"UPDATE memory_entries SET {columns} WHERE document_id = ?", bound)
    counters.advance(db, "memory_changes")


def _entry(fields: tuple[Any, ...]) -> MemoryEntry:
    (
        document_id, chunk_id, tier, importance, created_s, last_accessed_s, access_count, expires_s, source, tags,
        superseded_by, loop, refreshed, text,
    ) = fields  # fmt: skip
    entry = MemoryEntry(
        id=entry_id(document_id),
        text=text,
        tier=tier,
        importance=importance,
        created_s=created_s,
        last_accessed_s=last_accessed_s,
        access_count=access_count,
        expires_s=expires_s,
        source=source,
        tags=() if tags == "[]" else tuple(json.loads(tags)),
        superseded_by=None if superseded_by is None else entry_id(superseded_by),
        loop=bool(loop),
        refreshed=refreshed,
        document_id=document_id,
        chunk_id=chunk_id,
    )
    return as_declared(entry)
