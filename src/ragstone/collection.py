"""One collection on disk, open: the catalog, and the keyword index and dense snapshot derived from it, in step.

Ids are all the three have in common; this is the place where they meet. Reading takes no lock: a snapshot is
renewed when the catalog says that somebody has committed. Writing takes the collection's lock file.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw
import numpy as np

from ragstone.errors import DamagedError, DiskFullError, LockedError, NotFoundError, StoreError
from ragstone.index.dense import DenseIndex, Tail
from ragstone.index.segment import (
    HalfMatrix,
    Segment,
    build_segment,
    read_manifest,
    salvage,
    verify_files,
)
from ragstone.index.trust import forget, is_trusted, trust
from ragstone.store import documents, vectors
from ragstone.store.catalog import Catalog, Identity, require_space
from ragstone.store.keyword import KeywordIndex
from ragstone.store.lock import WriterLock
from ragstone.types import Degraded, Ids

# Searched in memory, so it must stay small: 16,384 × 384 float32 take 2.5 ms to scan and 25 MB.
SEAL_ROWS = 16_384
# Left in the tail at the end of a run: below this, opening reads them from the catalog in under 2 ms.
TAIL_ROWS = 1_024
# A segment is rewritten together with the new one unless it is this much larger: sizes then fall
# geometrically, so there are at most log2(n / TAIL_ROWS) of them and each vector is copied as often.
MERGE_RATIO = 2.0
# Rows deleted from a segment before it is rewritten without them.
DEAD_SHARE = 0.3
# Chunks the keyword index takes in one commit: 30 MB of text at 500 bytes each.
KEYWORD_BATCH = 50_000
KEYWORD_FOLDER = "keyword"
SEGMENTS_FOLDER = "segments"

_NO_SPACE = os.strerror(errno.ENOSPC)

logger = logging.getLogger("ragstone")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a search uses: one state of the vectors, the keyword index, and what is missing from them.

    `dense` and `keyword` are None before the first write, or while they wait to be rebuilt.
    """

    identity: Identity | None
    dense: DenseIndex | None
    keyword: KeywordIndex | None
    degraded: tuple[Degraded, ...]


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
        self.catalog = Catalog.open(folder / "catalog.sqlite")
        self._lock = WriterLock(folder / "lock")
        self._refreshing = threading.RLock()
        self._version = -1
        self._snapshot = Snapshot(None, None, None, ())
        self._segments: dict[str, Segment] = {}
        self._tail = Tail.empty(0)
        self._tail_sequence = 0
        self._removals = -1
        self._keyword: KeywordIndex | None = None
        self._syncing = threading.RLock()  # the keyword index has one writer
        self._sealing = threading.RLock()  # segments are swapped one at a time
        self._recovering = threading.Lock()
        self._recovered = False

    @property
    def name(self) -> str:
        """The collection's name, its folder's."""
        return self.folder.name

    def close(self) -> None:
        """Let go of files and connections; snapshots given out stay usable."""
        self.catalog.close()

    # -- reading ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The newest committed state; costs microseconds while nothing has been written."""
        version = self.catalog.version()
        if version == self._version:
            return self._snapshot
        with self._refreshing:
            version = self.catalog.version()
            if version != self._version:
                self._snapshot = self._read_snapshot()
                self._version = version
            return self._snapshot

    def _read_snapshot(self) -> Snapshot:
        identity = self.catalog.identity()
        if identity is None:
            return Snapshot(None, None, None, ())
        degraded: list[Degraded] = []
        dense = self._read_dense(identity, degraded)
        keyword = self._read_keyword(degraded)
        with self.catalog.reading() as db:
            waiting = documents.waiting(db).unembedded
            chunks = documents.counts(db).chunks if waiting else 0
        if waiting:
            degraded.append(Degraded("dense", f"{waiting:,} of {chunks:,} chunks have no vector yet"))
        return Snapshot(identity, dense, keyword, tuple(degraded))

    def _read_dense(self, identity: Identity, degraded: list[Degraded]) -> DenseIndex:
        with self.catalog.reading() as db:
            rows = vectors.segments(db)
            dead = vectors.tombstones(db)
            self._read_tail(db, identity, rows)
        opened: dict[str, Segment] = {}
        for row in rows:
            try:
                opened[row.name] = self._segments.get(row.name) or self._open_segment(row)
            except DamagedError as error:
                if self.still_named(row) and not self._mended(row, identity, error, degraded):
                    continue
                return self._read_dense(identity, degraded)  # the catalog has moved on: read it again
        self._segments = opened
        return DenseIndex(tuple(opened.values()), self._tail, dead)

    def _read_tail(self, db: apsw.Connection, identity: Identity, rows: list[vectors.SegmentRow]) -> None:
        removals = vectors.vector_removals(db)
        if removals != self._removals:  # something was deleted or sealed: not only new rows behind the old
            self._tail, self._tail_sequence = Tail.empty(identity.dim), 0
        pending = vectors.pending_vectors(db, identity.dim, self._tail_sequence)
        if len(pending.chunk_ids):
            self._tail = self._tail.extended(pending.chunk_ids, pending.document_ids, pending.vectors)
        self._tail_sequence, self._removals = pending.last_sequence, removals

    def _open_segment(self, row: vectors.SegmentRow) -> Segment:
        folder = self.segment_folder(row)
        manifest = read_manifest(folder, manifest_sha256=row.manifest_sha256)
        if not is_trusted(folder):
            verify_files(folder, manifest)
            trust(folder)
        return Segment(folder, manifest)

    def segment_folder(self, row: vectors.SegmentRow) -> Path:
        """Where a segment's files are."""
        return self.folder / SEGMENTS_FOLDER / row.name

    def still_named(self, row: vectors.SegmentRow) -> bool:
        """Whether the catalog still vouches for a segment; a writer may have merged it into another."""
        with self.catalog.reading() as db:
            return any(found.id == row.id for found in vectors.segments(db))

    def _mended(
        self, row: vectors.SegmentRow, identity: Identity, error: DamagedError, degraded: list[Degraded]
    ) -> bool:
        """Try to mend a damaged segment; whether it worked. What cannot be mended now is reported."""
        try:
            with self.writing():
                self.mend_segment(row, identity, error)
            return True
        except LockedError:
            degraded.append(Degraded("dense", f"{error.message}; another process is writing"))
            return False
        except DiskFullError as full:  # searching goes on with the rest
            degraded.append(Degraded("dense", f"{error.message}; it cannot be mended: {full.message}"))
            return False

    def _read_keyword(self, degraded: list[Degraded]) -> KeywordIndex | None:
        with self.catalog.reading() as db:
            wanted = documents.last_change(db)
        try:
            if self._keyword is None:
                self._keyword = KeywordIndex.open(self.folder / KEYWORD_FOLDER, writable=False)
            else:
                self._keyword.refresh()
            if self._keyword.sequence >= wanted or self._lock.held_here:
                return self._keyword  # a thread of ours that is writing will bring it up to date
        except (DamagedError, NotFoundError):
            self._keyword = None
        try:
            with self.writing():
                self.sync_keyword()
        except LockedError:
            # The writer at work brings it up to date; what it already has is searchable meanwhile.
            if self._keyword is None:
                degraded.append(Degraded("keyword", "the keyword index is being rebuilt"))
        except StoreError as error:  # a full disk, say: searching goes on with what there is
            degraded.append(Degraded("keyword", f"the keyword index is behind: {error.message}"))
        return self._keyword

    # -- writing ---------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the collection's lock for a block. Raises `LockedError`, naming the holder, at once."""
        with self._lock.held():
            with self._recovering:
                if not self._recovered:  # nobody in this process has written yet, and no other process can
                    self._remove_orphans()
                    self._recovered = True
            yield

    def _remove_orphans(self) -> None:
        """Remove what a killed writer left behind."""
        with self.catalog.reading() as db:
            named = {row.name for row in vectors.segments(db)}
        for path in (self.folder / SEGMENTS_FOLDER).iterdir():
            name = path.name.split(".", 1)[0]
            if path.is_dir() and name not in named and ".damaged" not in path.name:
                shutil.rmtree(path)
            elif path.is_file() and name not in named:
                path.unlink()

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
        """Build the keyword index anew from the catalog, the old one set aside. The caller holds the lock."""
        folder = self.folder / KEYWORD_FOLDER
        with self._syncing:
            # One snapshot of the catalog, so that `sequence` is that of the rows read.
            with _full_disk_reported(self.folder), self.catalog.reading() as db:
                self._keyword = None
                _set_aside(folder)
                index = KeywordIndex.open(folder, writable=True)
                sequence, last_id = documents.last_change(db), 0
                while ids := documents.chunk_ids_after(db, last_id, KEYWORD_BATCH):
                    last_id = ids[-1]
                    # Only the last commit may carry the sequence: killed before it, the rebuild starts again.
                    index.apply(add=documents.keyword_entries(db, ids), delete=(), sequence=0)
                index.apply(add=(), delete=(), sequence=sequence)
            self._keyword = index
            with self.catalog.transaction() as db:  # also tells the other processes to look again
                documents.trim_changes(db, sequence)
        return index

    def seal(self, identity: Identity) -> None:
        """Turn the pending vectors into a segment, together with segments of similar size.

        The caller holds the lock.
        """
        self.snapshot()  # opens, and mends, the segments; never inside `_sealing`, which mending takes itself
        with self._sealing:
            with self.catalog.reading() as db:
                rows = vectors.segments(db)
                pending = vectors.pending_vectors(db, identity.dim)
                dead = vectors.tombstones(db)
                opened = self._segments
            rows = [row for row in rows if row.name in opened]
            merged = _to_merge(rows, len(pending.chunk_ids), dead, opened)
            parts = [_live_part(opened[row.name], dead) for row in merged]
            sealed = np.concatenate([np.empty(0, np.int64), *(opened[row.name].chunk_ids for row in merged)])
            self._swap(
                identity,
                retired=merged,
                chunk_ids=np.concatenate([pending.chunk_ids, *(part[0] for part in parts)]),
                document_ids=np.concatenate([pending.document_ids, *(part[1] for part in parts)]),
                halves=np.concatenate([pending.vectors, *(part[2] for part in parts)]),
                sealed_up_to=pending.last_sequence,
                purged=np.intersect1d(sealed, dead),
            )

    def mend_segment(self, row: vectors.SegmentRow, identity: Identity, error: DamagedError) -> None:
        """Rewrite a damaged segment from its undamaged blocks and queue the rest for embedding.

        The damaged folder is set aside. The caller holds the lock.
        """
        folder = self.segment_folder(row)
        with self._sealing:
            with self.catalog.reading() as db:
                dead = vectors.tombstones(db)
            chunk_ids, document_ids, halves = _salvaged(folder, row, identity.dim)
            live = ~np.isin(chunk_ids, dead)
            self._swap(
                identity,
                retired=[row],
                chunk_ids=chunk_ids[live],
                document_ids=document_ids[live],
                halves=halves[live],
                sealed_up_to=0,
                purged=np.intersect1d(chunk_ids, dead),
                keep_damaged=True,
            )
            queued = self.queue_lost_chunks()
        logger.warning(
            "%s; %s vectors saved, %s chunks queued for embedding again",
            error.message,
            f"{live.sum():,}",
            f"{queued:,}",
        )

    def queue_lost_chunks(self) -> int:
        """Queue for embedding the chunks whose vectors no file holds; how many. The caller holds the lock."""
        with self.catalog.transaction() as db:
            return vectors.queue_chunks_without_vector(db, self.sealed_chunk_ids(vectors.segments(db)))

    def sealed_chunk_ids(self, rows: list[vectors.SegmentRow]) -> Ids:
        """The chunk ids that the segments hold; those of a segment that does not open are taken as held."""
        found = [np.empty(0, np.int64)]
        for row in rows:
            try:
                segment = self._segments.get(row.name) or self._open_segment(row)
                found.append(np.asarray(segment.chunk_ids))
            except DamagedError as error:
                # Its turn to be mended comes; until then its chunks are not lost, only unreadable.
                logger.warning("%s", error.message)
        return np.concatenate(found)

    def _swap(
        self,
        identity: Identity,
        *,
        retired: list[vectors.SegmentRow],
        chunk_ids: Ids,
        document_ids: Ids,
        halves: HalfMatrix,
        sealed_up_to: int,
        purged: Ids,
        keep_damaged: bool = False,
    ) -> None:
        """Build a segment of the given rows and put it in the place of others, in one commit."""
        home = self.folder / SEGMENTS_FOLDER
        name, manifest_sha256 = "", b""
        if len(chunk_ids):
            sealed = build_segment(
                home,
                chunk_ids=chunk_ids,
                document_ids=document_ids,
                vectors=halves,
                model_id=identity.model_id,
            )
            name, manifest_sha256 = sealed.name, sealed.manifest_sha256
            trust(home / name)
        with self.catalog.transaction() as db:
            vectors.replace_segments(
                db,
                retired=[row.id for row in retired],
                name=name,
                chunk_ids=chunk_ids,
                manifest_sha256=manifest_sha256,
                sealed_up_to=sealed_up_to,
                purged=purged,
            )
        for row in retired:  # processes that have them open keep their mapping
            forget(self.segment_folder(row))
            if keep_damaged:
                _set_aside(self.segment_folder(row))
            else:
                shutil.rmtree(self.segment_folder(row), ignore_errors=True)


