"""Back up collections while others read and one process writes: one moment of each, in one durable file.

The catalog is copied by SQLite inside one snapshot; the segments that this snapshot names are held open from its
beginning, so that a compaction may remove their names but not their bytes. The keyword index is left out: it is made
again from the texts, 27,000 passages a second.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from ragstone.backup.archive import (
    CATALOG,
    SEGMENT_MANIFEST,
    ArchivedCollection,
    Manifest,
    Member,
    write_archive,
)
from ragstone.backup.work_folder import work_folder
from ragstone.collection import SEGMENTS_FOLDER, Collection
from ragstone.durable import sync
from ragstone.errors import CancelledError, DamagedError, DiskFullError, InputError, StoreError
from ragstone.index.segment_files import file_sha256, read_manifest
from ragstone.store import documents, vectors
from ragstone.store.catalog import translated
from ragstone.store.schema import schema_version
from ragstone.store.vectors import SegmentRow
from ragstone.version import __version__

PAGES_AT_ONCE = 2_048  # of 4 KiB: progress and a stop every few hundredths of a second
ATTEMPTS = 5  # to open the segments of one snapshot: microseconds, between which a writer would have to merge each time
SPARE_BYTES = 1 << 20  # headers, padding, manifest
WORK_PREFIX = ".ragstone-backup-"

Progress = Callable[[int, int], None]
"""Told the bytes done and the bytes in all."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """Where a backup was written, its size, what it holds, and the seconds it took."""

    path: Path
    size_bytes: int
    collections: tuple[ArchivedCollection, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Copied:
    """One moment of one collection: what the manifest says of it, and its files, open."""

    about: ArchivedCollection
    members: list[Member]


def back_up(
    homes: Sequence[Collection], target: Path, *, progress: Progress, cancelled: Callable[[], bool]
) -> BackupReport:
    """Write the collections into a new file `target`, each as it is at one moment.

    Needs room for the backup and once more for the largest catalogs. Raises `InputError` (there is something at
    `target`), `DiskFullError` before anything is written, `DamagedError` for a collection that is, `StoreError`,
    `CancelledError`; then no file is left.
    """
    started_s = time.monotonic()
    if target.exists() or target.is_symlink():
        raise _exists(target)
    with _disk_errors_reported(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(target.parent, WORK_PREFIX) as work, ExitStack() as files:
            count = _Count(sum(map(_size_bytes, homes)), progress, cancelled)
            _require_room(work, count.total + sum(map(_catalog_bytes, homes)))
            copied = [
                _copied(home, number, work / f"{number}.sqlite", files, count)
                for number, home in enumerate(homes)
            ]
            made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            manifest = Manifest(tuple(one.about for one in copied), __version__, made)
            count.total = count.done + manifest.size_bytes
            draft = work / "archive"
            with draft.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)  # it holds the documents' texts
                write_archive(file, manifest, [m for one in copied for m in one.members], count.moved)
                file.flush()
                os.fsync(file.fileno())
            size_bytes = draft.stat().st_size
            _put_in_place(draft, target)
    return BackupReport(target, size_bytes, manifest.collections, time.monotonic() - started_s)


@dataclass(slots=True)
class _Count:
    """Bytes on their way, and the one place where a stop is noticed."""

    total: int
    progress: Progress
    cancelled: Callable[[], bool]
    done: int = 0

    def moved(self, size_bytes: int) -> None:
        self.done += size_bytes
        if self.cancelled():
            raise CancelledError("the backup was stopped; no file was left", hint="run it again")
        self.progress(self.done, max(self.total, self.done))


def _copied(home: Collection, number: int, copy: Path, files: ExitStack, count: _Count) -> _Copied:
    for _ in range(ATTEMPTS):
        with home.catalog.reading() as db, ExitStack() as opened:
            rows = vectors.segments(db)  # begins the snapshot
            try:
                held = [member for row in rows for member in _held(home, row, number, opened)]
            except (OSError, DamagedError) as error:
                if all(map(home.segments.named, rows)):
                    raise DamagedError(
                        f"{home.name!r} cannot be backed up: {error}",
                        hint="ragstone doctor --repair, then back up again",
                    ) from error
                continue  # merged into another since the snapshot began: take a newer one
            files.enter_context(opened.pop_all())
            _copy_catalog(db, home.catalog.path, copy, count)
            counts, schema = documents.counts(db), schema_version(db)
        content = files.enter_context(copy.open("rb"))
        sha256 = file_sha256(copy) or ""
        catalog = Member(f"{number}/{CATALOG}", copy.stat().st_size, sha256, content)
        members = [catalog, *held]
        sizes = {member.name.split("/", 1)[1]: member.size_bytes for member in members}
        about = ArchivedCollection(home.name, schema, counts.documents, counts.chunks, sizes)
        return _Copied(about, members)
    raise StoreError(
        f"the segments of {home.name!r} changed {ATTEMPTS} times while they were opened", hint="try again"
    )


def _held(home: Collection, row: SegmentRow, number: int, opened: ExitStack) -> Iterator[Member]:
    """A segment's files, open: whoever removes their names leaves the bytes to us."""
    folder = home.segments.path(row)
    about = read_manifest(folder, manifest_sha256=row.manifest_sha256)
    prefix = f"{number}/{SEGMENTS_FOLDER}/{row.name}"
    data = (folder / SEGMENT_MANIFEST).read_bytes()
    yield Member(f"{prefix}/{SEGMENT_MANIFEST}", len(data), row.manifest_sha256.hex(), io.BytesIO(data))
    for name, (size_bytes, sha256) in about.files.items():
        content = opened.enter_context((folder / name).open("rb"))
        yield Member(f"{prefix}/{name}", size_bytes, sha256, content)


