"""Documents and chunks put into the catalog, and taken out of it.

Functions over a connection that `Catalog.transaction` gave.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import apsw

from ragstone.errors import DocumentError
from ragstone.store import counters, votes
from ragstone.store.acronyms import Acronym, drop_acronyms, put_acronyms
from ragstone.store.names import drop_extraction, drop_names, put_names
from ragstone.store.sql import row, rows
from ragstone.types import Chunk, Metadata, ParsedDocument

_ISO_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}.{0,20})?)?)?\Z")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a document came from: its name, and what tells whether it changed.

    `modified_ns` is Unix nanoseconds; `content_sha256` has 32 bytes.
    """

    uri: str
    size_bytes: int
    modified_ns: int
    content_sha256: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing a document did: its id, and the ids of its chunks that are new to the catalog, in order."""

    document_id: int
    new_chunks: tuple[int, ...]


def put_document(
    db: apsw.Connection,
    source: Source,
    document: ParsedDocument,
    chunks: Sequence[Chunk],
    *,
    names: Sequence[int] = (),
    acronyms: Sequence[Acronym] = (),
) -> Stored:
    """Store a document in place of any with the same uri; `names` are the keys of what it is called, `acronyms` what
    its text says that words stand for.

    A chunk whose embedding text is unchanged keeps its id, and with it its vector; the others are queued
    for embedding and for the keyword index.
    """
    document_id = _put_row(db, source, document, len(chunks))
    put_names(db, document_id, names)
    drop_extraction(db, document_id)
    put_acronyms(db, document_id, acronyms)
    return Stored(document_id, _put_chunks(db, document_id, document.text, chunks))


def _put_chunks(db: apsw.Connection, document_id: int, text: str, chunks: Sequence[Chunk]) -> tuple[int, ...]:
    """Bring a document's chunks in step with its text; the ids of the new ones, in order."""
    kept: defaultdict[bytes, list[int]] = defaultdict(list)
    query = "SELECT id, embedding_sha256 FROM chunks WHERE document_id = ? ORDER BY ordinal DESC"
    for chunk_id, key in rows(db, query, (document_id,)):
        kept[key].append(chunk_id)

    new: list[tuple[Any, ...]] = []
    moved: list[tuple[Any, ...]] = []
    for ordinal, (chunk, tile_start, tile_end) in enumerate(_tiled(chunks, len(text))):
        context = chunk.embedding_text.removesuffix(text[chunk.start : chunk.end])
        headings = json.dumps(chunk.headings, ensure_ascii=False)
        place = (ordinal, tile_start, chunk.start, chunk.end, chunk.page, chunk.time_s, headings, context)
        tile = text[tile_start:tile_end]
        key = embedding_key(chunk.embedding_text)
        if kept[key]:
            moved.append((*place, tile, kept[key].pop()))
        else:
            new.append((document_id, *place, chunk.tokens, key, tile))

    remove_chunks(db, [chunk_id for ids in kept.values() for chunk_id in ids])
    db.executemany(
        "UPDATE chunks SET ordinal = ?, tile_start = ?, start = ?, end = ?, page = ?, time_s = ?, headings = ?,"
        " context = ?, tile = ? WHERE id = ?",
        moved,
    )
    return tuple(_put_chunk(db, values) for values in new)


def _tiled(chunks: Iterable[Chunk], length: int) -> Iterator[tuple[Chunk, int, int]]:
    """Each chunk with its tile, up to where the next one begins: together they are all of the text."""
    tile_start, before = 0, None
    for chunk in chunks:
        if before is not None:
            yield before, tile_start, chunk.start
            tile_start = chunk.start
        before = chunk
    if before is not None:
        yield before, tile_start, length


