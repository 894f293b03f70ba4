"""The catalog: one SQLite file that is the truth about a collection.

A thing exists from the moment its transaction commits here (WAL, synchronous=FULL); everything else on disk
is derived from it. This module owns the connections and the transactions; what is in the tables is read and
written by the functions of `store.storing` and `store.vectors`, which take a connection from here.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from ragstone.errors import DamagedError, DiskFullError, MismatchError, RagstoneError, StoreError
from ragstone.store.schema import migrate
from ragstone.store.sql import DamagedRowError
from ragstone.types import Precision

if TYPE_CHECKING:
    from apsw import SQLiteValue  # in apsw's stub only

OLDEST_SAFE_SQLITE = (3, 51, 3)  # older ones can lose a commit when the WAL is reset; DESIGN "Data on disk"
# One page moved costs about 10 µs: a call gives back at most 64 MiB in under 0.2 s, the next one the rest.
GIVE_BACK_PAGES = 16_384
WAL_BYTES_KEPT = 16 << 20  # what a large commit leaves of the WAL: room for the next ones, not its peak
BUSY_TIMEOUT_MS = 5_000  # a checkpoint or another reader's recovery, never a writer: they hold the lock file
MAX_IDLE_READERS = 8
FREE_FILES_TO_WRITE = 32  # a commit that also seals and merges makes up to 24
_OPENED = itertools.count()  # catalogs opened by this process
FREE_BYTES_TO_WRITE = 8 << 20  # a WAL of 1,000 pages, a batch of text and room to say what went wrong


@dataclass(frozen=True, slots=True)
class Identity:
    """What every vector of a collection has in common; a mismatch is refused before the first write."""

    model_id: str
    dim: int
    metric: str
    chunker_version: int
    precision: Precision = field(default="float16", compare=False)  # as the first write chose; no mismatch


class Catalog:
    """The truth about one collection. Thread-safe: readers each use a connection of their own, writers take turns."""

    def __init__(self, path: Path, writer: apsw.Connection) -> None:
        self._path = path
        self._writer = writer
        self._writing = threading.RLock()
        self._readers: list[apsw.Connection] = []  # idle; a list's own calls are atomic
        self._watcher = _connect(path)
        self._watching = threading.Lock()
        self._in_transaction = False
        self._closed = False
        self._opened_as = next(_OPENED) << 40  # SQLite's own number begins anew with each connection

    @classmethod
    def open(cls, path: Path) -> Catalog:
        """Open or create the catalog at `path` and bring its schema up to date.

        Raises `DamagedError` when the file is not a usable SQLite database, `MismatchError` when a newer
        ragstone wrote it, `DiskFullError` when a new one does not fit.
        """
        if tuple(map(int, apsw.sqlite_lib_version().split(".")[:3])) < OLDEST_SAFE_SQLITE:
            raise StoreError(
                f"SQLite {apsw.sqlite_lib_version()} can lose commits, 3.51.3 is the oldest that is safe",
                hint="pip install --upgrade apsw",
            )
        with translated(path):
            writer = _connect(path)
            migrate(writer)
            return cls(path, writer)

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    def close(self) -> None:
        """Fold the WAL into the database where possible and close every connection."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            # Another process may be reading, or the disk be full: then the WAL simply stays, which is safe.
            with suppress(apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError):
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._writer.close()
            with self._watching:
                self._watcher.close()
            self._close_idle_readers()

    def _close_idle_readers(self) -> None:
        with suppress(IndexError):
            while True:
                self._readers.pop().close()

    # -- transactions ------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """One durable transaction; nested use joins the outer one. Foreign errors are translated at the rim."""
        with self._writing, translated(self._path), self._damage_blamed():
            if self._in_transaction:
                yield self._writer
                return
            require_space(self._path.parent)
            self._writer.execute("BEGIN IMMEDIATE")
            self._in_transaction = True
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._writer.execute("ROLLBACK")
                raise
            finally:
                self._in_transaction = False

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A connection that sees one snapshot for the length of the block."""
        with self._reader() as db, db:  # a savepoint: one snapshot
            yield db

    @contextmanager
    def reading_once(self) -> Iterator[apsw.Connection]:
        """A connection for one query, which sees one snapshot by itself: two calls of SQLite fewer."""
        with self._reader() as db:
            yield db

    @contextmanager
    def _reader(self) -> Iterator[apsw.Connection]:
        with translated(self._path), self._damage_blamed():
            try:
                db = self._readers.pop()
            except IndexError:
                db = _connect(self._path)
            try:
                yield db
            finally:
                if len(self._readers) < MAX_IDLE_READERS:
                    self._readers.append(db)
                else:  # more readers at once than we keep
                    db.close()
                if self._closed:  # while this one read
                    self._close_idle_readers()

    @contextmanager
    def _damage_blamed(self) -> Iterator[None]:
        """Raise an error over a value (of a wrong type, say) as `DamagedError` if the catalog's check finds a fault.

        SQLite gives what a damaged row says it holds; what does not fit is noticed by whoever reads it.
        """
        try:
            yield
        except (
            TypeError,
            ValueError,
            IndexError,
            KeyError,
            OverflowError,
            AttributeError,
            apsw.SQLError,
            apsw.ConstraintError,
        ) as error:
            with closing(_connect(self._path)) as db:
                fault = str(db.pragma("quick_check", 1))
            if fault == "ok":
                raise
            raise DamagedError(
                f"the catalog {self._path} is damaged: {fault}",
                hint="restore it from a backup; `ragstone doctor` says what else is wrong",
            ) from error

    def version(self) -> int:
        """A number that differs from the last one whenever any process has committed in between, or another catalog
        was opened in this one's place (≈ 2 µs)."""
        with self._watching, translated(self._path):
            (value,) = self._watcher.execute("PRAGMA data_version").fetchall()[0]
            assert isinstance(value, int)  # noqa: S101  - SQLite's own guarantee, for the type checker
            return self._opened_as + value

    def give_back_pages(self) -> None:
        """Return free pages to the file system (at most 64 MiB a call): sealed vectors leave many."""
        with self.transaction() as db:
            db.execute(f"PRAGMA incremental_vacuum({GIVE_BACK_PAGES})").fetchall()

    def rewrite(self) -> None:
        """Write the whole catalog anew, about 100 MB/s: of rows that SQLite moved between pages, parts may have
        stayed in the old page although deleted bytes are overwritten."""
        with self._writing, translated(self._path):
            require_space(self._path.parent)
            self._writer.execute("VACUUM")

    def fold_log(self) -> None:
        """Fold the write-ahead log into the catalog and empty it: until then it holds what was deleted.

        Raises `StoreError` while a reader somewhere still needs the log.
        """
        with self._writing, translated(self._path):
            busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() or (1, 0, 0)
        if busy:
            raise StoreError(
                "another process still reads an older state of the collection; its log cannot be emptied",
                hint="end its searches, then run the same command again",
            )

    # -- identity ----------------------------------------------------------------------------------------

    def identity(self) -> Identity | None:
        """What the collection's vectors have in common; None before its first write."""
        with self.reading() as db:
            return _identity(db)

    def settle_identity(self, wanted: Identity) -> Identity:
        """The collection's identity: `wanted` at the first write; later the one recorded then.

        Raises `MismatchError` unless they are equal, precision apart.
        """
        found = self.identity()
        if found is None:
            with self.transaction() as db:
                found = _identity(db)  # another thread may have been first
                if found is None:
                    rows = [(key, str(value)) for key, value in asdict(wanted).items()]
                    db.executemany("INSERT INTO identity VALUES (?, ?)", rows)
                    return wanted
        if found == wanted:
            return found
        differing = ", ".join(
            f"{key} {getattr(found, key)!r}, not {value!r}"
            for key, value in asdict(wanted).items()
            if getattr(found, key) != value and key != "precision"
        )
        raise MismatchError(
            f"this collection was built with {differing}",
            hint="set the model it was built with, or index into another --collection",
        )


