"""Vectors in the catalog: the queue of chunks to embed, vectors not yet sealed, segments, tombstones.

Functions over a connection that `Catalog.transaction` or `Catalog.reading` gave; those that write expect to
be inside a transaction. Vectors are rows of bytes here; what they mean is the index's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw
import numpy as np

from ragstone.store import counters
from ragstone.store.sql import DamagedRowError, as_declared, first, rows
from ragstone.types import Ids, Matrix, Precision, StoredMatrix


@dataclass(frozen=True, slots=True)
class QueuedChunk:
    """A chunk that waits for its vector; `embedding_text` is what the model has to see."""

    id: int
    document_id: int
    embedding_text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class PendingVectors:
    """Vectors not yet sealed, in the order they were committed; rows of the three arrays correspond."""

    last_sequence: int
    chunk_ids: Ids
    document_ids: Ids
    vectors: StoredMatrix


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A sealed segment the catalog vouches for; `manifest_sha256` has 32 bytes."""

    id: int
    name: str
    count: int
    manifest_sha256: bytes


def queued_chunks(db: apsw.Connection, after_id: int, limit: int) -> list[QueuedChunk]:
    """Up to `limit` chunks that wait for a vector, with ids above `after_id`, ascending."""
    found = rows(
        db,
        # Cut below, not in SQL, whose text functions end at a NUL character.
        "SELECT c.id, c.document_id, c.tokens, c.context, c.tile, c.start - c.tile_start, c.end - c.tile_start"
        " FROM unembedded u JOIN chunks c ON c.id = u.chunk_id"
        " WHERE u.chunk_id > ? ORDER BY u.chunk_id LIMIT ?",
        (after_id, limit),
    )
    return [
        as_declared(QueuedChunk(id_, document_id, context + tile[start:end], tokens))
        for id_, document_id, tokens, context, tile, start, end in found
    ]


def twins_with_vectors(db: apsw.Connection, first_id: int) -> list[tuple[int, int, int]]:
    """Queued chunks from `first_id` on whose embedding text an older chunk with a vector shares.

    As (chunk, its document, the older chunk): text that moved to another file is not embedded again.
    """
    queued = rows(
        db,
        "SELECT c.id, c.document_id, c.embedding_sha256 FROM unembedded u JOIN chunks c ON c.id = u.chunk_id"
        " WHERE u.chunk_id >= ?",
        (first_id,),
    )
    older = (
        "SELECT id FROM chunks WHERE embedding_sha256 = ? AND id < ?"
        " AND id NOT IN (SELECT chunk_id FROM unembedded) LIMIT 1"
    )
    twin_of: dict[bytes, int | None] = {}  # asked once for each text: a thousand equal chunks cost one look
    found: list[tuple[int, int, int]] = []
    for chunk_id, document_id, key in queued:
        if key not in twin_of:
            match = first(db, older, (key, first_id))
            twin_of[key] = None if match is None else int(match[0])
        twin = twin_of[key]
        if twin is not None:
            found.append((int(chunk_id), int(document_id), twin))
    return found


def add_vectors(
    db: apsw.Connection,
    chunk_ids: Sequence[int],
    document_ids: Sequence[int],
    vectors: Matrix,
    signs: Sequence[bytes] = (),
) -> int:
    """Give queued chunks their vectors, and their tokens' signs where there are any; the number of vectors stored.

    Chunks deleted meanwhile are passed over. Vectors are kept in the collection's precision.
    """
    stored = 0
    of_tokens = signs or [b""] * len(chunk_ids)
    little_endian = np.ascontiguousarray(vectors, dtype=_number(precision(db)))
    for chunk_id, document_id, vector, sign in zip(
        chunk_ids, document_ids, little_endian, of_tokens, strict=True
    ):
        db.execute("DELETE FROM unembedded WHERE chunk_id = ?", (chunk_id,))
        if db.changes():
            db.execute(
                "INSERT INTO pending_vectors (chunk_id, document_id, vector) VALUES (?, ?, ?)",
                (chunk_id, document_id, vector.tobytes()),
            )
            if sign:
                db.execute("INSERT OR REPLACE INTO token_signs VALUES (?, ?)", (chunk_id, sign))
            stored += 1
    return stored