def _put_chunk(db: apsw.Connection, values: tuple[Any, ...]) -> int:
    """Queued for embedding and for the keyword index; its id."""
    db.execute(
        "INSERT INTO chunks (document_id, ordinal, tile_start, start, end, page, time_s, headings, context,"
        " tokens, embedding_sha256, tile) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    chunk_id = db.last_insert_rowid()
    db.execute("INSERT INTO unembedded VALUES (?)", (chunk_id,))
    db.execute("INSERT INTO changes (chunk_id, deleted) VALUES (?, 0)", (chunk_id,))
    return chunk_id


def touch_document(db: apsw.Connection, document_id: int, source: Source) -> None:
    """Record that a file was touched but its content is the same, so that it is not hashed again."""
    db.execute(
        "UPDATE documents SET size_bytes = ?, modified_ns = ? WHERE id = ?",
        (source.size_bytes, source.modified_ns, document_id),
    )


def delete_documents(db: apsw.Connection, document_ids: Iterable[int]) -> None:
    """Remove documents and their chunks; unknown ids are ignored."""
    for document_id in document_ids:
        query = "SELECT id FROM chunks WHERE document_id = ?"
        remove_chunks(db, [chunk_id for (chunk_id,) in rows(db, query, (document_id,))])
        drop_names(db, document_id)
        drop_extraction(db, document_id)
        drop_acronyms(db, document_id)
        db.execute("DELETE FROM documents WHERE id = ?", (document_id,))


def remove_chunks(db: apsw.Connection, chunk_ids: Sequence[int]) -> None:
    """Remove chunks with their vectors; those already sealed in a segment leave a tombstone."""
    if not chunk_ids:
        return
    for chunk_id in chunk_ids:
        db.execute("DELETE FROM chunks WHERE id = ?", (chunk_id,))
        db.execute("INSERT INTO changes (chunk_id, deleted) VALUES (?, 1)", (chunk_id,))
        db.execute("DELETE FROM token_signs WHERE chunk_id = ?", (chunk_id,))
        votes.of_removed_chunk(db, chunk_id)
        db.execute("DELETE FROM unembedded WHERE chunk_id = ?", (chunk_id,))
        waiting = db.changes()
        db.execute("DELETE FROM pending_vectors WHERE chunk_id = ?", (chunk_id,))
        if not waiting and not db.changes():
            db.execute("INSERT INTO tombstones VALUES (?)", (chunk_id,))
    counters.advance(db, "vector_removals")


def embedding_key(embedding_text: str) -> bytes:
    """16 bytes that are equal for texts the model sees as equal (truncated SHA-256)."""
    return hashlib.sha256(embedding_text.encode()).digest()[:16]


def _put_row(db: apsw.Connection, source: Source, document: ParsedDocument, chunk_count: int) -> int:
    values = (
        document.title,
        document.format,
        PurePosixPath(source.uri).suffix.lower().removeprefix("."),
        _date(document.metadata, source.modified_ns),
        source.size_bytes,
        source.modified_ns,
        source.content_sha256,
        time.time(),
        chunk_count,
        json.dumps(dict(document.metadata), ensure_ascii=False),
    )
    db.execute("DELETE FROM failures WHERE uri = ?", (source.uri,))
    (document_id,) = row(
        db,
        "INSERT INTO documents (uri, title, format, extension, date, size_bytes, modified_ns, content_sha256,"
        " indexed_s, chunk_count, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (uri) DO UPDATE SET title = excluded.title, format = excluded.format,"
        " extension = excluded.extension, date = excluded.date, size_bytes = excluded.size_bytes,"
        " modified_ns = excluded.modified_ns, content_sha256 = excluded.content_sha256,"
        " indexed_s = excluded.indexed_s, chunk_count = excluded.chunk_count, metadata = excluded.metadata"
        " RETURNING id",
        (source.uri, *values),
    )
    return int(document_id)


def _date(metadata: Metadata, modified_ns: int) -> str:
    own = metadata.get("date")
    if isinstance(own, str) and _ISO_DATE.match(own):
        return own
    return datetime.fromtimestamp(modified_ns / 1e9, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def put_failure(
    db: apsw.Connection, uri: str, size_bytes: int, modified_ns: int, error: DocumentError
) -> None:
    """Remember why a file could not be read, until it changes."""
    db.execute(
        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)",
        (uri, size_bytes, modified_ns, error.code, error.message),
    )
