"""Which foreign formats there are, and which one a path holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from ragstone.errors import InputError, NotFoundError
from ragstone.importers import chroma, embedded_json, langchain, llamaindex, plain_faiss, redis_store, txtai
from ragstone.importers.records import ForeignStore


class Reader(Protocol):
    """A format: whether a path holds it, and the store there."""

    FORMAT: str

    def detect(self, path: Path) -> bool:
        """Whether the path holds a store of this format; looks at names and first bytes only."""

    def open_store(self, path: Path, *, only: str | None, work_folder: Path | None) -> ForeignStore:
        """The store at a path. Raises `NotFoundError`, `InputError`, `DamagedError`."""


# Asked in this order: bare FAISS last, because others keep a FAISS file among theirs.
FORMATS: Mapping[str, Reader] = {
    reader.FORMAT: cast(Reader, reader)
    for reader in (chroma, txtai, langchain, llamaindex, embedded_json, plain_faiss)
}
AUTO = "auto"


def open_foreign(
    format_: str,
    path: Path,
    *,
    only: str | None = None,
    texts: Path | None = None,
    allow_pickle: bool = False,
    work_folder: Path | None = None,
) -> ForeignStore:
    """The store at a path. `format_` is one of `FORMATS`, or `auto` to look for what is there.

    `only` names one collection, namespace or index of several; `texts` and `allow_pickle` are for bare FAISS
    files; `work_folder` holds vectors while they are read. Raises `InputError` for an unknown format,
    `NotFoundError` where no store is, `DamagedError` for one that cannot be read.
    """
    if not path.exists():
        raise NotFoundError(f"no file or folder {path}", hint="check the path")
    if format_ == AUTO:
        format_ = plain_faiss.FORMAT if texts is not None else detect(path)
    if format_ == plain_faiss.FORMAT:
        return plain_faiss.open_store(
            path, only=only, work_folder=work_folder, texts=texts, allow_pickle=allow_pickle
        )
    reader = FORMATS.get(format_)
    if reader is None:
        raise InputError(
            f"no format {format_!r}",
            hint=f"one of {', '.join(sorted([*FORMATS, redis_store.FORMAT]))}, or auto",
        )
    return reader.open_store(path, only=only, work_folder=work_folder)


def detect(path: Path) -> str:
    """The format of what is at a path. Raises `NotFoundError` that says what was looked for."""
    for name, reader in FORMATS.items():
        if reader.detect(path):
            return name
    raise NotFoundError(
        f"{path} holds no index of a known format",
        hint="LlamaIndex (docstore.json), LangChain (index.faiss and index.pkl), Chroma (chroma.sqlite3),"
        " txtai (config.json and embeddings), embedded_store.json, or a FAISS file",
    )
