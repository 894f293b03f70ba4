"""One collection on disk, open: the catalog, and the keyword index and dense snapshot derived from it, in step.

Ids are all the three have in common; this is the place where they meet. Reading takes no lock: a snapshot is
renewed when the catalog says that somebody has committed. Writing takes the collection's lock file.
"""

from __future__ import annotations

import errno
import logging
import math
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
from ragstone.collection_keyword import CollectionKeyword
from ragstone.errors import (
    DamagedError,
    DiskFullError,
    InputError,
    LockedError,
    RagstoneError,
    StoreError,
)
from ragstone.index.dense import DenseIndex
from ragstone.index.plans import Plan
from ragstone.index.segment import Segment
from ragstone.index.tail import Tail
from ragstone.links import NameLinks
from ragstone.retrieval.votes import NO_VOTES, Votes
from ragstone.segments import SegmentStore
from ragstone.store import acronyms, documents, names, vectors, votes
from ragstone.store.catalog import Catalog, Identity
from ragstone.store.chunk_terms import ChunkTerms
from ragstone.store.keyword_reader import KeywordReader
from ragstone.store.lock import WriterLock
from ragstone.types import Degraded

# Searched in memory, so it must stay small: 16,384 × 384 take .5 ms to scan, and 25 MB as rows and as FAISS has them.
SEAL_ROWS = 16_384
# Left in the tail at the end of a run: below this, opening reads them from the catalog in under 2 ms.
TAIL_ROWS = 1_024
# What could not be mended when it was read (a full disk, another writer) is tried again after so long, not by every
# search: checking a large segment's files takes as long.
RETRY_S = 1.0
SEGMENTS_FOLDER = "segments"

# A collection's memory is a collection beside it, `<name>.memory`; with a Redis, the copy `<name>.memory-redis`.
MEMORY_SUFFIX = ".memory"
MEMORY_COPY_SUFFIX = "-redis"

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

    `dense`, `keyword` and `graph` are None before the first write, or while they wait to be rebuilt, `graph` also where
    no document has a name; `has_acronyms`: whether texts define some, as far as they have been collected.
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
        self._keyword = CollectionKeyword(folder, self.catalog, self._lock, self.writing)
        self._refreshing = threading.RLock()
        self._version = (-1, 0)
        self._retry_at_s = math.inf
        self._snapshot = Snapshot(None, None, None, None, ChunkTerms(self.catalog), ())
        self._tail = Tail.empty(0)
        self._tail_sequence = 0
        self._removals = -1
        self._votes, self._vote_changes = NO_VOTES, 0
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
        if self._recovered and self._keyword.is_open:
            with suppress(RagstoneError), self.writing():
                self._keyword.sync()
        self.catalog.close()

    # -- reading ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest committed state; costs microseconds while nothing has been written."""
        version = self._newest()
        if version == self._version and time.monotonic() < self._retry_at_s:
            return self._snapshot
        with self._refreshing:
            version = self._newest()
            if version != self._version or time.monotonic() >= self._retry_at_s:
                self._snapshot = self._read_snapshot()
                self._version = version
            return self._snapshot

    def _newest(self) -> tuple[int, int]:
        return self.catalog.version(), self._keyword.rebuilds

    def _read_snapshot(self) -> Snapshot:
        identity = self.catalog.identity()
        if identity is None:
            return Snapshot(None, None, None, None, ChunkTerms(self.catalog), ())
        degraded: list[Degraded] = []
        dense = self._read_dense(identity, degraded)
        keyword = self._keyword.read(degraded)
        named = self._collected(
            "graph", "the names of documents", links.are_current, self.rebuild_names, degraded
        )
        collected = self._collected(
            "acronyms", "the acronyms of texts", expansions.are_current, self.rebuild_acronyms, degraded
        )
        self._retry_at_s = time.monotonic() + RETRY_S if degraded else math.inf
        with self.catalog.reading() as db:
            waiting = documents.waiting(db).unembedded
            chunks = documents.counts(db).chunks if waiting else 0
            self._read_votes(db, identity)
            graph = NameLinks(self.catalog, keyword) if named and names.are_there(db) else None
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
        """Hand what was committed to the keyword index, or leave a little to its readers. The caller holds the lock."""
        self._keyword.follow()

    def sync_keyword(self) -> None:
        """Bring the keyword index up to the catalog. The caller holds the lock."""
        self._keyword.sync()

    def rebuild_keyword(self) -> None:
        """Build the keyword index anew from the catalog. The caller holds the lock."""
        self._keyword.rebuild()

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
