"""A memory in Redis, for several processes and machines: the same store, as a copy that follows.

Redis holds the truth (`redis_truth`). Each process keeps a copy of it in a folder, which is a `MemoryStore`: whatever
it does begins with the changes of others, and what it changes is in Redis before its own transaction commits. A copy
that is lost, or of a Redis that was emptied or went back in time, is made anew.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from ragstone.errors import StoreError
from ragstone.filling import seal_tail
from ragstone.memory import entries, writing
from ragstone.memory.redis_truth import TURN_S, RedisTruth, Since
from ragstone.memory.statements import Statement
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import Clock, Policy
from ragstone.store import vectors
from ragstone.store.sql import first, rows
from ragstone.types import Embedder

logger = logging.getLogger("ragstone.memory")

# Items are `e12`, an entry, and `a3`, the hashes of an answer.
_TABLES = """
    CREATE TABLE IF NOT EXISTS memory_copy (head TEXT NOT NULL) STRICT;       -- what of Redis it holds; one row
    CREATE TABLE IF NOT EXISTS memory_touched (item TEXT PRIMARY KEY, new INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO memory_copy SELECT '' WHERE NOT EXISTS (SELECT 1 FROM memory_copy);
""" + "".join(
    f"""
    CREATE TRIGGER IF NOT EXISTS {table}_{event} AFTER {event} ON {table} BEGIN
        INSERT INTO memory_touched VALUES ('{letter}' || {row}.{key}, {int(event == "INSERT")}) ON CONFLICT DO NOTHING;
    END;
    """
    for table, letter, key in (("memory_entries", "e", "document_id"), ("memory_answers", "a", "id"))
    for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
)
_FIELDS = (
    "tier", "importance", "created_s", "last_accessed_s", "access_count", "expires_s", "source", "tags",
    "superseded_by", "loop", "refreshed",
)  # fmt: skip


class SharedMemoryStore(MemoryStore):
    """A `MemoryStore` whose entries are in Redis. `folder` holds this machine's copy."""

    def __init__(
        self,
        folder: Path,
        *,
        url: str,
        name: str,
        embedder: Embedder,
        policy: Policy | None = None,
        clock: Clock = time.time,
        turn_s: float = TURN_S,
    ) -> None:
        """Open the memory `name` in the Redis at `url` and bring the copy up to date.

        Raises as `MemoryStore` and `RedisTruth` do, and `StoreError` while Redis cannot be reached.
        """
        self._truth = RedisTruth(url, name, turn_s=turn_s)
        self._turns = threading.RLock()
        self._turn_name: str | None = None  # of this thread's turn; guarded by `_turns`
        self._following = threading.RLock()
        self._purge_due = False
        try:
            self._truth.settle_model(f"{embedder.model_id}, {embedder.dim} dimensions")
            super().__init__(folder, embedder=embedder, policy=policy, clock=clock)
        except BaseException:
            self._truth.close()
            raise

    def _prepare(self) -> None:
        super()._prepare()
        with self._collection.catalog.transaction() as db:
            db.execute(_TABLES)
            if first(db, "SELECT 1 FROM memory_touched"):  # by damage, since no change of ours left it
                db.execute("DELETE FROM memory_touched")
                db.execute("UPDATE memory_copy SET head = ''")
        self._follow()

    def close(self) -> None:
        """Let go of Redis and the copy's files."""
        self._truth.close()
        super().close()

    def _leave_no_trace(self) -> None:
        super()._leave_no_trace()
        self._truth.rewrite_files()

    # -- following ---------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        self._follow()
        with super()._reading() as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn(), super()._writing():
            yield

    @contextmanager
    def _changing(self, *, forgetting: bool = False) -> Iterator[apsw.Connection]:
        with self._turn() as turn, super()._changing() as db:
            yield db
            self._tell(db, turn, forgetting=forgetting)

    @contextmanager
    def _turn(self) -> Iterator[str]:
        """Changing the memory, for all processes, and knowing what they changed before. Turns within turns are one."""
        with self._turns, ExitStack() as taken:
            if self._turn_name is not None:
                yield self._turn_name
                return
            self._turn_name = taken.enter_context(self._truth.turn())
            try:
                self._follow()
                yield self._turn_name
            finally:
                self._turn_name = None

    def _follow(self) -> None:
        """Bring the copy up to what Redis holds now."""
        with self._following:
            if self._truth_since() is None:
                return
            with self._alone():
                since = (
                    self._truth_since()
                )  # another process may have brought a copy that it shares up to date
                if since is None:
                    return
                with self._collection.catalog.transaction() as db:
                    held = self._apply(db, since)
                self._collection.follow_changes()
                seal_tail(self._collection)
                if since.forgotten or (since.anew and held):
                    self._purge_due = True
                if self._purge_due:
                    self._purge()

    def _purge(self) -> None:
        """Let the copy's files hold nothing of what was forgotten elsewhere; later, while others read them."""
        try:
            self._collection.purge()
            self._purge_due = False
        except StoreError as error:
            logger.warning(
                "what was forgotten leaves %s with the next change: %s", self._collection.folder, error
            )

    def _truth_since(self) -> Since | None:
        with self._collection.catalog.reading() as db:
            return self._truth.since(_head(db))

    def _apply(self, db: apsw.Connection, since: Since) -> bool:
        """Make the copy's rows those of Redis; whether some had to go."""
        known = {f"e{number}" for (number,) in rows(db, "SELECT document_id FROM memory_entries")}
        if since.anew:
            gone = known
            db.execute("DELETE FROM memory_answers")
        else:
            gone = set() if since.there is None else known - since.there
            if since.there is not None:
                answers = {f"a{number}" for (number,) in rows(db, "SELECT id FROM memory_answers")}
                lost = [int(item[1:]) for item in answers - since.there]
                db.executemany("DELETE FROM memory_answers WHERE id = ?", [(number,) for number in lost])
        entries.remove(db, [int(item[1:]) for item in gone])
        known -= gone
        if since.anew:  # numbers are Redis's, and its may begin again
            db.execute("UPDATE sqlite_sequence SET seq = 0 WHERE name IN ('documents', 'memory_answers')")
        changed = sorted((item for item in since.items if item[0] == "e"), key=lambda item: int(item[1:]))
        new = [item for item in changed if item not in known]
        kept = dict(zip(new, self._truth.vectors(new), strict=True))
        for item in changed:
            values = json.loads(since.items[item])
            text, number = values.pop("text"), int(item[1:])
            if item in kept:
                held = kept[item]
                if held is None:
                    continue  # removed since: the next look says so
                self._put(db, number, text, held, values)
            entries.update(db, number, **values)
        for item, value in since.items.items():
            if item[0] == "a":
                pairs = (int(item[1:]), bytes.fromhex(json.loads(value)))
                db.execute("INSERT OR REPLACE INTO memory_answers VALUES (?, ?)", pairs)
        _count_from(db, "documents", since.entry)
        _count_from(db, "memory_answers", since.answer)
        db.execute("DELETE FROM memory_touched")
        db.execute("UPDATE memory_copy SET head = ?", (since.head,))
        return bool(gone)

    def _put(self, db: apsw.Connection, number: int, text: str, held: bytes, values: dict[str, Any]) -> None:
        """Write the document of an entry that others added, under its number."""
        at = 4 * self._embedder.dim
        vector, signs = np.frombuffer(held[:at], "<f4"), held[at:]
        _count_from(db, "documents", number - 1)
        statement = Statement(text)
        document_id, chunk_id = writing.put_text(db, statement, vector, signs, values["created_s"])
        if document_id != number:
            raise StoreError(
                f"the copy of the memory has given number {number} to something else",
                hint=f"delete {self._collection.folder}: it is made again from Redis",
            )
        db.execute(
            "INSERT INTO memory_entries (document_id, chunk_id, words_sha256, tier, importance, created_s,"
            " last_accessed_s, access_count, source, tags, loop, refreshed)"
            " VALUES (?, ?, ?, '', 0, 0, 0, 0, '', '', 0, 0)",
            (document_id, chunk_id, writing.words_sha256(statement)),
        )

    def _tell(self, db: apsw.Connection, turn: str, *, forgetting: bool) -> None:
        """Send what this transaction changed to Redis; it commits only after that."""
        touched = [(str(item), bool(new)) for item, new in rows(db, "SELECT item, new FROM memory_touched")]
        if not touched:
            return
        items: dict[str, tuple[str, bytes]] = {}
        removed = []
        for item, new in touched:
            value = _entry_json(db, item) if item[0] == "e" else _answer_json(db, item)
            if value is None:
                removed.append(item)
            else:
                items[item] = (value, self._held(db, int(item[1:])) if new and item[0] == "e" else b"")
        numbers = (_counted(db, "documents"), _counted(db, "memory_answers"))
        head = self._truth.change(
            turn,
            _head(db),
            removed=removed,
            items=items,
            entry=numbers[0],
            answer=numbers[1],
            forgotten=forgetting,
        )
        db.execute("DELETE FROM memory_touched")
        db.execute("UPDATE memory_copy SET head = ?", (head,))

    def _held(self, db: apsw.Connection, number: int) -> bytes:
        """An entry's vector, little-endian float32, and the signs of its tokens."""
        found = first(
            db,
            "SELECT p.vector, t.signs FROM pending_vectors p LEFT JOIN token_signs t ON t.chunk_id = p.chunk_id"
            " WHERE p.document_id = ?",
            (number,),
        )
        assert found is not None  # noqa: S101 - it was written in this transaction
        kind = "<f4" if vectors.precision(db) == "float32" else "<f2"
        return np.frombuffer(found[0], kind).astype("<f4").tobytes() + bytes(found[1] or b"")


def _head(db: apsw.Connection) -> str:
    found = first(db, "SELECT head FROM memory_copy")
    return "" if found is None else str(found[0])


def _entry_json(db: apsw.Connection, item: str) -> str | None:
    """An entry's row and text; None for one that is gone."""
    columns = ", ".join(f"m.{name}" for name in _FIELDS)
    found = first(
        db,
        f"SELECT {columns}, c.tile FROM memory_entries m JOIN chunks c ON c.id = m.chunk_id WHERE m.document_id = ?",
        (int(item[1:]),),
    )
    return None if found is None else json.dumps(dict(zip((*_FIELDS, "text"), found, strict=True)))


def _answer_json(db: apsw.Connection, item: str) -> str | None:
    found = first(db, "SELECT pairs FROM memory_answers WHERE id = ?", (int(item[1:]),))
    return None if found is None else json.dumps(bytes(found[0]).hex())


def _counted(db: apsw.Connection, table: str) -> int:
    """The newest number that a table gave."""
    found = first(db, "SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
    return 0 if found is None else int(found[0])


def _count_from(db: apsw.Connection, table: str, number: int) -> None:
    """Let a table's next number be above `number`, and above all that it gave."""
    if _counted(db, table) >= number:
        return
    db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (number, table))
    if not db.changes():
        db.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, number))
