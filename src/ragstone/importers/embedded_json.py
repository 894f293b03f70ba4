"""`embedded_store.json`: a list of memory entries, each with its text, its own fields and perhaps a vector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ragstone.errors import NotFoundError
from ragstone.importers.json_stream import JsonStream
from ragstone.importers.records import ForeignStore, LeftOut, Losses, Record, new_record, text_of
from ragstone.types import Vector

FORMAT = "embedded"
FILE = "embedded_store.json"


def detect(path: Path) -> bool:
    """Whether a file is called `embedded_store.json`, or a folder holds one."""
    return _file(path).is_file() and _file(path).name == FILE


def open_store(path: Path, *, only: str | None, work_folder: Path | None) -> ForeignStore:
    """The store in a file or folder. Raises `NotFoundError`, `DamagedError`."""
    del only, work_folder
    file = _file(path)
    if not file.is_file():
        raise NotFoundError(f"no {FILE} in {path}")
    return ForeignStore(
        format=FORMAT,
        layout="embedded store",
        path=file.parent,
        files=(file,),
        model=None,
        metric="cosine",
        dim=None,
        read=lambda losses: _records(file, losses),
    )


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _records(file: Path, losses: Losses) -> Iterator[Record]:
    with JsonStream(file) as stream:
        if stream.kind() == "[":
            for position, _ in enumerate(stream.elements()):
                yield from _record(stream.value(), str(position), losses)
            return
        for key in stream.members():  # by id, or lists by memory tier
            value = stream.value()
            for position, entry in enumerate(value if isinstance(value, list) else [value]):
                yield from _record(entry, f"{key}/{position}" if isinstance(value, list) else key, losses)


def _record(entry: Any, place: str, losses: Losses) -> Iterator[Record]:
    if not isinstance(entry, dict):
        losses.records.append(LeftOut(place, f"it is {type(entry).__name__}, not an object"))
        return
    text = text_of(entry) or ""
    nested = entry.get("metadata")
    metadata = {
        key: value
        for key, value in entry.items()
        if key not in {"id", "embedding", "metadata"} and value != text
    }
    if isinstance(nested, dict):
        metadata |= nested
    yield new_record(
        str(entry.get("id") or place), text, _vector(entry.get("embedding")), metadata=metadata, losses=losses
    )


def _vector(value: Any) -> Vector | None:
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
        return None
    try:
        with np.errstate(over="ignore"):
            row: Vector = np.array(value, dtype=np.float64).astype(np.float32)
    except OverflowError:
        return None
    return row
