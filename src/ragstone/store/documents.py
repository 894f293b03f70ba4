"""Documents and chunks in the catalog: compared, listed, filtered, read.

Functions over a connection that `Catalog.transaction` or `Catalog.reading` gave.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import apsw
import numpy as np

from ragstone.errors import NotFoundError
from ragstone.store.filters import compile_filter
from ragstone.store.keyword_tail import KeywordEntry
from ragstone.store.sql import as_declared, first, row, rows, rows_at_once
from ragstone.store.storing import embedding_key
from ragstone.types import DocumentInfo, Hit, Ids

# Rows by their ids, a JSON list: 5 µs each, 15 by a statement of their own.
_GIVEN_IDS = "(SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class DocumentState:
    """A document as the last indexing run left it."""

    id: int
    size_bytes: int
    modified_ns: int
    content_sha256: bytes


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """Why a file could not be read the last time, and what it looked like then."""

    size_bytes: int
    modified_ns: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of the catalog; `unembedded` chunks wait for a vector, `pending` vectors for a segment."""

    documents: int
    chunks: int
    unembedded: int
    pending: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """`unembedded` chunks wait for a vector, `pending` vectors for a segment."""

    unembedded: int
    pending: int


def states_below(db: apsw.Connection, root_uri: str) -> dict[str, DocumentState]:
    """The documents at `root_uri` or in the folder of that name, by uri."""
    found = rows(
        db,
        "SELECT uri, id, size_bytes, modified_ns, content_sha256 FROM documents"
        " WHERE uri = ? OR (uri >= ? AND uri < ?)",
        _range_below(root_uri),
    )
    return {uri: as_declared(DocumentState(*state)) for uri, *state in found}


def failures_below(db: apsw.Connection, root_uri: str) -> dict[str, KnownFailure]:
    """The files at `root_uri` or in the folder of that name that could not be read, by uri."""
    found = rows(
        db,
        "SELECT uri, size_bytes, modified_ns, code, message FROM failures WHERE uri = ? OR (uri >= ? AND uri < ?)",
        _range_below(root_uri),
    )
    return {uri: as_declared(KnownFailure(*fields)) for uri, *fields in found}


def _range_below(root_uri: str) -> tuple[str, str, str]:
    folder = root_uri.rstrip("/")
    return root_uri, folder + "/", folder + "0"  # "0" is the character after "/": a prefix as an index range


def known_ids(db: apsw.Connection, uris: Sequence[str]) -> list[int]:
    """The ids of those documents that exist, by uri."""
    found = (first(db, "SELECT id FROM documents WHERE uri = ?", (uri,)) for uri in uris)
    return [int(row_[0]) for row_ in found if row_ is not None]


def document_ids(db: apsw.Connection, uris: Sequence[str]) -> list[int]:
    """The ids of documents by uri, in that order. Raises `NotFoundError` naming the first unknown one."""
    ids: list[int] = []
    for uri in uris:
        found = first(db, "SELECT id FROM documents WHERE uri = ?", (uri,))
        if found is None:
            raise NotFoundError(f"no document {uri!r} in this collection", hint="`ragstone list` shows them")
        ids.append(int(found[0]))
    return ids


_INFO = (
    "SELECT id, uri, title, format, size_bytes, modified_ns / 1e9, indexed_s, chunk_count, metadata"
    " FROM documents"
)


def list_documents(db: apsw.Connection, filter_text: str | None = None) -> list[DocumentInfo]:
    """Every document (that passes a filter), by uri. Raises `InputError` for a malformed filter."""
    condition, values = compile_filter(filter_text or "")
    found = rows(db, f"{_INFO} WHERE {condition} ORDER BY uri", values)
    return [_info(fields) for fields in found]


def document_info(db: apsw.Connection, document_id: int) -> DocumentInfo:
    """One document as listed; it must exist."""
    return _info(row(db, f"{_INFO} WHERE id = ?", (document_id,)))


def _info(fields: tuple[Any, ...]) -> DocumentInfo:
    *facts, metadata = fields
    return as_declared(DocumentInfo(*(*facts, json.loads(metadata))))


def document_text(db: apsw.Connection, document_id: int) -> str:
    """The whole text of a document, exactly as its reader gave it."""
    query = "SELECT tile FROM chunks WHERE document_id = ? ORDER BY ordinal"
    return "".join(tile for (tile,) in rows(db, query, (document_id,)))


def texts(db: apsw.Connection) -> Iterator[tuple[int, str]]:
    """The id and whole text of every document, by id, one in memory at a time."""
    query = "SELECT document_id, tile FROM chunks ORDER BY document_id, ordinal"
    for document_id, tiles in groupby(rows(db, query), key=itemgetter(0)):
        yield int(document_id), "".join(tile for _, tile in tiles)


def allowed_documents(db: apsw.Connection, filter_text: str) -> Ids:
    """Ids, ascending, of the documents that pass a filter. Raises `InputError` for a malformed one."""
    condition, values = compile_filter(filter_text)
    found = rows(db, f"SELECT id FROM documents WHERE {condition} ORDER BY id", values)
    return np.fromiter((id_ for (id_,) in found), dtype=np.int64)


