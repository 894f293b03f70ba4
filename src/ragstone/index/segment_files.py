"""A segment's files: an immutable folder with the vectors of some chunks, built, checked and salvaged here.

    manifest.json   format, model, dim, precision, counts, plan and calibration, SHA-256 of each file and of each
                    block of vectors
    index.faiss     the exact vectors as a FAISS index (half precision, or single where asked for)
    fast.faiss      an approximate index over the same rows, where there are enough of them (decision 0008)
    fast.lists      the lists of that index, where it has some of 4-bit codes: mapped, not read (`mapped_lists`)
    rows.u64        (n,) chunk id of each row, ascending, little-endian
    documents.u64   (n,) document id of each row: the column that filters use

A segment is built beside its place, made durable, and renamed into it; only then does the catalog name it.
The exact index is a plain array of numbers, so it is also the vectors, which are not stored twice.
Knows nothing of the catalog; who may use a segment is decided by the manifest hash recorded there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np

from ragstone.durable import sync, sync_tree
from ragstone.errors import DamagedError, DiskFullError, StoreError
from ragstone.index import mapped_lists
from ragstone.index.exact import exact_index
from ragstone.index.fast import build_first_good
from ragstone.index.plans import Plan, bytes_per_vector
from ragstone.types import Ids, Precision, StoredMatrix

faiss: Any = _faiss  # its stubs lack half of what is used here

FORMAT = 3  # 1: half precision and no fast index; 2: no lists apart, which is what other indexes are still written as
METRIC = "cosine"  # unit vectors, inner product
BLOCK_BYTES = 1 << 20  # what one damaged byte costs: the vectors of one block

_NO_SPACE = os.strerror(errno.ENOSPC)  # FAISS reports a short write in words only

_MANIFEST = "manifest.json"
INDEX_FILE = "index.faiss"
FAST_FILE = "fast.faiss"
LISTS_FILE = "fast.lists"
ROWS_FILE = "rows.u64"
DOCUMENTS_FILE = "documents.u64"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A freshly built segment: its folder's name and what the catalog has to remember of it."""

    name: str
    count: int
    manifest_sha256: bytes


