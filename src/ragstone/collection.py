"""One collection on disk, open: the catalog, and the keyword index and dense snapshot derived from it, in step.

Ids are all the three have in common; this is the place where they meet. Reading takes no lock: a snapshot is
renewed when the catalog says that somebody has committed. Writing takes the collection's lock file.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import apsw
import numpy as np

from ragstone import expansions, links
from ragstone.errors import (
    DamagedError,
    DiskFullError,
    InputError,
    LockedError,
    NotFoundError,
    RagstoneError,
    StoreError,
)
from ragstone.index.dense import DenseIndex, Tail
from ragstone.index.plans import Plan
from ragstone.index.segment import Segment
from ragstone.links import NameLinks
from ragstone.retrieval.votes import NO_VOTES, Votes
from ragstone.segments import SegmentStore, set_aside
from ragstone.store import acronyms, documents, vectors, votes
from ragstone.store.catalog import Catalog, Identity, require_space
from ragstone.store.chunk_terms import ChunkTerms
from ragstone.store.keyword import KeywordIndex, KeywordState
from ragstone.store.keyword_reader import KeywordReader
from ragstone.store.keyword_tail import KeywordTail, TailChunk
from ragstone.store.lock import WriterLock
from ragstone.types import Degraded

# Searched in memory, so it must stay small: 16,384 × 384 float32 take 2.5 ms to scan and 25 MB.
SEAL_ROWS = 16_384
# Left in the tail at the end of a run: below this, opening reads them from the catalog in under 2 ms.
TAIL_ROWS = 1_024
# Chunks the keyword index takes in one commit: 30 MB of text at 500 bytes each.
KEYWORD_BATCH = 50_000
# A commit of the keyword index takes 20 ms, so what a program changes piece by piece is held beside it up to here: as
# many changes cost a search 0.2 ms, and a process that opens the collection 10 ms for so many characters.
KEYWORD_TAIL_CHANGES = 128
KEYWORD_TAIL_CHARS = 200_000
# What could not be mended when it was read (a full disk, another writer) is tried again after so long, not by every
# search: checking a large segment's files takes as long.
RETRY_S = 1.0
KEYWORD_FOLDER = "keyword"
SEGMENTS_FOLDER = "segments"

# A collection's memory is a collection beside it, `<name>.memory`; with a Redis, the copy `<name>.memory-redis`.
MEMORY_SUFFIX = ".memory"
MEMORY_COPY_SUFFIX = "-redis"

_NO_SPACE = os.strerror(errno.ENOSPC)

logger = logging.getLogger("ragstone")


def holds_memories(name: str) -> bool:
    """Whether a collection's name is that of a memory: no documents go in there, and no list shows it."""
    return name.removesuffix(MEMORY_COPY_SUFFIX).endswith(MEMORY_SUFFIX)


