"""The catalog's tables, as migrations that each run once, in order, in one transaction with their record."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from ragstone.errors import MismatchError


def m001_documents_chunks_vectors(db: apsw.Connection) -> None:
    """Documents, their chunks, the queue of chunks to embed, vectors not yet sealed, segments."""
    db.execute("""
        CREATE TABLE identity (
            key   TEXT PRIMARY KEY,      -- model_id, dim, metric, chunker_version
            value TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE documents (
            id             INTEGER PRIMARY KEY AUTOINCREMENT,   -- AUTOINCREMENT: ids are never reused
            uri            TEXT NOT NULL UNIQUE,
            title          TEXT NOT NULL,
            format         TEXT NOT NULL,
            extension      TEXT NOT NULL,                       -- lower case, without the dot
            date           TEXT NOT NULL,                       -- ISO 8601: its own, else its file's
            size_bytes     INTEGER NOT NULL,
            modified_ns    INTEGER NOT NULL,
            content_sha256 BLOB NOT NULL,
            indexed_s      REAL NOT NULL,
            chunk_count    INTEGER NOT NULL,
            metadata       TEXT NOT NULL                        -- a JSON object
        ) STRICT;

        -- Files that could not be read, so that an unchanged one is reported again without being read again.
        CREATE TABLE failures (
            uri         TEXT PRIMARY KEY,
            size_bytes  INTEGER NOT NULL,
            modified_ns INTEGER NOT NULL,
            code        TEXT NOT NULL,
            message     TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;

        -- The texts of a document's chunks, in order, joined, are the document's text: each row also holds
        -- the white space that follows the chunk ("tile"), so that no text is stored twice and none is lost.
        CREATE TABLE chunks (
            id               INTEGER PRIMARY KEY AUTOINCREMENT,
            document_id      INTEGER NOT NULL,
            ordinal          INTEGER NOT NULL,
            tile_start       INTEGER NOT NULL,                  -- characters into the document's text
            start            INTEGER NOT NULL,
            end              INTEGER NOT NULL,
            page             INTEGER,
            time_s           REAL,
            tokens           INTEGER NOT NULL,
            headings         TEXT NOT NULL,                     -- a JSON list
            embedding_sha256 BLOB NOT NULL,                     -- first 16 bytes; of the text the model sees
            context          TEXT NOT NULL,                     -- what the model sees before the text
            tile             TEXT NOT NULL
        ) STRICT;
        CREATE INDEX chunks_of_document ON chunks (document_id, ordinal);
        CREATE INDEX chunks_by_embedding ON chunks (embedding_sha256);

        CREATE TABLE unembedded (chunk_id INTEGER PRIMARY KEY) STRICT;

        CREATE TABLE pending_vectors (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            chunk_id INTEGER NOT NULL UNIQUE,
            document_id INTEGER NOT NULL,
            vector   BLOB NOT NULL                              -- dim little-endian numbers of the identity's precision
        ) STRICT;

        CREATE TABLE segments (
            id              INTEGER PRIMARY KEY AUTOINCREMENT,
            name            TEXT NOT NULL UNIQUE,
            count           INTEGER NOT NULL,
            manifest_sha256 BLOB NOT NULL,
            created_s       REAL NOT NULL
        ) STRICT;

        CREATE TABLE tombstones (chunk_id INTEGER PRIMARY KEY) STRICT;   -- deleted, still in some segment

        -- What the keyword index has to follow. Rows it has durably applied are trimmed.
        CREATE TABLE changes (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            chunk_id INTEGER NOT NULL,
            deleted  INTEGER NOT NULL
        ) STRICT;

        CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        INSERT INTO counters VALUES ('vector_removals', 0), ('changes_trimmed', 0);
    """)


def m002_plans(db: apsw.Connection) -> None:
    """The index plans that were applied to the collection, so that a rollback knows the one before."""
    db.execute("""
        CREATE TABLE plans (
            id        INTEGER PRIMARY KEY AUTOINCREMENT,
            plan      TEXT NOT NULL,                            -- JSON: index_type, parameters
            recall    REAL NOT NULL,                            -- asked for when it was applied, 0 to 1
            applied_s REAL NOT NULL
        ) STRICT;
    """)


def m003_token_signs(db: apsw.Connection) -> None:
    """What late interaction compares, of a chunk's telling tokens. Some models give nothing for it."""
    db.execute("""
        CREATE TABLE token_signs (
            chunk_id INTEGER PRIMARY KEY,
            signs    BLOB NOT NULL                              -- 24 bytes a token: three little-endian words
        ) STRICT;
    """)


def m004_names(db: apsw.Connection) -> None:
    """What documents are called: the stored edges of the graph. An empty catalog has nothing to collect them from."""
    db.execute("""
        CREATE TABLE names (
            name        INTEGER NOT NULL,                       -- 64 bits of a hash; no text
            document_id INTEGER NOT NULL,
            PRIMARY KEY (name, document_id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX names_of_document ON names (document_id);

        INSERT INTO counters SELECT 'names_version', NOT EXISTS (SELECT 1 FROM documents);
    """)


def m005_votes(db: apsw.Connection) -> None:
    """What people said of hits. A vote goes with its chunk."""
    db.execute("""
        CREATE TABLE votes (
            id       INTEGER PRIMARY KEY AUTOINCREMENT,
            chunk_id INTEGER NOT NULL,
            query    TEXT NOT NULL,
            vector   BLOB,                                      -- the query's, float16; NULL where no model was at hand
            value    REAL NOT NULL,                             -- -1 to 1
            given_s  REAL NOT NULL
        ) STRICT;
        CREATE INDEX votes_of_chunk ON votes (chunk_id);
        INSERT INTO counters VALUES ('vote_changes', 0);
    """)


def m006_acronyms_extractions(db: apsw.Connection) -> None:
    """What documents say that words stand for, and the names that a chat model found in them. An empty catalog has no
    acronyms to collect."""
    db.execute("""
        CREATE TABLE acronyms (
            document_id INTEGER NOT NULL,
            short_key   INTEGER NOT NULL,                       -- 64 bits of a hash, as the next
            long_key    INTEGER NOT NULL,
            short       TEXT NOT NULL,                          -- as the document writes it
            long        TEXT NOT NULL,
            also_a_word INTEGER NOT NULL,                       -- 1: the document has it in small letters, too
            PRIMARY KEY (document_id, short_key, long_key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX acronyms_by_short ON acronyms (short_key);
        CREATE INDEX acronyms_by_long ON acronyms (long_key);

        CREATE TABLE extractions (
            document_id INTEGER PRIMARY KEY,
            extractor   TEXT NOT NULL,                          -- the model, and what it was asked
            names       TEXT NOT NULL                           -- a JSON list, as the document writes them
        ) STRICT;

        INSERT INTO counters SELECT 'acronyms_version', NOT EXISTS (SELECT 1 FROM documents);
    """)


MIGRATIONS: tuple[Callable[[apsw.Connection], None], ...] = (
    m001_documents_chunks_vectors,
    m002_plans,
    m003_token_signs,
    m004_names,
    m005_votes,
    m006_acronyms_extractions,
)


def schema_version(db: apsw.Connection) -> int:
    """Number of migrations applied to this catalog, 0 for an empty file."""
    version = db.pragma("user_version")
    assert isinstance(version, int)  # noqa: S101  - SQLite's own guarantee, for the type checker
    return version


def migrate(db: apsw.Connection) -> None:
    """Bring the catalog to the newest schema. Raises `MismatchError` for one written by a newer ragstone."""
    if schema_version(db) > len(MIGRATIONS):
        raise MismatchError(
            f"this collection has schema {schema_version(db)}, this ragstone knows {len(MIGRATIONS)}",
            hint="upgrade ragstone, or use another --data-dir",
        )
    for number, migration in enumerate(MIGRATIONS, start=1):
        if schema_version(db) < number:
            _apply(db, number, migration)


def _apply(db: apsw.Connection, number: int, migration: Callable[[apsw.Connection], None]) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        if schema_version(db) < number:  # else another process has created the collection meanwhile
            migration(db)
            db.pragma("user_version", number)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