@contextmanager
def _full_disk_reported(folder: Path) -> Iterator[None]:
    """Raise what tantivy makes of a full disk (an I/O error, or a worker thread that died) as `DiskFullError`."""
    require_space(folder)
    try:
        yield
    except (ValueError, StoreError) as error:
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


def _to_merge(
    rows: list[vectors.SegmentRow],
    pending: int,
    dead: Ids,
    opened: dict[str, Segment],
) -> list[vectors.SegmentRow]:
    """The segments to rewrite together with `pending` new rows: the smaller ones and those mostly deleted."""
    chosen: list[vectors.SegmentRow] = []
    size = pending
    for row in sorted(rows, key=lambda row: row.count):
        gone = len(np.intersect1d(opened[row.name].chunk_ids, dead)) if len(dead) else 0
        if row.count <= MERGE_RATIO * size or gone > DEAD_SHARE * row.count:
            chosen.append(row)
            size += row.count - gone
    return chosen


def _live_part(
    segment: Segment, dead: Ids
) -> tuple[
    Ids,
    Ids,
    HalfMatrix,
]:
    live = ~np.isin(segment.chunk_ids, dead)
    return segment.chunk_ids[live], segment.document_ids[live], segment.vectors[live]


def _salvaged(folder: Path, row: vectors.SegmentRow, dim: int) -> tuple[Ids, Ids, HalfMatrix]:
    try:
        manifest = read_manifest(folder, manifest_sha256=row.manifest_sha256)
    except DamagedError:  # without the manifest no block can be checked
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, dim), np.float16)
    return salvage(folder, manifest)


def _set_aside(folder: Path) -> None:
    """Keep one damaged copy of a derived folder, for whoever wants to know why, out of the way."""
    if folder.exists():
        kept = folder.with_name(f"{folder.name}.damaged")
        shutil.rmtree(kept, ignore_errors=True)
        folder.rename(kept)
