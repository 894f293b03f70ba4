"""Which document bears which name, in the catalog: the stored edges of the graph.

Functions over a connection that `Catalog.transaction` or `Catalog.reading` gave; those that write expect to be
inside a transaction. Names are 64-bit keys here (`graph.names.name_key`); what they stand for is the graph's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import apsw

from ragstone.store import counters
from ragstone.store.sql import any_row, row, rows

_GIVEN = "(SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Bearers:
    """The documents that bear a name, ascending, and how many chunks they have together."""

    documents: tuple[int, ...]
    chunks: int


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """`nodes`: names that documents bear; `edges`: names times the documents that bear each."""

    nodes: int
    edges: int


def put_names(db: apsw.Connection, document_id: int, keys: Iterable[int]) -> None:
    """Give a document these names in place of those it has."""
    drop_names(db, document_id)
    for key in dict.fromkeys(keys):
        db.execute("INSERT INTO names VALUES (?, ?)", (key, document_id))


def drop_names(db: apsw.Connection, document_id: int) -> None:
    """Forget the names of a document."""
    db.execute("DELETE FROM names WHERE document_id = ?", (document_id,))


def of_chunks(db: apsw.Connection, chunk_ids: Sequence[int]) -> dict[int, set[int]]:
    """The names of the documents that chunks are of; nothing for a chunk deleted since."""
    query = (
        "SELECT c.id, n.name FROM chunks c JOIN names n ON n.document_id = c.document_id"
        f" WHERE c.id IN {_GIVEN} ORDER BY c.id"
    )
    found = groupby(rows(db, query, (json.dumps(chunk_ids),)), key=itemgetter(0))
    return {chunk_id: {key for _, key in of_chunk} for chunk_id, of_chunk in found}


def known_names(db: apsw.Connection, keys: Sequence[int], limit: int) -> dict[int, int]:
    """Those of the keys that some document bears, and how many do, counted up to `limit`; 1 µs each."""
    query = (
        "SELECT value, (SELECT count(*) FROM (SELECT 1 FROM names WHERE name = value LIMIT ?)) AS bearers"
        " FROM json_each(?) WHERE bearers"
    )
    return dict(rows(db, query, (limit, json.dumps(keys))))


def bearers(db: apsw.Connection, keys: Sequence[int]) -> dict[int, Bearers]:
    """Who bears each of some names."""
    query = (
        "SELECT n.name, n.document_id, d.chunk_count FROM names n JOIN documents d ON d.id = n.document_id"
        f" WHERE n.name IN {_GIVEN} ORDER BY n.name, n.document_id"
    )
    found = groupby(rows(db, query, (json.dumps(keys),)), key=itemgetter(0))
    return {key: _bearers(list(of_key)) for key, of_key in found}


def _bearers(found: Sequence[tuple[int, int, int]]) -> Bearers:
    return Bearers(tuple(document_id for _, document_id, _ in found), sum(count for _, _, count in found))


def chunks_of(db: apsw.Connection, document_ids: Iterable[int]) -> dict[int, list[int]]:
    """The ids of the chunks of documents, in reading order of each."""
    query = f"SELECT document_id, id FROM chunks WHERE document_id IN {_GIVEN} ORDER BY document_id, ordinal"
    found = groupby(rows(db, query, (json.dumps(list(document_ids)),)), key=itemgetter(0))
    return {document_id: [chunk_id for _, chunk_id in of_document] for document_id, of_document in found}


def are_there(db: apsw.Connection) -> bool:
    """Whether any document bears a name."""
    return any_row(db, "names")


def counts(db: apsw.Connection) -> GraphCounts:
    """How large the graph is; walks its table."""
    return GraphCounts(*row(db, "SELECT count(DISTINCT name), count(*) FROM names"))


def titles(db: apsw.Connection) -> Iterator[tuple[int, str, list[str]]]:
    """The id and title of every document, and the names that an extractor found in it."""
    query = (
        "SELECT d.id, d.title, coalesce(e.names, '[]') FROM documents d"
        " LEFT JOIN extractions e ON e.document_id = d.id ORDER BY d.id"
    )
    for document_id, title, found in rows(db, query):
        yield int(document_id), str(title), json.loads(found)


def edges(db: apsw.Connection) -> set[tuple[int, int]]:
    """Every name with a document that bears it."""
    return {(key, document_id) for key, document_id in rows(db, "SELECT name, document_id FROM names")}


def version(db: apsw.Connection) -> int:
    """The version of the rules that the names were collected by; 0 before they were."""
    return counters.value(db, "names_version")


def replace_all(db: apsw.Connection, edges: Iterable[tuple[int, int]], *, version: int) -> None:
    """Put (key, document) rows in the place of all names, and note by which rules they were collected."""
    db.execute("DELETE FROM names")
    db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?)", edges)
    counters.put(db, "names_version", version)


# -- extractors ----------------------------------------------------------------------------------------------


def put_extraction(db: apsw.Connection, document_id: int, extractor: str, found: Sequence[str]) -> None:
    """Note what names an extractor found in a document, as written there."""
    names = json.dumps(found, ensure_ascii=False)
    db.execute("INSERT OR REPLACE INTO extractions VALUES (?, ?, ?)", (document_id, extractor, names))


def drop_extraction(db: apsw.Connection, document_id: int) -> None:
    """Forget what was found in a document."""
    db.execute("DELETE FROM extractions WHERE document_id = ?", (document_id,))


_UNNAMED = (
    "FROM documents d WHERE NOT EXISTS"
    " (SELECT 1 FROM extractions e WHERE e.document_id = d.id AND e.extractor = ?)"
)


def unnamed(db: apsw.Connection, extractor: str, after_id: int, limit: int) -> list[int]:
    """The first documents after `after_id` that this extractor was not asked about."""
    query = f"SELECT d.id {_UNNAMED} AND d.id > ? ORDER BY d.id LIMIT ?"
    return [document_id for (document_id,) in rows(db, query, (extractor, after_id, limit))]


def count_unnamed(db: apsw.Connection, extractor: str) -> int:
    """How many documents this extractor was not asked about."""
    (count,) = row(db, f"SELECT count(*) {_UNNAMED}", (extractor,))
    return int(count)


def extracted(db: apsw.Connection) -> list[tuple[int, str]]:
    """The id and title of the documents that an extractor was asked about."""
    query = "SELECT d.id, d.title FROM extractions e JOIN documents d ON d.id = e.document_id ORDER BY d.id"
    return [(int(document_id), str(title)) for document_id, title in rows(db, query)]
