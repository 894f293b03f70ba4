"""The keyword index of one collection, kept in step with its catalog.

The catalog's log says what has changed since the index was last committed. Few changes are held in memory by whoever
reads; many, or long ones, are committed by whoever writes.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ragstone.errors import DamagedError, DiskFullError, LockedError, NotFoundError, StoreError
from ragstone.segments import set_aside
from ragstone.store import change_log, documents
from ragstone.store.catalog import Catalog, require_space
from ragstone.store.keyword import KeywordIndex, KeywordState
from ragstone.store.keyword_reader import KeywordReader
from ragstone.store.keyword_tail import KeywordTail, TailChunk
from ragstone.store.lock import WriterLock
from ragstone.types import Degraded

# Chunks the keyword index takes in one commit: 30 MB of text at 500 bytes each.
KEYWORD_BATCH = 50_000
# A commit of the keyword index takes 20 ms, so what a program changes piece by piece is held beside it up to here: as
# many changes cost a search 0.2 ms, and a process that opens the collection 10 ms for so many characters.
KEYWORD_TAIL_CHANGES = 128
KEYWORD_TAIL_CHARS = 200_000
KEYWORD_FOLDER = "keyword"

_NO_SPACE = os.strerror(errno.ENOSPC)

logger = logging.getLogger("ragstone")


class CollectionKeyword:
    """The index below a collection's folder. Thread-safe."""

    def __init__(
        self,
        collection: Path,
        catalog: Catalog,
        lock: WriterLock,
        writing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """`writing` holds the collection's `lock` for a block, as `Collection.writing` does. Opens nothing."""
        self._collection = collection
        self._folder = collection / KEYWORD_FOLDER
        self._catalog = catalog
        self._lock = lock
        self._writing = writing
        self._index: KeywordIndex | None = None
        self._waiting: dict[int, TailChunk] = {}  # chunks of the keyword tail, analysed once
        self._syncing = threading.RLock()  # the keyword index has one writer
        self.rebuilds = 0  # here: each makes another index, perhaps at the same state of the catalog

    @property
    def is_open(self) -> bool:
        """Whether something has used it, and it was whole then."""
        return self._index is not None

    def read(self, degraded: list[Degraded]) -> KeywordReader | None:
        """What searches the newest state; None while it waits to be rebuilt. What is missing is added to `degraded`."""
        state: KeywordState | None = None
        try:
            if self._index is None:
                self._index = KeywordIndex.open(self._folder, writable=False)
            state, tail = self._tail(self._index, degraded)
            if tail is not None:
                return self._index.reader(state, tail)
            if self._lock.held_here:  # a thread of ours that is writing will bring it up to date
                return self._index.reader(state)
        except (DamagedError, NotFoundError):
            self._index = None
        try:
            with self._writing():
                self.sync()
            return self._index.reader() if self._index is not None else None
        except LockedError:
            # The writer at work brings it up to date; what it already has is searchable meanwhile.
            if self._index is None:
                degraded.append(Degraded("keyword", "the keyword index is being rebuilt"))
        except StoreError as error:  # a full disk, say: searching goes on with what there is
            degraded.append(Degraded("keyword", f"the keyword index is behind: {error.message}"))
        return self._index.reader(state) if self._index is not None else None

    def _tail(self, index: KeywordIndex, degraded: list[Degraded]) -> tuple[KeywordState, KeywordTail | None]:
        """A state of the keyword index and the changes it lacks; None for the changes when they are too many to hold.

        Raises `DamagedError` when some are no longer known.
        """
        for refreshed in (False, True):
            if refreshed:  # forgotten changes are in a newer commit, if all is well
                index.refresh()
            # Read before the catalog, which so cannot be the older one.
            state, noted = index.state, index.waiting_noted()
            with self._catalog.reading() as db:
                changes = change_log.since(db, state.sequence, KEYWORD_TAIL_CHANGES)
                if changes is None:
                    continue
                newest = change_log.last(db)
                if noted > newest:
                    older = "the catalog is older than its keyword index: see `ragstone doctor`"
                    degraded.append(Degraded("keyword", older))
                if changes.last_sequence < newest:
                    return state, None
                new = [id_ for id_ in changes.added if id_ not in self._waiting]
                read = {
                    entry.chunk_id: TailChunk.analysed(entry) for entry in documents.keyword_entries(db, new)
                }
            known = self._waiting | read
            # A chunk that lost its document cannot be read: `doctor` reports it.
            self._waiting = {id_: known[id_] for id_ in changes.added if id_ in known}
            return state, KeywordTail(tuple(self._waiting.values()), changes.deleted)
        raise DamagedError(f"the keyword index at {index.sequence} is older than the catalog's log")

    def follow(self) -> None:
        """Bring the keyword index up to the catalog, unless what it lacks is little enough to be held by its readers.

        The caller holds the lock.
        """
        with self._syncing:
            if self._index is not None:
                with self._catalog.reading() as db:
                    changes, characters = change_log.lag(db, self._index.sequence)
                    newest = change_log.last(db)
                if changes <= KEYWORD_TAIL_CHANGES and characters <= KEYWORD_TAIL_CHARS:
                    self._index.note_waiting(newest)
                    return
            self.sync()

    def sync(self) -> None:
        """Bring the keyword index up to the catalog, rebuilding it if it is damaged or too far behind.

        The caller holds the lock.
        """
        with self._syncing:
            try:
                index = self._index or KeywordIndex.open(self._folder, writable=True)
                while self._apply_changes(index):
                    pass
            except DamagedError as error:
                logger.warning("%s; rebuilding it from the catalog", error.message)
                self._index = None
                index = self.rebuild()
            self._index = index

    def _apply_changes(self, index: KeywordIndex) -> bool:
        """Apply one batch of changes; whether there may be more. Raises `DamagedError` if some are gone."""
        with self._catalog.reading() as db:
            changes = change_log.since(db, index.sequence, KEYWORD_BATCH)
            if changes is None:
                raise DamagedError(f"the keyword index at {index.sequence} is older than the catalog's log")
            if not changes.added and not changes.deleted:
                return False
            entries = documents.keyword_entries(db, changes.added)
        with _full_disk_reported(self._collection):
            index.apply(add=entries, delete=changes.deleted, sequence=changes.last_sequence)
        with self._catalog.transaction() as db:
            change_log.trim(db, changes.last_sequence)
        return True

    def rebuild(self) -> KeywordIndex:
        """Build the keyword index anew from the catalog, the old one set aside. The caller holds the lock.

        The old one is searched until the new one is whole.
        """
        draft = self._folder.with_name(f"{KEYWORD_FOLDER}.draft")
        with self._syncing:
            # One snapshot of the catalog, so that `sequence` is that of the rows read.
            with _full_disk_reported(self._collection), self._catalog.reading() as db:
                shutil.rmtree(draft, ignore_errors=True)  # a killed rebuild's
                index = KeywordIndex.open(draft, writable=True)
                sequence, last_id = change_log.last(db), 0
                while ids := documents.chunk_ids_after(db, last_id, KEYWORD_BATCH):
                    last_id = ids[-1]
                    # Only the last commit may carry the sequence: killed before it, the rebuild starts again.
                    index.apply(add=documents.keyword_entries(db, ids), delete=(), sequence=0)
                index.apply(add=(), delete=(), sequence=sequence)
                set_aside(self._folder)
                draft.rename(self._folder)
                self._index = index = KeywordIndex.open(self._folder, writable=True)
            with self._catalog.transaction() as db:  # also tells the other processes to look again
                change_log.trim(db, sequence)
            self.rebuilds += 1  # a commit may have been seen already, with the old index
        return index


@contextmanager
def _full_disk_reported(folder: Path) -> Iterator[None]:
    """Raise what tantivy makes of a full disk (an I/O error, or a worker thread that died) as `DiskFullError`."""
    require_space(folder)
    try:
        yield
    except (ValueError, OSError, StoreError) as error:
        causes = (error, error.__cause__, error.__context__)
        if any(_NO_SPACE in str(cause) for cause in causes) or not _has_space(folder):
            raise DiskFullError(
                f"no space left at {folder} while the keyword index was written",
                hint="free some space and run the same command again; nothing acknowledged was lost",
            ) from error
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"the keyword index could not be written: {error}") from error


def _has_space(folder: Path) -> bool:
    try:
        require_space(folder)
    except DiskFullError:
        return False
    return True
