"""What documents say that words stand for, in the catalog. Functions over a connection, as in `names`.

Keys are 64-bit; what they are of is the business of `expansions`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import apsw

from ragstone.store import counters
from ragstone.store.sql import any_row, as_declared, rows

# Rows looked at for one word: a term that more documents define is as well known from so many.
ROWS_MAX = 512


class Acronym(NamedTuple):
    """A short form and what it stands for, as a document writes them, with the keys they are found by."""

    short_key: int
    long_key: int
    short: str
    long: str
    also_a_word: int


def put_acronyms(db: apsw.Connection, document_id: int, found: Iterable[Acronym]) -> None:
    """Give a document these acronyms in place of those it has."""
    drop_acronyms(db, document_id)
    for acronym in found:
        db.execute("INSERT OR IGNORE INTO acronyms VALUES (?, ?, ?, ?, ?, ?)", (document_id, *acronym))


def drop_acronyms(db: apsw.Connection, document_id: int) -> None:
    """Forget the acronyms of a document."""
    db.execute("DELETE FROM acronyms WHERE document_id = ?", (document_id,))


def are_there(db: apsw.Connection) -> bool:
    """Whether any document has some."""
    return any_row(db, "acronyms")


def known(db: apsw.Connection, keys: Sequence[int], *, column: str) -> dict[int, list[Acronym]]:
    """The rows of those keys that some document has in `column`, `short_key` or `long_key`; 1 µs for a key without."""
    held = rows(
        db,
        f"SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM acronyms WHERE {column} = value)",
        (json.dumps(keys),),
    )
    query = f"SELECT short_key, long_key, short, long, also_a_word FROM acronyms WHERE {column} = ? LIMIT {ROWS_MAX}"
    return {key: [as_declared(Acronym(*found)) for found in rows(db, query, (key,))] for (key,) in list(held)}


def of_documents(db: apsw.Connection) -> Iterator[tuple[int, set[Acronym]]]:
    """The acronyms of each document that has some, by its id, ascending."""
    query = (
        "SELECT document_id, short_key, long_key, short, long, also_a_word FROM acronyms ORDER BY document_id"
    )
    for document_id, of_document in groupby(rows(db, query), key=itemgetter(0)):
        yield document_id, {Acronym(*columns) for _, *columns in of_document}


def version(db: apsw.Connection) -> int:
    """The version of the rules that the acronyms were collected by; 0 before they were."""
    return counters.value(db, "acronyms_version")


def replace_all(db: apsw.Connection, found: Iterable[tuple[int, Iterable[Acronym]]], *, version: int) -> None:
    """Put these acronyms of documents in the place of all, and note by which rules they were collected."""
    db.execute("DELETE FROM acronyms")
    for document_id, of_document in found:
        put_acronyms(db, document_id, of_document)
    counters.put(db, "acronyms_version", version)
