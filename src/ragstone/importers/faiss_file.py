"""Vectors and ids out of a FAISS file of unknown origin, read by a limited child process (`faiss_child`).

Nothing the file does reaches this process: a child that crashes, aborts, hangs or outgrows its memory is an error
with a code. What the child sends is not believed either: sizes are checked before anything is stored.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ragstone.documents.frames import FrameError, FrameTimeoutError, read_frame
from ragstone.errors import DamagedError, DiskFullError
from ragstone.importers.records import Metric
from ragstone.types import Ids, Matrix

_CHILD = Path(__file__).with_name("faiss_child.py")
MAX_DIM = 65_536
# numpy, faiss and their BLAS map 0.9 GB of address space; an index is copied at most twice while it is decoded.
_BASE_BYTES, _BYTES_PER_FILE_BYTE = 2 << 30, 4
# 100 MB/s is a slow disk and a busy core; starting takes 0.5 s, thirty on a machine that is swamped.
_BASE_S, _S_PER_MB = 30.0, 0.1
_READ_BYTES = 1 << 20
_METRICS: dict[int, Metric] = {0: "ip", 1: "l2"}
# A FAISS file begins with four letters that name its type: Ix.. (flat, maps, transforms), Iw.. (inverted lists),
# IH.. (HNSW), IN.. (NSG), IP.. (product quantizer, fast scan).
_MAGIC = (b"Ix", b"Iw", b"IH", b"IN", b"IP")


@dataclass(frozen=True, slots=True)
class FaissVectors:
    """The vectors of one FAISS file: row `i` of `rows` (n, dim) float32 has the id `ids[i]`.

    `rows` is mapped from a temporary file that is gone when this is. `kind` is the FAISS class; `lossy` says that
    it compressed its vectors.
    """

    ids: Ids
    rows: Matrix
    metric: Metric
    kind: str
    lossy: bool

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return int(self.rows.shape[1])


def is_faiss(path: Path) -> bool:
    """Whether a file begins like a FAISS index."""
    try:
        with path.open("rb") as file:
            return file.read(4)[:2] in _MAGIC
    except OSError:
        return False


def read_faiss(path: Path, *, work_folder: Path | None = None) -> FaissVectors:
    """The vectors of a FAISS file, exact for Flat, IVF-Flat and HNSW-Flat, approximate for compressed kinds.

    `work_folder` holds the temporary file (the system's folder if not given). Raises `DamagedError` (code
    `damaged`, `unsupported` for a kind that does not give its vectors back, `too_large`, `timeout`) and
    `DiskFullError`.
    """
    size_bytes = path.stat().st_size
    deadline = time.monotonic() + _BASE_S + _S_PER_MB * size_bytes / 1e6
    process = _start(path, size_bytes)
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    pipe = process.stdout.fileno()
    try:
        head = read_frame(pipe, max_bytes=65_536, timeout_s=deadline - time.monotonic())
        count, dim, kind = _checked(path, head)
        with _temporary(work_folder, count * (dim * 4 + 8)) as file:
            _copy(pipe, file, count * (8 + 4 * dim), deadline)
            return _mapped(file, count, dim, head, kind)
    except FrameTimeoutError:
        raise DamagedError(f"reading {path} took too long", code="timeout") from None
    except (FrameError, EOFError) as error:
        raise _died(path, process) from error
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _start(path: Path, size_bytes: int) -> subprocess.Popen[bytes]:
    start = {
        "import_path": [entry or str(Path.cwd()) for entry in sys.path],
        "path": os.path.abspath(path),  # noqa: PTH100 - resolve() would follow links
        "memory_bytes": _BASE_BYTES + _BYTES_PER_FILE_BYTE * size_bytes,
        "cpu_s": _BASE_S + _S_PER_MB * size_bytes / 1e6,
        "parent": os.getpid(),
    }
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_CHILD), json.dumps(start)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**kept, **threads},
        cwd="/",
        start_new_session=True,
    )


def _checked(path: Path, head: Any) -> tuple[int, int, str]:
    """Count, dim and kind as the child says them. Raises `DamagedError` for what it refused or cannot be."""
    if not isinstance(head, dict):
        raise DamagedError(f"{path} made its reader answer nonsense")
    if isinstance(head.get("error"), list):
        code, reason = (str(part) for part in head["error"][:2])
        raise DamagedError(
            f"{path} cannot be read as a FAISS index: {reason}",
            hint="carry the texts over with --reembed" if code == "unsupported" else "",
            code=code,
        )
    count, dim = head.get("count"), head.get("dim")
    if not (isinstance(count, int) and isinstance(dim, int) and count >= 0 and 0 < dim <= MAX_DIM):
        raise DamagedError(f"{path} is damaged: {count} vectors of dim {dim}")
    return count, dim, str(head.get("kind"))[:100]


def _temporary(folder: Path | None, wanted_bytes: int) -> IO[bytes]:
    """A file without a name: however this process ends, the space is free again."""
    where = folder if folder is not None and folder.is_dir() else Path(tempfile.gettempdir())
    free_bytes = shutil.disk_usage(where).free
    if wanted_bytes > free_bytes:
        raise DiskFullError(
            f"the vectors take {wanted_bytes:,} bytes, {free_bytes:,} are free in {where}",
            hint="free some space, or choose another disk with --data-dir",
        )
    return tempfile.TemporaryFile(dir=where)


def _copy(pipe: int, file: IO[bytes], wanted_bytes: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while wanted_bytes:
        left_ms = (deadline - time.monotonic()) * 1e3
        if left_ms <= 0 or not poll.poll(left_ms):
            raise FrameTimeoutError
        piece = os.read(pipe, min(_READ_BYTES, wanted_bytes))
        if not piece:
            raise EOFError
        try:
            file.write(piece)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFullError("no space left for the vectors read", hint="free some space") from error
            raise
        wanted_bytes -= len(piece)
    file.flush()


def _died(path: Path, process: subprocess.Popen[bytes]) -> DamagedError:
    try:
        status = process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        status = 0
    if status == -signal.SIGXCPU:
        return DamagedError(f"reading {path} took too much processor time", code="timeout")
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return DamagedError(
        f"{path} is damaged: the process reading it ended by {how}",
        hint="take the file from a backup, or carry the texts over with --reembed",
    )


def _mapped(file: IO[bytes], count: int, dim: int, head: dict[str, Any], kind: str) -> FaissVectors:
    if count:
        ids: Ids = np.memmap(file, dtype="<i8", mode="r", shape=(count,))
        rows: Matrix = np.memmap(file, dtype="<f4", mode="r", offset=8 * count, shape=(count, dim))
    else:
        ids, rows = np.empty(0, np.int64), np.empty((0, dim), np.float32)
    metric = _METRICS.get(head.get("metric", -1), "unknown")
    return FaissVectors(ids, rows, metric, kind, lossy=bool(head.get("lossy")))
