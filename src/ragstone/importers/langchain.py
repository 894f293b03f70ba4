"""LangChain's FAISS store: `index.faiss` with the vectors, `index.pkl` with the texts.

The pickle is a pair: a docstore whose `_dict` holds documents by id, and which row has which id. It is read as data
(`pickles`); nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragstone.errors import DamagedError, NotFoundError
from ragstone.importers.faiss_file import read_faiss
from ragstone.importers.pickles import Made, read_pickle
from ragstone.importers.records import ForeignStore, LeftOut, Losses, Record, new_record

FORMAT = "langchain"


def detect(path: Path) -> bool:
    """Whether a folder, or a `.faiss` file, has its `.pkl` beside it."""
    return _pair(path) is not None


def open_store(path: Path, *, only: str | None, work_folder: Path | None) -> ForeignStore:
    """The store in a folder, or of one `.faiss` file in it; `only` is the name before `.faiss`.

    Raises `NotFoundError`, and `DamagedError` for what cannot be read or is refused.
    """
    pair = _pair(path if only is None else path / f"{only}.faiss")
    if pair is None:
        raise NotFoundError(
            f"no .faiss file with its .pkl in {path}", hint="name the folder that save_local was given"
        )
    index, pickled = pair
    documents, names = _docstore(pickled)
    vectors = read_faiss(index, work_folder=work_folder)

    def read(losses: Losses) -> Iterator[Record]:
        seen: set[str] = set()
        for row_id, row in zip(vectors.ids.tolist(), vectors.rows, strict=True):
            id_ = names.get(row_id)
            fields = documents.get(id_) if id_ is not None else None
            if id_ is None or fields is None:
                losses.records.append(LeftOut(id_ or f"row {row_id}", "it has a vector but no document"))
                continue
            seen.add(id_)
            yield _record(id_, fields, row, losses)
        for id_, fields in documents.items():
            if id_ not in seen:
                yield _record(id_, fields, None, losses)

    note = f"the index ({vectors.kind}) compressed its vectors: they come over as what is left of them"
    return ForeignStore(
        format=FORMAT,
        layout=f"LangChain FAISS ({vectors.kind})",
        path=path if path.is_dir() else path.parent,
        files=(index, pickled),
        model=None,
        metric=vectors.metric,
        dim=vectors.dim,
        read=read,
        notes=(note,) * vectors.lossy,
    )


def _pair(path: Path) -> tuple[Path, Path] | None:
    """The one `.faiss` file at `path` that has a `.pkl`; `index.faiss`, LangChain's default, before others."""
    candidates = [path] if path.suffix == ".faiss" else [path / "index.faiss", *sorted(path.glob("*.faiss"))]
    for index in candidates:
        pickled = index.with_suffix(".pkl")
        if index.is_file() and pickled.is_file():
            return index, pickled
    return None


def _docstore(path: Path) -> tuple[dict[str, dict[str, Any]], dict[int, str]]:
    """Documents' fields by id, and ids by row."""
    value = read_pickle(path)
    try:
        docstore, names = value
        documents = docstore.state["_dict"] if isinstance(docstore, Made) else docstore
        fields = {str(id_): _fields(document) for id_, document in documents.items()}
        rows = {int(row): str(id_) for row, id_ in names.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DamagedError(
            f"{path} is not the docstore of a LangChain FAISS store: {type(error).__name__} {error}",
            hint="it must be the file that save_local wrote with the index",
        ) from error
    return fields, rows


def _fields(document: Any) -> dict[str, Any]:
    """A document's fields: pydantic keeps them in `__dict__`, plain classes in the state itself."""
    if not isinstance(document, Made):
        raise TypeError(f"a document is {type(document).__name__}")
    fields = document.state.get("__dict__", document.state)
    if not isinstance(fields, dict):
        raise TypeError("a document has no fields")
    return fields


def _record(id_: str, fields: Mapping[str, Any], row: Any, losses: Losses) -> Record:
    text, metadata = fields.get("page_content"), fields.get("metadata")
    losses.part("objects in metadata", _objects(metadata))
    return new_record(
        id_,
        text if isinstance(text, str) else "",
        row,
        metadata=metadata if isinstance(metadata, dict) else {},
        losses=losses,
    )


def _objects(metadata: Any) -> int:
    return sum(isinstance(value, Made) for value in metadata.values()) if isinstance(metadata, dict) else 0
