"""Undo an import: its documents leave the collection, and a source that was moved aside goes back to its place.

Nothing is removed before every checksum of the journal has been found right.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ragstone.durable import sync
from ragstone.engine import Ragstone
from ragstone.errors import DamagedError, NotFoundError, StoreError
from ragstone.importers import journal as journals
from ragstone.importers.journal import COPY, FILE, Journal
from ragstone.importers.take_over import FROM_KEY
from ragstone.store.lock import WriterLock


@dataclass(frozen=True, slots=True)
class RollbackReport:
    """What was undone.

    `source_intact` says that every file of the source has the checksum it had when it was imported, None that it has
    no files: it is on a server; `source_changed` are those that do not (their program has written them since: they are
    left as they are).
    """

    collection: str
    source: str
    documents: int
    collection_removed: bool
    source_restored: bool
    source_intact: bool | None
    source_changed: tuple[str, ...]


def roll_back(engine: Ragstone, *, data_dir: Path, source: Path | str | None = None) -> RollbackReport:
    """Undo the latest import into the engine's collection, or the latest from `source`: a path, or the address of a
    server with or without the prefix. Closes the engine.

    Killed at any point, the same call goes on. Raises `NotFoundError` where there is nothing to undo,
    `DamagedError` when the moved source is no longer what was imported, `StoreError` when something else
    lies in its place, `LockedError`.
    """
    name = engine.stats().collection
    folder, found = _chosen(data_dir, name, source)
    _check(found)
    uris, others = _documents(engine, found)
    remove_all = found.made_collection and not others and name in engine.collections()
    if not remove_all and uris:
        engine.delete(uris)
    engine.close()
    if remove_all:
        drop_collection(data_dir, name)
    restored = _put_back(found)
    changed = journals.differences(Path(found.base), found.files)
    if changed and not restored:
        restored = _restore_missing(folder, found, changed)
        changed = journals.differences(Path(found.base), found.files)
    (folder / FILE).unlink()
    if not changed or not (folder / COPY).is_dir():  # else the copy may be all there is of what was imported
        shutil.rmtree(folder)
    with suppress(OSError):  # it holds other imports
        folder.parent.rmdir()
    return RollbackReport(
        collection=name,
        source=found.source,
        documents=len(uris),
        collection_removed=remove_all,
        source_restored=restored,
        source_intact=not changed if found.files else None,
        source_changed=tuple(changed),
    )


def drop_collection(data_dir: Path, name: str) -> None:
    """Remove a whole collection. Raises `LockedError` while another process writes to it."""
    folder = data_dir / "collections" / name
    removed = data_dir / "imports" / name / "removed"
    with WriterLock(folder / "lock").held():
        shutil.rmtree(removed, ignore_errors=True)  # of a rollback that was killed here
        folder.rename(removed)
        sync(folder.parent)
    shutil.rmtree(removed)


def _chosen(data_dir: Path, name: str, source: Path | str | None) -> tuple[Path, Journal]:
    found = journals.journals(data_dir, name)
    if source is not None:
        found = [pair for pair in found if _is_from(pair[1], source)]
    if not found:
        what = f" from {source}" if source else ""
        raise NotFoundError(
            f"no import{what} into collection {name!r} to roll back", hint="nothing was changed"
        )
    return found[-1]


def _is_from(found: Journal, source: Path | str) -> bool:
    if isinstance(source, Path):
        return found.source == str(source.absolute())
    return found.source == source or found.source.startswith(f"{source}#")  # any prefix


def _check(found: Journal) -> None:
    """See that the moved source is whole and its old place free, before anything is removed."""
    if found.moved_to is None or not Path(found.moved_to).exists():
        return
    changed = journals.differences(Path(found.moved_to), found.files)
    if changed:
        raise DamagedError(
            f"{found.moved_to} is no longer what was imported: {', '.join(changed[:5])}",
            hint="nothing was changed; restore those files from a backup of yours",
        )
    if Path(found.source).exists():
        raise StoreError(
            f"{found.source} exists again, so {found.moved_to} cannot go back there",
            hint="nothing was changed; move it away and roll back again",
        )


def _documents(engine: Ragstone, found: Journal) -> tuple[list[str], int]:
    """The import's documents, and how many others there are."""
    if found.collection not in engine.collections():
        return [], 0
    listed = engine.documents()
    uris = [info.uri for info in listed if info.metadata.get(FROM_KEY) == found.origin]
    return uris, len(listed) - len(uris)


def _put_back(found: Journal) -> bool:
    if found.moved_to is None or not Path(found.moved_to).exists() or Path(found.source).exists():
        return False
    Path(found.moved_to).rename(found.source)
    sync(Path(found.source).parent)
    return True


def _restore_missing(folder: Path, found: Journal, changed: list[str]) -> bool:
    """Copy back files that are gone, where a backup was made; files that changed are their program's."""
    base = Path(found.base)
    missing = [path for path in changed if not (base / path).exists() and (folder / COPY / path).is_file()]
    for path in missing:
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / COPY / path, base / path)
    return bool(missing)
