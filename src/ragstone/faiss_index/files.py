"""A `FAISSIndex` on disk: generations of files, of which a manifest names the one that counts.

    <path>/manifest.json           which generation; counts, options, plan, measured efforts, SHA-256 of each file
    <path>/generation-<id>/
        index.faiss                the built index (none while there are few vectors)
        vectors.f32                exact vectors of its rows, where the index itself has only codes
        tail.f32                   exact vectors of the rows added since
        ids.jsonl ids.u64          one JSON value a row, and where each begins
        metadata.jsonl metadata.u64
        dead.u8                    1 for each row that is gone (none while none is)
    <path>/generation-<id>.trusted stat fingerprint of the last verification (advisory)
    <path>/lock                    held while one process saves

A generation is written beside the others, made durable, and counts from the moment the manifest that names it is
renamed into place: a crash leaves the old one or the new one. Everything is mapped when opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np

from ragstone.durable import sync, sync_tree
from ragstone.errors import DiskFullError, InputError, StoreError
from ragstone.faiss_index.base import Base, opened_base
from ragstone.faiss_index.columns import Column, JsonLines, Vectors, write_json_lines
from ragstone.faiss_index.manifest import damaged, read_manifest, write_manifest
from ragstone.faiss_index.options import Device, Options, options_from_json
from ragstone.faiss_index.snapshot import Snapshot
from ragstone.index.fast import Calibration
from ragstone.index.plans import plan_from_json
from ragstone.index.segment_files import file_sha256
from ragstone.trust import forget, is_trusted, trust
from ragstone.types import Matrix
from ragstone.version import __version__

faiss: Any = _faiss  # its stubs lack half of what is used here

FORMAT = 1
MANIFEST = "manifest.json"
_LOCK = "lock"
_PREFIX = "generation-"
_INDEX = "index.faiss"
_VECTORS = "vectors.f32"
_TAIL = "tail.f32"
_DEAD = "dead.u8"
_NO_SPACE = os.strerror(errno.ENOSPC)  # FAISS reports a short write in words only


@dataclass(frozen=True, slots=True)
class Saved:
    """A generation that a checked manifest names; nothing of its files is open yet."""

    folder: Path
    options: Options
    count: int
    rows: int
    base: Mapping[str, Any] | None
    files: Mapping[str, tuple[int, str]]


def save(snapshot: Snapshot, options: Options, path: Path) -> None:
    """Make `snapshot` what is at `path`. When this returns it is durable; after a crash the old or the new is there.

    Raises `InputError` for a path that is something else, `DiskFullError` and `StoreError`, leaving the old.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            _require_ours(path)
            _require_room(snapshot, path)
            folder = path / f"{_PREFIX}{uuid.uuid4().hex}"
            try:
                _write_generation(snapshot, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            write_manifest(path / MANIFEST, _manifest(snapshot, options, folder))
            trust(folder)
            _remove_others(path, folder)
    except (OSError, RuntimeError) as error:  # FAISS reports a failed write as a RuntimeError
        if getattr(error, "errno", 0) in {errno.ENOSPC, errno.EDQUOT} or _NO_SPACE in str(error):
            raise DiskFullError(
                f"no space left at {path} for {len(snapshot.ids):,} vectors",
                hint="free some space and save again; what was saved before is intact",
            ) from error
        raise StoreError(
            f"saving to {path} failed: {error}", hint="check the path, its owner and the disk"
        ) from error


def read_saved(path: Path, *, device: Device) -> Saved:
    """What the manifest at `path` names; opens none of its files.

    Raises `NotFoundError` where nothing was saved, `DamagedError` naming the manifest, `StoreError` for a newer format.
    """
    body = read_manifest(path / MANIFEST)
    if body["format"] != FORMAT:
        raise StoreError(
            f"{path} has format {body['format']}, this ragstone reads {FORMAT}", hint="upgrade ragstone"
        )
    return Saved(
        folder=path / body["generation"],
        options=options_from_json(body["options"], device=device),
        count=body["count"],
        rows=body["rows"],
        base=body["base"],
        files={name: (entry["bytes"], entry["sha256"]) for name, entry in body["files"].items()},
    )


def open_saved(saved: Saved) -> Snapshot:
    """The snapshot in a generation, its files mapped; reads them only if they must be verified (1.5 GB/s).

    Raises `DamagedError` naming the file; also when another generation has been saved and this one is going away.
    """
    _verify(saved)
    folder, options = saved.folder, saved.options
    try:
        base = None if saved.base is None else _open_base(folder, saved.base, options)
        tail = _matrix(folder / _TAIL, saved.files, options.dim)
        snapshot = Snapshot(
            metric=options.metric,
            base=base,
            tail=tail,
            ids=Column(JsonLines(folder / "ids.jsonl", folder / "ids.u64")),
            metadata=Column(JsonLines(folder / "metadata.jsonl", folder / "metadata.u64")),
            dead=np.fromfile(folder / _DEAD, np.uint8).astype(bool) if _DEAD in saved.files else None,
            growing=Vectors(tail),
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, f"does not open: {error}") from error
    rows = snapshot.base_rows + len(tail)
    if not rows == len(snapshot.ids) == len(snapshot.metadata) == saved.rows:
        raise damaged(folder, f"has {rows:,} vectors and {len(snapshot.ids):,} ids, not {saved.rows:,}")
    return snapshot


def _open_base(folder: Path, fields: Mapping[str, Any], options: Options) -> Base:
    index = faiss.read_index(str(folder / _INDEX), faiss.IO_FLAG_MMAP_IFC)
    if index.d != options.dim or index.ntotal != fields["count"]:
        raise ValueError(
            f"{_INDEX} holds {index.ntotal:,} × {index.d}, not {fields['count']:,} × {options.dim}"
        )
    beside: Matrix | None = None
    if (folder / _VECTORS).is_file():
        beside = np.memmap(folder / _VECTORS, dtype="<f4", mode="r", shape=(fields["count"], options.dim))
    base = opened_base(
        plan_from_json(fields["plan"], dim=options.dim),
        index,
        metric=options.metric,
        device=options.device,
        trained=fields["trained"],
        beside=beside,
        mapped=True,
    )
    base.tables.update(Calibration.from_json(fields["tables"]).by_top_k)
    return base


def _matrix(path: Path, files: Mapping[str, tuple[int, str]], dim: int) -> Matrix:
    if path.name not in files:
        return np.empty((0, dim), np.float32)
    rows = files[path.name][0] // (4 * dim)
    return np.memmap(path, dtype="<f4", mode="r", shape=(rows, dim))


def _verify(saved: Saved) -> None:
    """Sizes always; checksums unless the files are those of the last verification (`trust`)."""
    trusted = is_trusted(saved.folder)
    for name, (size, sha256) in saved.files.items():
        file = saved.folder / name
        try:
            found = file.stat().st_size
            if found != size:
                raise damaged(file, f"has {found:,} bytes, not {size:,}")
            if not trusted and file_sha256(file) != sha256:
                raise damaged(file, "fails its checksum")
        except OSError as error:
            raise damaged(file, f"cannot be read: {error.strerror}") from error
    if not trusted:
        trust(saved.folder)


def _write_generation(snapshot: Snapshot, folder: Path) -> None:
    folder.mkdir()
    base = snapshot.base
    if base is not None:
        faiss.write_index(base.index, str(folder / _INDEX))
        if base.keeps_vectors_beside:
            base.all_vectors().astype("<f4", copy=False).tofile(folder / _VECTORS)
    if len(snapshot.tail):
        snapshot.tail.astype("<f4", copy=False).tofile(folder / _TAIL)
    dead = snapshot.dead
    if dead is not None:
        dead.astype(np.uint8).tofile(folder / _DEAD)
    write_json_lines(list(snapshot.ids), folder / "ids.jsonl", folder / "ids.u64")
    # What was said of rows that are gone is not written again.
    kept = [{} if dead is not None and dead[row] else record for row, record in enumerate(snapshot.metadata)]
    write_json_lines(kept, folder / "metadata.jsonl", folder / "metadata.u64")
    sync_tree(folder)
    sync(folder.parent)


def _manifest(snapshot: Snapshot, options: Options, folder: Path) -> dict[str, object]:
    base = snapshot.base
    return {
        "format": FORMAT,
        "ragstone": __version__,
        "faiss": faiss.__version__,
        "generation": folder.name,
        "options": options.to_json(),
        "count": snapshot.count,
        "rows": len(snapshot.ids),
        "base": None
        if base is None
        else {
            "plan": base.plan.to_json(),
            "count": base.count,
            "trained": base.trained,
            "tables": Calibration(dict(base.tables)).to_json(),
        },
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
            for file in sorted(folder.iterdir())
        },
    }