def hits(
    db: apsw.Connection,
    chunk_ids: Sequence[int],
    scores: Sequence[float],
    sources: Mapping[int, Mapping[str, float]],
    *,
    collection: str,
) -> tuple[Hit, ...]:
    """Scored chunks with what a hit shows of them, in the order of `chunk_ids`; those deleted since are left out."""
    rows_found = rows_at_once(
        db,
        "c.id, d.uri, d.title, c.tile, c.tile_start, c.start, c.end, c.page, c.time_s, c.headings, d.metadata",
        f"FROM chunks c JOIN documents d ON d.id = c.document_id WHERE c.id IN {_GIVEN_IDS}",
        (json.dumps(chunk_ids),),
    )
    score_of = dict(zip(chunk_ids, scores, strict=True))
    found = {
        id_: Hit(
            id=id_,
            uri=uri,
            title=title,
            text=tile[start - tile_start : end - tile_start],
            score=score_of[id_],
            start=start,
            end=end,
            page=page,
            time_s=time_s,
            # Parsing costs 4 µs, as much as the rest of a hit, and most of them have nothing here.
            headings=() if headings == "[]" else tuple(json.loads(headings)),
            sources=sources[id_],
            metadata={} if metadata == "{}" else json.loads(metadata),
            collection=collection,
        )
        for id_, uri, title, tile, tile_start, start, end, page, time_s, headings, metadata in rows_found
    }
    return tuple(as_declared(found[id_]) for id_ in chunk_ids if id_ in found)


def titled_texts(db: apsw.Connection, chunk_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    """The document's title and the text of each chunk; ids deleted since are absent."""
    query = (
        "SELECT c.id, d.title, c.tile, c.start - c.tile_start, c.end - c.tile_start FROM chunks c"
        f" JOIN documents d ON d.id = c.document_id WHERE c.id IN {_GIVEN_IDS}"
    )
    found = rows(db, query, (json.dumps(chunk_ids),))
    return {id_: (title, tile[start:end]) for id_, title, tile, start, end in found}


def keyword_entries(db: apsw.Connection, chunk_ids: Sequence[int]) -> list[KeywordEntry]:
    """Title, context and body of chunks, in the order of their ids; ids deleted since are left out.

    A chunk that opens with the title has it twice, as every other chunk has it once more than its body:
    without that, BM25 lost .017 nDCG@10 on hotpotqa (LAB 2026-11-21).
    """
    # Cut here, not in SQL, whose text functions end at a NUL character.
    query = (
        "SELECT c.id, c.document_id, d.title, c.context, c.tile, c.start - c.tile_start, c.end - c.tile_start"
        f" FROM chunks c JOIN documents d ON d.id = c.document_id WHERE c.id IN {_GIVEN_IDS}"
    )
    found = {
        id_: KeywordEntry(id_, document_id, _titled(title, context) + tile[start:end])
        for id_, document_id, title, context, tile, start, end in rows(db, query, (json.dumps(chunk_ids),))
    }
    return [found[id_] for id_ in chunk_ids if id_ in found]


def _titled(title: str, context: str) -> str:
    return context if not title or context.startswith(title) else f"{title}\n{context}"


def chunk_ids_after(db: apsw.Connection, last_id: int, limit: int) -> list[int]:
    """Up to `limit` chunk ids above `last_id`, ascending."""
    query = "SELECT id FROM chunks WHERE id > ? ORDER BY id LIMIT ?"
    return [chunk_id for (chunk_id,) in rows(db, query, (last_id, limit))]


def chunk_ids(db: apsw.Connection) -> Ids:
    """The ids of all chunks, ascending."""
    return np.fromiter((id_ for (id_,) in rows(db, "SELECT id FROM chunks ORDER BY id")), dtype=np.int64)


def waiting(db: apsw.Connection) -> Waiting:
    """How much is still to embed and to seal; costs by what waits, not by what there is."""
    (unembedded,) = row(db, "SELECT count(*) FROM unembedded")
    (pending,) = row(db, "SELECT count(*) FROM pending_vectors")
    return Waiting(int(unembedded), int(pending))


def counts(db: apsw.Connection) -> Counts:
    """How many rows of each kind there are; walks an index of each table."""
    tables = ("documents", "chunks", "unembedded", "pending_vectors", "tombstones")
    selected = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    return Counts(*row(db, f"SELECT {selected}"))


def altered_chunks(db: apsw.Connection) -> list[str]:
    """What is wrong with up to 10 chunks: their document is not there, or their text does not match its hash.

    SQLite has no checksums of its own; this reads every text, ≈ 200k chunks a second.
    """
    query = (
        "SELECT id, context, tile, start - tile_start, end - tile_start, embedding_sha256,"
        " document_id IN (SELECT id FROM documents) FROM chunks"
    )
    altered: list[str] = []
    for id_, context, tile, start, end, key, has_document in rows(db, query):
        if not has_document:
            altered.append(f"the document of chunk {id_} is not there")
        elif embedding_key(context + tile[start:end]) != key:
            altered.append(f"the text of chunk {id_} is not what was stored")
        if len(altered) == 10:
            break
    return altered


def last_chunk_id(db: apsw.Connection) -> int:
    """The highest chunk id ever given, 0 before the first."""
    found = first(db, "SELECT seq FROM sqlite_sequence WHERE name = 'chunks'")
    return int(found[0]) if found else 0