def _identity(db: apsw.Connection) -> Identity | None:
    rows = {str(key): str(value) for key, value in db.execute("SELECT key, value FROM identity")}
    if not rows:
        return None
    precision: Precision = "float32" if rows.get("precision") == "float32" else "float16"
    try:
        dim, chunker_version = int(rows["dim"]), int(rows["chunker_version"])
        return Identity(rows["model_id"], dim, rows["metric"], chunker_version, precision)
    except (KeyError, ValueError) as error:
        raise DamagedRowError(f"the identity is {rows}") from error


def _casefold(*values: SQLiteValue) -> SQLiteValue:
    (value,) = values
    return value.casefold() if isinstance(value, str) else value


def _connect(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path))
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    db.create_scalar_function(
        "casefold", _casefold, 1, deterministic=True
    )  # SQLite's lower() knows only ASCII
    if db.pragma("page_count") == 0:  # on a file with pages it would be a write, and change nothing
        db.pragma("auto_vacuum", "incremental")
    _use_log(db)
    db.pragma("journal_size_limit", WAL_BYTES_KEPT)
    db.pragma("synchronous", "full")
    db.pragma("foreign_keys", "off")
    db.pragma("secure_delete", "on")  # a deleted document's text is overwritten, not merely unlinked
    return db


def _use_log(db: apsw.Connection) -> None:
    """Switch to the write-ahead log. Of processes that create a catalog together SQLite refuses some without waiting:
    a few in a thousand."""
    give_up_s = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            db.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.005)