def token_signs(db: apsw.Connection, chunk_ids: Sequence[int]) -> list[bytes]:
    """The signs of each chunk's tokens, 24 bytes a token, in the order asked for; empty where there are none."""
    query = "SELECT chunk_id, signs FROM token_signs WHERE chunk_id IN (SELECT value FROM json_each(?))"
    found = dict(rows(db, query, (json.dumps(chunk_ids),)))
    return [found.get(chunk_id, b"") for chunk_id in chunk_ids]


def pending_vectors(db: apsw.Connection, dim: int, after_sequence: int = 0) -> PendingVectors:
    """The vectors committed after `after_sequence` and not yet sealed."""
    query = (
        "SELECT sequence, chunk_id, document_id, vector FROM pending_vectors"
        " WHERE sequence > ? ORDER BY sequence"
    )
    found = list(rows(db, query, (after_sequence,)))
    kept = _number(precision(db))
    for sequence, *_, vector in found:
        if len(vector) != dim * kept.itemsize:
            raise DamagedRowError(f"pending vector {sequence} has {len(vector)} bytes")
    return PendingVectors(
        last_sequence=found[-1][0] if found else after_sequence,
        chunk_ids=np.array([fields[1] for fields in found], dtype=np.int64),
        document_ids=np.array([fields[2] for fields in found], dtype=np.int64),
        vectors=np.frombuffer(b"".join(fields[3] for fields in found), kept).reshape(len(found), dim),
    )


def vector_removals(db: apsw.Connection) -> int:
    """A count that grows whenever a vector is deleted: unchanged means pending rows were only added."""
    return counters.value(db, "vector_removals")


def segments(db: apsw.Connection) -> list[SegmentRow]:
    """The live segments, oldest first."""
    query = "SELECT id, name, count, manifest_sha256 FROM segments ORDER BY id"
    return [as_declared(SegmentRow(*fields)) for fields in rows(db, query)]


def tombstones(db: apsw.Connection) -> Ids:
    """Chunk ids deleted since they were sealed, ascending."""
    return _ids(db, "SELECT chunk_id FROM tombstones ORDER BY chunk_id")


def replace_segments(
    db: apsw.Connection,
    *,
    retired: Iterable[int],
    name: str,
    chunk_ids: Ids,
    manifest_sha256: bytes,
    sealed_up_to: int,
    purged: Ids,
) -> None:
    """Put one segment in the place of `retired` ones and of the pending vectors up to `sealed_up_to`.

    `purged` are tombstones that no segment holds any more. Chunks deleted while the segment was built get
    a tombstone here. Without `chunk_ids` no segment is added.
    """
    db.executemany("DELETE FROM segments WHERE id = ?", [(id_,) for id_ in retired])
    if len(chunk_ids):
        db.execute(
            "INSERT INTO segments (name, count, manifest_sha256, created_s) VALUES (?, ?, ?, ?)",
            (name, len(chunk_ids), manifest_sha256, time.time()),
        )
    db.execute("DELETE FROM pending_vectors WHERE sequence <= ?", (sealed_up_to,))
    db.executemany("DELETE FROM tombstones WHERE chunk_id = ?", [(id_,) for id_ in purged.tolist()])
    add_missing_tombstones(db, chunk_ids)


def add_missing_tombstones(db: apsw.Connection, sealed: Ids) -> None:
    """Bury the sealed rows whose chunk no longer exists."""
    gone = np.setdiff1d(sealed, _ids(db, "SELECT id FROM chunks"))
    db.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", [(id_,) for id_ in gone.tolist()])
    counters.advance(db, "vector_removals")