def _copy_catalog(db: apsw.Connection, path: Path, copy: Path, count: _Count) -> None:
    """SQLite's online backup. The snapshot that `db` is in makes it one moment, however long it takes."""
    with translated(copy), closing(apsw.Connection(str(copy))) as target:
        target.pragma("synchronous", "off")  # it is only read once
        with target.backup("main", db, "main") as steps:
            left = None
            while not steps.done:
                steps.step(PAGES_AT_ONCE)
                page_bytes = path.stat().st_size // max(1, steps.page_count)
                count.moved(((left or steps.page_count) - steps.remaining) * page_bytes)
                left = steps.remaining


def _size_bytes(home: Collection) -> int:
    """About what will be copied: a writer may be merging segments meanwhile."""
    found = (Path(folder, name) for folder, _, names in os.walk(home.segments.folder) for name in names)
    return sum(map(_bytes_of, found)) + _catalog_bytes(home)


def _catalog_bytes(home: Collection) -> int:
    path = home.catalog.path
    return _bytes_of(path) + _bytes_of(path.with_name(f"{path.name}-wal"))


def _bytes_of(path: Path) -> int:
    """0 for a file that is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise DiskFullError(
            f"the backup needs {needed + SPARE_BYTES:,} bytes, {free:,} are free at {folder.parent}",
            hint="free some space or name a target on another disk; nothing was written",
        )


def _put_in_place(draft: Path, target: Path) -> None:
    """Give the finished file its name, never that of another."""
    try:
        try:
            target.hardlink_to(draft)
        except FileExistsError:
            raise
        except OSError:  # a file system without links (a USB stick): take the name first, then the place
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            draft.replace(target)
    except FileExistsError as error:
        raise _exists(target) from error
    sync(target.parent)


def _exists(target: Path) -> InputError:
    return InputError(f"there is something at {target} already", hint="name another file")


@contextmanager
def _disk_errors_reported(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(
                f"no space left at {target.parent} while the backup was written",
                hint="free some space or name a target on another disk; no file was left",
            ) from error
        raise StoreError(
            f"the backup {target} cannot be written: {error}", hint="check the folder and the disk"
        ) from error