def require_space(folder: Path) -> None:
    """Raise `DiskFullError` unless there is room for a write, and for the WAL to be folded back after it.

    Checked before each write, so that searching goes on when the disk is as good as full.
    """
    free = os.statvfs(folder)
    available = free.f_bavail * free.f_frsize
    if free.f_files and free.f_favail < FREE_FILES_TO_WRITE:  # f_files 0: a file system without such a limit
        raise DiskFullError(
            f"{free.f_favail} more files fit at {folder}, writing needs {FREE_FILES_TO_WRITE}",
            hint="remove some files and run the same command again; nothing acknowledged was lost",
        )
    if available < FREE_BYTES_TO_WRITE:
        raise DiskFullError(
            f"{available >> 10} KiB are free at {folder}, writing needs {FREE_BYTES_TO_WRITE >> 10} KiB",
            hint="free some space and run the same command again; nothing acknowledged was lost",
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as ours for the length of a block; `path` is the database, for the message."""
    try:
        yield
    except RagstoneError:
        raise
    except apsw.FullError as error:
        raise DiskFullError(
            f"no space left at {path.parent}",
            hint="free some space and run the same command again; nothing acknowledged was lost",
        ) from error
    except (
        DamagedRowError,
        apsw.CorruptError,
        apsw.NotADBError,
        json.JSONDecodeError,
        UnicodeDecodeError,
    ) as error:
        raise DamagedError(
            f"the catalog {path} is damaged: {error}",
            hint="restore it from a backup; `ragstone doctor` says what else is wrong",
        ) from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StoreError(
            f"the catalog {path} cannot be opened: {error}", hint="check the folder's owner and permissions"
        ) from error
    except apsw.IOError as error:
        raise StoreError(f"reading or writing {path} failed: {error}", hint="check the disk") from error
    except apsw.ConnectionClosedError as error:
        raise StoreError(f"the catalog {path} has been closed", hint="open the collection again") from error
    except apsw.BusyError as error:
        raise StoreError(
            f"{path} stayed busy for {BUSY_TIMEOUT_MS / 1000:.0f} s", hint="try again in a moment"
        ) from error
