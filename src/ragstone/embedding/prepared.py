"""Weights that came with a package, checked, and the graph made of them, made once and kept in the cache folder.

A cached graph carries its SHA-256 in its name: one rename publishes file and checksum together, two processes that
make it at once cannot disturb each other, and a damaged file is seen before it is used.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import platform
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.errors import DiskFullError, ModelError

if TYPE_CHECKING:
    from ragstone.embedding.bert_graph import Arithmetic


@dataclass(frozen=True, slots=True)
class Installed:
    """A file in an installed package: `module`/`file`, whose content has this `sha256`; `install` brings the package.

    `what` is what the file is, for messages.
    """

    what: str
    module: str
    file: str
    sha256: str
    install: str

    def read(self) -> bytes:
        """The bytes, when they are the ones meant. Raises `ModelError`."""
        package = importlib.util.find_spec(self.module)
        if package is None or package.origin is None:
            raise ModelError(f"{self.what} are not installed", hint=self.install)
        return self.checked(Path(package.origin).parent / self.file)

    def checked(self, path: Path) -> bytes:
        """The bytes of `path`, when they are the ones meant; else `ModelError`."""
        reinstall = self.install.replace("pip install", "pip install --force-reinstall")
        try:
            found = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}", hint=reinstall) from error
        digest = hashlib.sha256(found).hexdigest()
        if digest != self.sha256:
            raise ModelError(f"{path} is damaged: its SHA-256 is {digest}, not {self.sha256}", hint=reinstall)
        return found


def integer_arithmetic() -> Arithmetic:
    """The fastest arithmetic that is exact on this CPU; `int8` and `uint8` give the same bits."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return "int8"  # ARM adds its products in 32 bits
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: take the one that is right everywhere
        return "uint8"
    return "int8" if re.search(r"\bavx(512)?_vnni\b", flags) else "uint8"


def prepared_graph(cache_dir: Path, prefix: str, build: Callable[[], bytes]) -> bytes:
    """The graph called `prefix`, from `cache_dir` where its checksum holds, else built anew and kept there.

    Raises `ModelError` when the folder cannot be written, `DiskFullError` when there is no space for it, and what
    `build` raises.
    """
    for path in sorted(cache_dir.glob(f"{prefix}-*.onnx")):
        graph = path.read_bytes()
        if path.name == f"{prefix}-{hashlib.sha256(graph).hexdigest()}.onnx":
            return graph
        path.unlink(missing_ok=True)  # damaged; made again below
    graph = build()
    _publish(cache_dir, f"{prefix}-{hashlib.sha256(graph).hexdigest()}.onnx", graph)
    return graph


def _publish(cache_dir: Path, name: str, graph: bytes) -> None:
    """Write it whole and durable under its final name, or not at all."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".graph-", dir=cache_dir)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(graph)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).rename(cache_dir / name)
        finally:
            Path(temporary).unlink(missing_ok=True)
        folder = os.open(cache_dir, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        kind = DiskFullError if error.errno in {errno.ENOSPC, errno.EDQUOT} else ModelError
        raise kind(
            f"the model cache {cache_dir} cannot be written: {error.strerror}",
            hint=f"make room for {len(graph) // 2**20 + 1} MB there, or choose another folder",
        ) from error
