"""Put a backup's collections in place: unpacked beside, checked, opened, and only then given their names.

Killed at any moment, a name stands for the old collection or for the new one, whole: a new one is renamed to a free
name, or changes places with the old one in one step of the file system. What a killed run leaves beside goes with the
next one.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ragstone import maintenance
from ragstone.backup.archive import Archive, ArchivedCollection, Manifest, Moved, open_archive
from ragstone.backup.work_folder import work_folder
from ragstone.collection import MEMORY_SUFFIX, Collection, documents_only, holds_memories
from ragstone.durable import sync_tree
from ragstone.errors import CancelledError, DamagedError, DiskFullError, InputError, NotFoundError, StoreError
from ragstone.open_collections import OpenCollections, require_name

# What comes on top of the archive: the keyword index, and the catalog's log while it is checked.
ROOM_SHARE = 1.5
WORK_PREFIX = ".restoring-"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RestoredCollection:
    """A collection that is there again: its name now and in the backup, what is in it, whether it replaced another."""

    name: str
    archived_as: str
    documents: int
    chunks: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored from which file, when that was made (ISO 8601, UTC), and the seconds it took."""

    path: Path
    made: str
    collections: tuple[RestoredCollection, ...]
    seconds: float


def restore(
    path: Path,
    places: OpenCollections,
    *,
    collection: str | None,
    replace: bool,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> RestoreReport:
    """Put the collections of a backup in place, with their memories.

    `collection` is the name for the only one in it, or one of several that is wanted alone. Raises `NotFoundError`,
    `DamagedError`, `MismatchError` (a newer ragstone wrote it), `InputError` (a name is taken, and not to be
    replaced), `LockedError` (it is being written), `DiskFullError`, `CancelledError`, all without changing anything;
    but of several collections the ones before the fault have been put in place.
    """
    started_s = time.monotonic()
    with open_archive(path) as file:
        archive = Archive(path, file)
        names = _names(archive.manifest, collection)
        for name in names.values():
            if not replace and places.holds(name):
                raise InputError(
                    f"there is a collection {name!r} already; nothing was changed",
                    hint="restore with --replace, or under another name with --collection",
                )
        homes = [home for home in archive.manifest.collections if home.name in names]
        total = sum(home.size_bytes for home in homes)
        try:
            places.folder.mkdir(parents=True, exist_ok=True)
            _require_room(places.folder, total)
            with work_folder(places.folder, WORK_PREFIX) as work:
                folders = {home.name: work / str(number) for number, home in enumerate(homes)}
                for folder in folders.values():
                    folder.mkdir()
                archive.unpack(folders, _counted(total, progress, cancelled))
                for folder in folders.values():
                    _check(folder)
                # Memories first: a name that is missing from the list of collections says that there is more to do.
                restored = [
                    _put(places, home, names[home.name], folders[home.name], replace=replace)
                    for home in sorted(homes, key=lambda home: not holds_memories(home.name))
                ]
        except OSError as error:
            kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else StoreError
            raise kind(
                f"{path} cannot be restored into {places.folder}: {error}", hint="check the disk and its room"
            ) from error
    return RestoreReport(path, archive.manifest.made, tuple(restored), time.monotonic() - started_s)


def _names(manifest: Manifest, wanted: str | None) -> dict[str, str]:
    """Name in the backup → name from now on, of the collections to restore and their memories."""
    kept = [home.name for home in manifest.collections]
    chosen = {name: name for name in kept}
    if wanted is not None:
        require_name(documents_only(wanted))
        ours = [name for name in kept if not holds_memories(name)]
        if len(ours) != 1 and wanted not in ours:
            raise NotFoundError(
                f"the backup holds no collection {wanted!r}, but {', '.join(ours) or 'none'}",
                hint="name one of them; a backup of one can be restored under any name",
            )
        old = ours[0] if len(ours) == 1 else wanted
        chosen = {
            name: wanted + name.removeprefix(old) for name in kept if name in {old, old + MEMORY_SUFFIX}
        }
    return chosen


def _counted(total: int, progress: Progress, cancelled: Callable[[], bool]) -> Moved:
    done = 0

    def moved(size_bytes: int) -> None:
        nonlocal done
        done += size_bytes
        if cancelled():
            raise CancelledError("restoring was stopped; nothing was changed", hint="run it again")
        progress(done, total)

    return moved


def _check(folder: Path) -> None:
    """Open the collection as it will be, make its keyword index and compare its parts; then make it durable."""
    collection = Collection(folder)
    try:
        with collection.writing():
            collection.rebuild_keyword()
        report = maintenance.repair(collection)  # what could be mended when it was backed up, can be now
    finally:
        collection.close()
    if report.problems:
        raise DamagedError(
            f"the backup holds a damaged collection: {report.problems[0].message}",
            hint="nothing was changed; take another backup",
        )
    sync_tree(folder)


def _put(
    places: OpenCollections, home: ArchivedCollection, name: str, folder: Path, *, replace: bool
) -> RestoredCollection:
    replaced = places.put(name, folder, replace=replace)
    return RestoredCollection(name, home.name, home.documents, home.chunks, replaced)


def _require_room(folder: Path, size_bytes: int) -> None:
    needed, free = int(size_bytes * ROOM_SHARE), shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(
            f"restoring needs {needed:,} bytes, {free:,} are free at {folder}",
            hint="free some space; nothing was changed",
        )
