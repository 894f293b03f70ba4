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

from ragstone.store.sql import row, rows

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


def counts(db: apsw.Connection) -> GraphCounts:
    """How large the graph is; walks its table."""
    return GraphCounts(*row(db, "SELECT count(DISTINCT name), count(*) FROM names"))


def titles(db: apsw.Connection) -> Iterator[tuple[int, str]]:
    """The id and title of every document."""
    for document_id, title in rows(db, "SELECT id, title FROM documents ORDER BY id"):
        yield int(document_id), str(title)


def edges(db: apsw.Connection) -> set[tuple[int, int]]:
    """Every name with a document that bears it."""
    return {(key, document_id) for key, document_id in rows(db, "SELECT name, document_id FROM names")}


def version(db: apsw.Connection) -> int:
    """The version of the rules that the names were collected by; 0 before they were."""
    (found,) = row(db, "SELECT value FROM counters WHERE name = 'names_version'")
    return int(found)


def replace_all(db: apsw.Connection, edges: Iterable[tuple[int, int]], *, version: int) -> None:
    """Put (key, document) rows in the place of all names, and note by which rules they were collected."""
    db.execute("DELETE FROM names")
    db.executemany("INSERT OR IGNORE INTO names VALUES (?, ?)", edges)
    db.execute("INSERT OR REPLACE INTO counters VALUES ('names_version', ?)", (version,))