def _require_ours(path: Path) -> None:
    """Refuse a folder with other things in it: generations that no manifest names are removed below."""
    strangers = [
        file.name
        for file in path.iterdir()
        if file.name not in {MANIFEST, f"{MANIFEST}.draft", _LOCK} and not file.name.startswith(_PREFIX)
    ]
    if strangers:
        raise InputError(f"{path} holds {strangers[0]!r}, not an index", hint="save to a new or empty folder")


def _require_room(snapshot: Snapshot, path: Path) -> None:
    base = snapshot.base
    held = 0 if base is None else base.index_bytes + 4 * base.dim * base.count * base.keeps_vectors_beside
    needed = round(1.1 * (held + snapshot.tail.nbytes)) + 64 * len(snapshot.ids) + (1 << 20)
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DiskFullError(
            f"saving {len(snapshot.ids):,} vectors needs {needed >> 20} MiB, {free >> 20} MiB are free at {path}",
            hint="free some space and save again; what was saved before is intact",
        )


def _remove_others(path: Path, kept: Path) -> None:
    """Remove older generations and what crashes left. Who has one mapped keeps it until the mapping ends."""
    for folder in path.glob(f"{_PREFIX}*"):
        if folder.is_dir() and folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
            forget(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One saver at a time, of all processes; the kernel drops the lock when its holder dies."""
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