def documents_only(name: str) -> str:
    """The name of a collection; raises `InputError` for that of a memory, whose entries are not documents."""
    if holds_memories(name):
        raise InputError(
            f"{name!r} is a memory, not a collection of documents", hint="see: ragstone memory --help"
        )
    return name


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a search uses: one state of the vectors, the keyword index and the graph, and what is missing from them.

    `dense`, `keyword` and `graph` are None before the first write, or while they wait to be rebuilt; `has_acronyms`:
    whether texts define some, as far as they have been collected.
    """

    identity: Identity | None
    dense: DenseIndex | None
    keyword: KeywordReader | None
    graph: NameLinks | None
    terms: ChunkTerms
    degraded: tuple[Degraded, ...]
    votes: Votes = NO_VOTES
    has_acronyms: bool = False


class Collection:
    """An open collection. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Open the collection in `folder`, creating an empty one where there is none.

        Raises `DamagedError`, `MismatchError`, `StoreError` as `Catalog.open` does.
        """
        self.folder = folder
        try:
            (folder / SEGMENTS_FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreError
            raise kind(
                f"cannot create {folder}: {error.strerror}", hint="choose another --data-dir"
            ) from error
        self._opened_as = _file_number(folder)
        self.catalog = Catalog.open(folder / "catalog.sqlite")
        self.segments = SegmentStore(folder / SEGMENTS_FOLDER, self.catalog)
        self._lock = WriterLock(folder / "lock")
        self._refreshing = threading.RLock()
        self._version = -1
        self._retry_at_s = math.inf
        self._snapshot = Snapshot(None, None, None, None, ChunkTerms(self.catalog), ())
        self._tail = Tail.empty(0)
        self._tail_sequence = 0
        self._removals = -1
        self._votes, self._vote_changes = NO_VOTES, 0
        self._keyword: KeywordIndex | None = None
        self._waiting: dict[int, TailChunk] = {}  # chunks of the keyword tail, analysed once
        self._syncing = threading.RLock()  # the keyword index has one writer
        self._recovering = threading.Lock()
        self._recovered = False

    @property
    def name(self) -> str:
        """The collection's name, its folder's."""
        return self.folder.name

    @property
    def is_there(self) -> bool:
        """Whether its folder is still the one that was opened: another process may have dropped it. 2 µs."""
        return _file_number(self.folder) == self._opened_as

    def close(self) -> None:
        """Let go of files and connections; snapshots given out stay usable."""
        # We have written: leave nothing for others to read up on. What cannot be committed now still waits in the log.
        if self._recovered and self._keyword is not None:
            with suppress(RagstoneError), self.writing():
                self.sync_keyword()
        self.catalog.close()

    # -- reading ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest committed state; costs microseconds while nothing has been written."""
        version = self.catalog.version()
        if version == self._version and time.monotonic() < self._retry_at_s:
            return self._snapshot
        with self._refreshing:
            version = self.catalog.version()
            if version != self._version or time.monotonic() >= self._retry_at_s:
                self._snapshot = self._read_snapshot()
                self._version = version
            return self._snapshot

    def _read_snapshot(self) -> Snapshot:
        identity = self.catalog.identity()
        if identity is None:
            return Snapshot(None, None, None, None, ChunkTerms(self.catalog), ())
        degraded: list[Degraded] = []
        dense = self._read_dense(identity, degraded)
        keyword = self._read_keyword(degraded)
        graph = self._read_graph(keyword, degraded)
        collected = self._collected(
            "acronyms", "the acronyms of texts", expansions.are_current, self.rebuild_acronyms, degraded
        )
        self._retry_at_s = time.monotonic() + RETRY_S if degraded else math.inf
        with self.catalog.reading() as db:
            waiting = documents.waiting(db).unembedded
            chunks = documents.counts(db).chunks if waiting else 0
            self._read_votes(db, identity)
            has_acronyms = collected and acronyms.are_there(db)
        if waiting:
            degraded.append(Degraded("dense", f"{waiting:,} of {chunks:,} chunks have no vector yet"))
        return Snapshot(
            identity,
            dense,
            keyword,
            graph,
            ChunkTerms(self.catalog),
            tuple(degraded),
            self._votes,
            has_acronyms=has_acronyms,
        )

    def _read_dense(self, identity: Identity, degraded: list[Degraded]) -> DenseIndex:
        with self.catalog.reading() as db:
            rows = vectors.segments(db)
            dead = vectors.tombstones(db)
            self._read_tail(db, identity, rows)
        opened: dict[str, Segment] = {}
        for row in rows:
            try:
                opened[row.name] = self.segments.open(row)
            except DamagedError as error:
                if self.segments.named(row) and not self._mended(row, identity, error, degraded):
                    continue
                return self._read_dense(identity, degraded)  # the catalog has moved on: read it again
        self.segments.keep_only(rows)
        return DenseIndex(tuple(opened.values()), self._tail, dead)

    def _read_tail(self, db: apsw.Connection, identity: Identity, rows: list[vectors.SegmentRow]) -> None:
        removals = vectors.vector_removals(db)
        if removals != self._removals:  # something was deleted or sealed: not only new rows behind the old
            self._tail, self._tail_sequence = Tail.empty(identity.dim), 0
        pending = vectors.pending_vectors(db, identity.dim, self._tail_sequence)
        if len(pending.chunk_ids):
            self._tail = self._tail.extended(pending.chunk_ids, pending.document_ids, pending.vectors)
        self._tail_sequence, self._removals = pending.last_sequence, removals

    def _read_votes(self, db: apsw.Connection, identity: Identity) -> None:
        changes = votes.changes(db)
        if changes == self._vote_changes:
            return
        given = votes.every(db)
        self._votes = Votes(
            np.array([vote.chunk_id for vote in given], np.int64),
            [vote.query for vote in given],
            votes.query_vectors(db, identity.dim),
            np.array([vote.value for vote in given], np.float32),
        )
        self._vote_changes = changes

    def _mended(
        self, row: vectors.SegmentRow, identity: Identity, error: DamagedError, degraded: list[Degraded]
    ) -> bool:
        """Try to mend a damaged segment; whether it worked. What cannot be mended now is reported."""
        try:
            with self.writing():
                self.segments.mend(row, identity, error)
            return True
        except LockedError:
            degraded.append(Degraded("dense", f"{error.message}; another process is writing"))
            return False
        except StoreError as failed:  # a full or failing disk: searching goes on with the rest
            degraded.append(Degraded("dense", f"{error.message}; it cannot be mended: {failed.message}"))
            return False

    def _read_keyword(self, degraded: list[Degraded]) -> KeywordReader | None:
        state: KeywordState | None = None
        try:
            if self._keyword is None:
                self._keyword = KeywordIndex.open(self.folder / KEYWORD_FOLDER, writable=False)
            state, tail = self._keyword_tail(self._keyword, degraded)
            if tail is not None:
                return self._keyword.reader(state, tail)
            if self._lock.held_here:  # a thread of ours that is writing will bring it up to date
                return self._keyword.reader(state)
        except (DamagedError, NotFoundError):
            self._keyword = None
        try:
            with self.writing():
                self.sync_keyword()
            return self._keyword.reader() if self._keyword is not None else None
        except LockedError:
            # The writer at work brings it up to date; what it already has is searchable meanwhile.
            if self._keyword is None:
                degraded.append(Degraded("keyword", "the keyword index is being rebuilt"))
        except StoreError as error:  # a full disk, say: searching goes on with what there is
            degraded.append(Degraded("keyword", f"the keyword index is behind: {error.message}"))
        return self._keyword.reader(state) if self._keyword is not None else None

    def _keyword_tail(
        self, index: KeywordIndex, degraded: list[Degraded]
    ) -> tuple[KeywordState, KeywordTail | None]:
        """A state of the keyword index and the changes it lacks; None for the changes when they are too many to hold.

        Raises `DamagedError` when some are no longer known.
        """
        for refreshed in (False, True):
            if refreshed:  # forgotten changes are in a newer commit, if all is well
                index.refresh()
            # Read before the catalog, which so cannot be the older one.
            state, noted = index.state, index.waiting_noted()
            with self.catalog.reading() as db:
                changes = documents.changes_since(db, state.sequence, KEYWORD_TAIL_CHANGES)
                if changes is None:
                    continue
                newest = documents.last_change(db)
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
            self._waiting = {id_: known[id_] for id_ in changes.added}
            return state, KeywordTail(tuple(self._waiting.values()), changes.deleted)
        raise DamagedError(f"the keyword index at {index.sequence} is older than the catalog's log")

    def _read_graph(self, keyword: KeywordReader | None, degraded: list[Degraded]) -> NameLinks | None:
        what = "the names of documents"
        collected = self._collected("graph", what, links.are_current, self.rebuild_names, degraded)
        return NameLinks(self.catalog, keyword) if collected else None

    def _collected(
        self,
        source: str,
        what: str,
        are_current: Callable[[apsw.Connection], bool],
        rebuild: Callable[[], None],
        degraded: list[Degraded],
    ) -> bool:
        """Whether what is read off documents can be used; collected now if the collection is from before there was
        such a thing, or its rules have changed."""
        try:
            with self.catalog.reading() as db:
                current = are_current(db)
            if not current:
                with self.writing():
                    rebuild()
        except LockedError:
            degraded.append(Degraded(source, f"{what} are being collected"))
            return False
        except StoreError as error:  # a full disk, say: searching goes on without
            degraded.append(Degraded(source, f"{what} cannot be collected: {error.message}"))
            return False
        return True

    # -- writing ---------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the collection's lock for a block. Raises `LockedError`, naming the holder, at once, and `StoreError`
        once its folder has been dropped or replaced."""
        with self._lock.held():
            if not self.is_there:  # the lock is another collection's, and what we write would be lost
                raise StoreError(
                    f"the collection {self.name!r} was dropped or replaced meanwhile", hint="open it again"
                )
            with self._recovering:
                if not self._recovered:  # nobody in this process has written yet, and no other process can
                    self.segments.remove_orphans()
                    self._collect_words()
                    self._recovered = True
            yield

    def follow_changes(self) -> None:
        """Bring the keyword index up to the catalog, unless what it lacks is little enough to be held by its readers.

        The caller holds the lock.
        """
        with self._syncing:
            if self._keyword is not None:
                with self.catalog.reading() as db:
                    changes, characters = documents.lag(db, self._keyword.sequence)
                    newest = documents.last_change(db)
                if changes <= KEYWORD_TAIL_CHANGES and characters <= KEYWORD_TAIL_CHARS:
                    self._keyword.note_waiting(newest)
                    return
            self.sync_keyword()

    def sync_keyword(self) -> None:
        """Bring the keyword index up to the catalog, rebuilding it if it is damaged or too far behind.

        The caller holds the lock.
        """
        folder = self.folder / KEYWORD_FOLDER
        with self._syncing:
            try:
                index = self._keyword or KeywordIndex.open(folder, writable=True)
                while self._apply_changes(index):
                    pass
            except DamagedError as error:
                logger.warning("%s; rebuilding it from the catalog", error.message)
                self._keyword = None
                index = self.rebuild_keyword()
            self._keyword = index

    def _apply_changes(self, index: KeywordIndex) -> bool:
        """Apply one batch of changes; whether there may be more. Raises `DamagedError` if some are gone."""
        with self.catalog.reading() as db:
            changes = documents.changes_since(db, index.sequence, KEYWORD_BATCH)
            if changes is None:
                raise DamagedError(f"the keyword index at {index.sequence} is older than the catalog's log")
            if not changes.added and not changes.deleted:
                return False
            entries = documents.keyword_entries(db, changes.added)
        with _full_disk_reported(self.folder):
            index.apply(add=entries, delete=changes.deleted, sequence=changes.last_sequence)
        with self.catalog.transaction() as db:
            documents.trim_changes(db, changes.last_sequence)
        return True

    def rebuild_keyword(self) -> KeywordIndex:
        """Build the keyword index anew from the catalog, the old one set aside. The caller holds the lock.

        The old one is searched until the new one is whole.
        """
        folder = self.folder / KEYWORD_FOLDER
        draft = folder.with_name(f"{KEYWORD_FOLDER}.draft")
        with self._syncing:
            # One snapshot of the catalog, so that `sequence` is that of the rows read.
            with _full_disk_reported(self.folder), self.catalog.reading() as db:
                shutil.rmtree(draft, ignore_errors=True)  # a killed rebuild's
                index = KeywordIndex.open(draft, writable=True)
                sequence, last_id = documents.last_change(db), 0
                while ids := documents.chunk_ids_after(db, last_id, KEYWORD_BATCH):
                    last_id = ids[-1]
                    # Only the last commit may carry the sequence: killed before it, the rebuild starts again.
                    index.apply(add=documents.keyword_entries(db, ids), delete=(), sequence=0)
                index.apply(add=(), delete=(), sequence=sequence)
                set_aside(folder)
                draft.rename(folder)
                self._keyword = index = KeywordIndex.open(folder, writable=True)
            with self.catalog.transaction() as db:  # also tells the other processes to look again
                documents.trim_changes(db, sequence)
            self._version = -1  # a commit may have been seen already, with the old index
        return index

    def _collect_words(self) -> None:
        """Collect names and acronyms, unless they were collected by the rules of this version."""
        with self.catalog.reading() as db:
            named, defined = links.are_current(db), expansions.are_current(db)
        if not named:
            self.rebuild_names()
        if not defined:
            self.rebuild_acronyms()

    def rebuild_names(self) -> None:
        """Collect the names of all documents anew. The caller holds the lock."""
        with self.catalog.transaction() as db:
            links.rebuild(db)

    def rebuild_acronyms(self) -> None:
        """Collect all that texts say words stand for anew. The caller holds the lock."""
        with self.catalog.transaction() as db:
            expansions.rebuild(db)

    def seal(self) -> None:
        """Turn the pending vectors into a segment. The caller holds the lock."""
        identity = self._opened_identity()
        if identity is not None:
            self.segments.seal(identity)

    def compact(self) -> None:
        """Make one segment of everything, as it suits its size. The caller holds the lock."""
        identity = self._opened_identity()
        if identity is not None:
            self.segments.compact(identity)

    def purge(self) -> None:
        """Leave nothing of deleted documents on disk: no row, no term, no page of the log, no damaged copy.

        The caller holds the lock.
        """
        self.compact()
        self.rebuild_keyword()
        for folder in (self.folder, self.segments.folder):
            for kept in folder.glob("*.damaged"):
                shutil.rmtree(kept)
        self.catalog.rewrite()
        self.catalog.fold_log()

    def compaction_due(self) -> bool:
        """Whether `compact` would make searching faster or the collection clearly smaller."""
        identity = self._opened_identity()
        return identity is not None and self.segments.compaction_due(identity)

    def apply_plan(self, plan: Plan, *, recall: float) -> None:
        """Switch to `plan` for good, if it reaches `recall`. The caller holds the lock. Raises `MismatchError`."""
        identity = self._opened_identity()
        if identity is None:
            raise InputError("the collection is empty, there is nothing to apply a plan to")
        self.segments.apply(identity, plan, recall=recall)

    def roll_back_plan(self) -> Plan | None:
        """Go back to the plan before the one applied last; None: chosen by size. The caller holds the lock."""
        identity = self._opened_identity()
        if identity is None:
            raise InputError("the collection is empty, no plan was ever applied")
        return self.segments.roll_back(identity)

    def _opened_identity(self) -> Identity | None:
        """The identity, after the segments were opened and mended: never inside their swap, which mending joins."""
        return self.snapshot().identity


def _file_number(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