def build_segment(
    folder: Path,
    *,
    chunk_ids: Ids,
    document_ids: Ids,
    vectors: StoredMatrix,
    model_id: str,
    plans: Sequence[Plan] = (),
) -> Sealed:
    """Build a durable segment below `folder` from n unit vectors, in any order of ids.

    `plans` says what fast index it gets: the first that keeps the usual recall on these vectors, or what comes nearest
    to that (`build_first_good`). Without plans, or where the rows are too few for them, search is exact.
    A crash leaves at most a folder that no catalog names. Raises `DiskFullError`, leaving nothing.
    """
    order = np.argsort(chunk_ids, kind="stable")
    name = uuid.uuid4().hex
    draft = folder / f"{name}.draft"
    _require_room(folder, vectors, plans)
    try:
        draft.mkdir()
        manifest = _write_files(draft, chunk_ids[order], document_ids[order], vectors[order], model_id, plans)
        (draft / _MANIFEST).write_bytes(manifest)
        sync_tree(draft)
        draft.rename(folder / name)
        sync(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if error.errno in {errno.ENOSPC, errno.EDQUOT} or _NO_SPACE in str(error):
            raise DiskFullError(
                f"no space left at {folder} while sealing {len(order):,} vectors",
                hint="free some space and run the same command again; nothing acknowledged was lost",
            ) from error
        raise StoreError(f"writing the segment {draft} failed: {error}", hint="check the disk") from error
    return Sealed(name, len(order), hashlib.sha256(manifest).digest())


def _require_room(folder: Path, vectors: StoredMatrix, plans: Sequence[Plan]) -> None:
    rows, dim = vectors.shape
    fast = max((bytes_per_vector(plan, dim=dim) * rows for plan in plans), default=0.0)
    needed = int((vectors.nbytes + fast) * 1.1) + 16 * rows + (1 << 20)
    free = shutil.disk_usage(folder).free
    if free < needed:
        needed_mib = math.ceil(needed / (1 << 20))
        raise DiskFullError(
            f"sealing {rows:,} vectors needs {needed_mib} MiB, {free >> 20} MiB are free at {folder}",
            hint="free some space and run the same command again; nothing acknowledged was lost",
        )


def _write_files(
    draft: Path,
    chunk_ids: Ids,
    document_ids: Ids,
    vectors: StoredMatrix,
    model_id: str,
    plans: Sequence[Plan],
) -> bytes:
    codes: Any = np.ascontiguousarray(vectors, dtype=vectors.dtype.newbyteorder("<"))
    exact = exact_index(codes)
    _write_index(exact, draft / INDEX_FILE)
    (draft / ROWS_FILE).write_bytes(chunk_ids.astype("<u8").tobytes())
    (draft / DOCUMENTS_FILE).write_bytes(document_ids.astype("<u8").tobytes())
    names = [INDEX_FILE, ROWS_FILE, DOCUMENTS_FILE]
    fast = build_first_good(plans, vectors, exact)
    if fast is not None:
        _write_index(fast.index, draft / FAST_FILE, draft / LISTS_FILE)
        names += [name for name in (FAST_FILE, LISTS_FILE) if (draft / name).exists()]
    manifest = {
        "format": FORMAT if LISTS_FILE in names else FORMAT - 1,
        "model_id": model_id,
        "dim": int(vectors.shape[1]),
        "metric": METRIC,
        "precision": vectors.dtype.name,
        "count": len(chunk_ids),
        "files": {
            name: {"bytes": (draft / name).stat().st_size, "sha256": file_sha256(draft / name)}
            for name in names
        },
        "vectors": {
            "file": INDEX_FILE,
            "offset": (draft / INDEX_FILE).stat().st_size - codes.nbytes,  # FAISS writes the codes last
            "block_bytes": BLOCK_BYTES,
            "block_sha256": [hashlib.sha256(block).hexdigest() for block in _blocks(codes)],
        },
        "fast": None if fast is None else fast.to_json(),
    }
    return json.dumps(manifest, indent=1).encode()


def _write_index(index: Any, path: Path, lists_path: Path | None = None) -> None:
    try:
        if lists_path is not None and mapped_lists.has_lists(index):
            mapped_lists.write_apart(index, path, lists_path)
        else:
            faiss.write_index(index, str(path))
    except RuntimeError as error:  # how FAISS reports a short write
        raise OSError(str(error)) from error


def _blocks(codes: StoredMatrix) -> Iterable[memoryview]:
    data = codes.reshape(-1).view(np.uint8).data
    return (data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says, its own hash checked against the catalog's; `fast` is None without a fast index."""

    count: int
    dim: int
    model_id: str
    precision: Precision
    files: Mapping[str, tuple[int, str]]
    vectors_offset: int
    block_bytes: int
    block_sha256: tuple[str, ...]
    fast: Mapping[str, Any] | None


def read_manifest(folder: Path, *, manifest_sha256: bytes) -> Manifest:
    """The manifest of the segment in `folder`. Raises `DamagedError` if it is not the one the catalog knows."""
    try:
        data = (folder / _MANIFEST).read_bytes()
    except OSError as error:
        raise DamagedError(f"segment {folder.name} cannot be read: {error}") from error
    if hashlib.sha256(data).digest() != manifest_sha256:
        raise DamagedError(f"the manifest of segment {folder.name} fails its checksum")
    fields: dict[str, Any] = json.loads(data)
    if fields["format"] not in range(1, FORMAT + 1):
        raise StoreError(
            f"segment {folder.name} has format {fields['format']}, this ragstone reads up to {FORMAT}",
            hint="upgrade ragstone",
        )
    return Manifest(
        count=fields["count"],
        dim=fields["dim"],
        model_id=fields["model_id"],
        precision=fields.get("precision", "float16"),
        files={name: (entry["bytes"], entry["sha256"]) for name, entry in fields["files"].items()},
        vectors_offset=fields["vectors"]["offset"],
        block_bytes=fields["vectors"]["block_bytes"],
        block_sha256=tuple(fields["vectors"]["block_sha256"]),
        fast=fields.get("fast"),
    )


def verify_files(folder: Path, manifest: Manifest, *, stopped: threading.Event | None = None) -> None:
    """Check size and SHA-256 of every file of a segment (≈ 1.5 GB/s). Raises `DamagedError` at the first fault.

    `stopped` ends the check early, without a verdict.
    """
    for name, (size, sha256) in manifest.files.items():
        try:
            found = (folder / name).stat().st_size
            if found != size:
                raise DamagedError(f"{name} of segment {folder.name} has {found:,} bytes, not {size:,}")
            if file_sha256(folder / name, stopped) not in {sha256, None}:
                raise DamagedError(f"{name} of segment {folder.name} fails its checksum")
        except OSError as error:
            raise DamagedError(f"{name} of segment {folder.name} cannot be read: {error}") from error


def salvage(folder: Path, manifest: Manifest) -> tuple[Ids, Ids, StoredMatrix]:
    """Chunk ids, document ids and vectors of the rows whose bytes still match their checksums.

    The id columns are needed whole; without them nothing is saved (n = 0).
    """
    dtype = np.dtype(manifest.precision).newbyteorder("<")
    nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, manifest.dim), dtype)
    columns: list[Ids] = []
    for name in (ROWS_FILE, DOCUMENTS_FILE):
        data = _read_at(folder / name, 0, manifest.files[name][0] + 1)
        if hashlib.sha256(data).hexdigest() != manifest.files[name][1]:
            return nothing
        columns.append(np.frombuffer(data, dtype="<u8").astype(np.int64))
    width = manifest.dim * dtype.itemsize
    blocks: list[bytes] = []
    good = np.ones(manifest.count, dtype=bool)
    for number, sha256 in enumerate(manifest.block_sha256):
        start = number * manifest.block_bytes
        size = min(manifest.block_bytes, manifest.count * width - start)
        block = _read_at(folder / INDEX_FILE, manifest.vectors_offset + start, size)
        if hashlib.sha256(block).hexdigest() != sha256:
            good[start // width : -(-(start + size) // width)] = False
            block = bytes(size)
        blocks.append(block)
    vectors = np.frombuffer(b"".join(blocks), dtype=dtype).reshape(manifest.count, manifest.dim)
    return columns[0][good], columns[1][good], vectors[good]


def _read_at(path: Path, offset: int, size: int) -> bytes:
    """What is there of so many bytes; nothing where the file or the disk cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError:
        return b""


def file_sha256(path: Path, stopped: threading.Event | None = None) -> str | None:
    """SHA-256 of a file in hex; None if `stopped` was set before its end."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            if stopped is not None and stopped.is_set():
                return None
            digest.update(block)
    return digest.hexdigest()
