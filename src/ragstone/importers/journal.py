"""What an import leaves beside the collections so that it can be undone: `imports/<collection>/<key>/import.json`.

Written before the first document and after the last, each time whole (written beside, fsynced, renamed). It lists the
source's files with their checksums; a copy of them, where one was asked for, lies beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ragstone.durable import replace_file, sync
from ragstone.errors import DamagedError, InputError, StoreError
from ragstone.importers.records import ForeignStore
from ragstone.importers.take_over import origin

FILE = "import.json"
COPY = "source"
BACKUP_SUFFIX = "_backup_json"  # as the documented migration names the old index's folder
_VERSION = 1

State = Literal["running", "done", "moving", "moved"]

logger = logging.getLogger("ragstone.importers")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the source: its path relative to the source folder, size and SHA-256."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Journal:
    """One import into one collection.

    `origin` marks its documents; `base` is the folder that the files' paths begin in;
    `made_collection` says that the collection did not exist before; `moved_to` is where
    an in-place import has put the source folder, None while it is where it was.
    """

    collection: str
    format: str
    origin: str
    source: str
    base: str
    files: tuple[SourceFile, ...]
    made_collection: bool
    state: State
    started_s: float
    moved_to: str | None = None


def folder_of(data_dir: Path, collection: str, origin_: str) -> Path:
    """Where the journal of an import lies: the same for every run from one source into one collection."""
    key = hashlib.sha256(origin_.encode("utf-8", "replace")).hexdigest()[:12]
    return data_dir / "imports" / collection / key


def journals(data_dir: Path, collection: str) -> list[tuple[Path, Journal]]:
    """The imports into a collection with their folders, the latest last. Raises `DamagedError`."""
    home = data_dir / "imports" / collection
    found = [(file.parent, read(file.parent)) for file in sorted(home.glob(f"*/{FILE}"))]
    return sorted(found, key=lambda pair: pair[1].started_s)


def read(folder: Path) -> Journal:
    """The journal in a folder. Raises `DamagedError`."""
    try:
        fields: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if fields.pop("version") != _VERSION:
            raise ValueError("another version wrote it")
        files = tuple(SourceFile(**entry) for entry in fields.pop("files"))
        return Journal(files=files, **fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{folder / FILE} cannot be read: {error}") from error


def write(folder: Path, journal: Journal) -> None:
    """Put the journal on disk for good. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / FILE, json.dumps({"version": _VERSION, **asdict(journal)}, indent=1))


def begin(
    data_dir: Path,
    collection: str,
    store: ForeignStore,
    *,
    collection_exists: bool,
    in_place: bool,
    backup: bool,
) -> tuple[Path, Journal]:
    """Note that an import begins, after hashing its source, and copy the source where `backup` asks for it.

    A second run from the same source keeps what the first one noted of the collection.
    """
    mark = origin(store)
    folder = folder_of(data_dir, collection, mark)
    if store.path is None and (in_place or backup):
        raise InputError(
            f"{store.place} is on a server, which is only read",
            hint="--in-place and --backup are for files; to keep a copy of a Redis: redis-cli --rdb FILE",
        )
    if in_place and store.path is not None and not store.path.is_dir():
        raise InputError(f"{store.path} is not a folder", hint="--in-place moves the source's folder")
    before = read(folder) if (folder / FILE).is_file() else None
    base = _base(store)
    files = source_files(base, None if in_place else store.files)
    if before is not None and before.state == "done" and before.files == files and not in_place:
        journal = before  # the source is as it was: at most, documents deleted since are added again
    else:
        journal = _new(collection, store, mark, base, files, before, collection_exists=collection_exists)
        write(folder, journal)
    if backup:
        _copy(base, folder / COPY, files)
    return folder, journal


def _new(
    collection: str,
    store: ForeignStore,
    mark: str,
    base: Path,
    files: tuple[SourceFile, ...],
    before: Journal | None,
    *,
    collection_exists: bool,
) -> Journal:
    return Journal(
        collection=collection,
        format=store.format,
        origin=mark,
        source=store.place,
        base=str(base),
        files=files,
        made_collection=before.made_collection if before else not collection_exists,
        state="running",
        started_s=time.time(),
    )


def _base(store: ForeignStore) -> Path:
    """The folder that the files' paths begin in; without meaning for a store that has none."""
    if store.path is None:
        return Path()
    return (store.path if store.path.is_dir() else store.path.parent).absolute()


def source_files(base: Path, chosen: Sequence[Path] | None) -> tuple[SourceFile, ...]:
    """Path, size and checksum of the chosen files, or of every file below `base`; sorted by path."""
    files = [path for path in base.rglob("*") if path.is_file()] if chosen is None else list(chosen)
    listed = []
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        # A texts file named on the command line may lie elsewhere; it keeps its full path.
        where = file.absolute()
        name = str(where.relative_to(base)) if where.is_relative_to(base) else str(where)
        listed.append(SourceFile(name, file.stat().st_size, digest))
    return tuple(sorted(listed, key=lambda file: file.path))


def differences(base: Path, files: Sequence[SourceFile]) -> list[str]:
    """The files below `base` that are missing or no longer what the journal says."""
    changed = []
    for file in files:
        path = base / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            changed.append(file.path)
            continue
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                changed.append(file.path)
    return changed


def finish(folder: Path, journal: Journal) -> Journal:
    """Note that every record is in the collection."""
    if journal.state != "done":
        journal = replace(journal, state="done")
        write(folder, journal)
    return journal


def move_source(folder: Path, journal: Journal) -> Journal:
    """Move the source folder aside, to a name that nothing has; what an in-place import ends with.

    Raises `StoreError` when the source has changed since it was read.
    """
    source = Path(journal.source)
    if journal.state != "moving":
        changed = differences(source, journal.files)
        if changed:
            raise StoreError(
                f"{source} has changed during the import: {', '.join(changed[:5])}",
                hint="close the program that uses it and run the same command again",
            )
        journal = replace(journal, state="moving", moved_to=str(_free_name(source)))
        write(folder, journal)
    assert journal.moved_to is not None  # noqa: S101 - set with the state
    target = Path(journal.moved_to)
    if source.exists() and not target.exists():
        source.rename(target)
        sync(source.parent)
    logger.info("Backed up old index to %s", target)
    journal = replace(journal, state="moved")
    write(folder, journal)
    return journal


def _free_name(source: Path) -> Path:
    """`<name>_backup_json`, or with a number behind it: a backup is never written over."""
    for number in range(1, 1_000):
        name = f"{source.name}{BACKUP_SUFFIX}" + (f"-{number}" if number > 1 else "")
        if not source.with_name(name).exists():
            return source.with_name(name)
    raise StoreError(f"{source.parent} holds 999 backups of {source.name}", hint="remove old ones")


def _copy(base: Path, target: Path, files: Sequence[SourceFile]) -> None:
    """Copy the source's files, each checked; a whole copy that is already there stays."""
    if target.is_dir():
        if not differences(target, files):
            return
        raise StoreError(
            f"{target} holds a backup of another state of the source",
            hint="a backup is never written over: move it away first",
        )
    draft = target.with_name(f"{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for file in files:
        if Path(file.path).is_absolute():
            raise InputError(f"{file.path} lies outside {base}", hint="--backup copies one folder")
        (draft / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(base / file.path, draft / file.path)
    if differences(draft, files):
        raise StoreError(f"{base} changed while it was copied", hint="close the program that uses it")
    draft.rename(target)
    sync(target.parent)
    logger.info("Backed up old index to %s", target)