def drop_wrong_tombstones(db: apsw.Connection) -> None:
    """Give chunks that exist back to the searches that a tombstone hides them from: ids are never reused."""
    db.execute("DELETE FROM tombstones WHERE chunk_id IN (SELECT id FROM chunks)")
    counters.advance(db, "vector_removals")


def drop_idle_tombstones(db: apsw.Connection, sealed: Ids) -> None:
    """Forget the tombstones of rows that no segment holds: they would count as rows to be purged for ever."""
    idle = np.setdiff1d(tombstones(db), sealed)
    db.executemany("DELETE FROM tombstones WHERE chunk_id = ?", [(id_,) for id_ in idle.tolist()])


def waiting_chunks(db: apsw.Connection) -> tuple[Ids, Ids]:
    """Ids, ascending, of the chunks whose vectors are not sealed yet, and of those that wait for one."""
    pending = _ids(db, "SELECT chunk_id FROM pending_vectors ORDER BY chunk_id")
    return pending, _ids(db, "SELECT chunk_id FROM unembedded ORDER BY chunk_id")


def drop_doubled(db: apsw.Connection, sealed: Ids) -> None:
    """Take chunks out of the queues whose vector is already `sealed`, or pending: one place is enough."""
    done = [(id_,) for id_ in sealed.tolist()]
    db.executemany("DELETE FROM pending_vectors WHERE chunk_id = ?", done)
    db.executemany("DELETE FROM unembedded WHERE chunk_id = ?", done)
    db.execute("DELETE FROM unembedded WHERE chunk_id IN (SELECT chunk_id FROM pending_vectors)")
    counters.advance(db, "vector_removals")


def plans(db: apsw.Connection) -> list[object]:
    """The plans applied to the collection, as `Plan.to_json` gave them, oldest first; none: chosen by size."""
    return [json.loads(plan) for (plan,) in rows(db, "SELECT plan FROM plans ORDER BY id")]


def push_plan(db: apsw.Connection, plan: str, recall: float) -> None:
    """Record a plan as the one applied last."""
    db.execute("INSERT INTO plans (plan, recall, applied_s) VALUES (?, ?, ?)", (plan, recall, time.time()))


def pop_plan(db: apsw.Connection) -> None:
    """Forget the plan applied last."""
    db.execute("DELETE FROM plans WHERE id = (SELECT max(id) FROM plans)")


def precision(db: apsw.Connection) -> Precision:
    """How the collection keeps its vectors."""
    found = first(db, "SELECT value FROM identity WHERE key = 'precision'")
    return "float32" if found == ("float32",) else "float16"


def _number(kept: Precision) -> np.dtype[Any]:
    return np.dtype(kept).newbyteorder("<")


def dimension(db: apsw.Connection) -> int:
    """Length of the collection's vectors; 0 before its first write."""
    found = first(db, "SELECT value FROM identity WHERE key = 'dim'")
    if found and not str(found[0]).isdecimal():
        raise DamagedRowError(f"the dimension is {found[0]!r}")
    return int(found[0]) if found else 0


def queue_chunks_without_vector(db: apsw.Connection, sealed: Ids) -> int:
    """Queue for embedding the chunks that are neither queued, nor pending, nor among `sealed`; how many."""
    lost = np.setdiff1d(_ids(db, _CHUNKS_NOT_WAITING), sealed)
    db.executemany("INSERT INTO unembedded VALUES (?)", [(id_,) for id_ in lost.tolist()])
    return len(lost)


_CHUNKS_NOT_WAITING = (
    "SELECT id FROM chunks WHERE id NOT IN (SELECT chunk_id FROM unembedded)"
    " AND id NOT IN (SELECT chunk_id FROM pending_vectors)"
)


def chunks_expected_in_segments(db: apsw.Connection) -> Ids:
    """Ids, ascending, of the chunks whose vectors must be in some segment."""
    return np.sort(_ids(db, _CHUNKS_NOT_WAITING))


def _ids(db: apsw.Connection, query: str) -> Ids:
    return np.fromiter((id_ for (id_,) in rows(db, query)), dtype=np.int64)
