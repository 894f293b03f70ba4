"""FAISS files with their texts in a file beside them, as programs without a framework keep them.

Three documented layouts (`faiss.index` + `documents.json` + `metadata.json`; `<name>.index` + `<name>.meta`; a FAISS
file and a JSON-lines file of texts), and any FAISS file with `texts` named. Entries correspond to rows by position, or
by an integer `id` where the index has ids of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ragstone.errors import DamagedError, InputError, NotFoundError
from ragstone.importers.faiss_file import FaissVectors, is_faiss, read_faiss
from ragstone.importers.json_stream import JsonStream
from ragstone.importers.pickles import Made, read_pickle
from ragstone.importers.records import TEXT_KEYS, ForeignStore, LeftOut, Losses, Record, new_record, text_of

FORMAT = "faiss"
_LINE_BYTES = 128 << 20  # one JSON line; the stream reader's own limit for a value
_ID_KEYS = ("id", "_id", "doc_id", "chunk_id")

Entries = Callable[[Losses], Iterator[tuple[str, Mapping[str, Any]]]]


def detect(path: Path) -> bool:
    """Whether a path is a FAISS file, or a folder with exactly one."""
    return len(_indexes(path)) == 1


def open_store(
    path: Path,
    *,
    only: str | None,
    work_folder: Path | None,
    texts: Path | None = None,
    allow_pickle: bool = False,
) -> ForeignStore:
    """The index at a path with the texts beside it, or in `texts` (JSON or JSON lines).

    `.meta` files are pickles; they are read, as data, only if `allow_pickle` says so. Raises `NotFoundError`,
    `InputError` where it is not clear which texts belong to the index, and `DamagedError`.
    """
    found = [index for index in _indexes(path) if only is None or index.stem == only]
    if not found:
        raise NotFoundError(f"no FAISS index in {path}", hint="name the file that faiss.write_index wrote")
    if len(found) > 1:
        names = ", ".join(index.name for index in found)
        raise InputError(f"{path} holds several FAISS indexes: {names}", hint="name one of the files")
    index = found[0]
    layout, files, entries = _texts_of(index, texts, allow_pickle=allow_pickle)
    vectors = read_faiss(index, work_folder=work_folder)
    notes = (
        ["the index compressed its vectors: they come over as what is left of them"] if vectors.lossy else []
    )
    return ForeignStore(
        format=FORMAT,
        layout=f"{layout} ({vectors.kind})",
        path=path,
        files=(index, *files),
        model=None,
        metric=vectors.metric,
        dim=vectors.dim,
        read=lambda losses: _records(vectors, entries, losses),
        notes=tuple(notes),
    )


def _indexes(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if is_faiss(path) else []
    if not path.is_dir():
        return []
    return [file for file in sorted(path.iterdir()) if file.is_file() and is_faiss(file)]


def _texts_of(
    index: Path, texts: Path | None, *, allow_pickle: bool
) -> tuple[str, tuple[Path, ...], Entries]:
    """What layout this is, its other files, and its entries in order."""
    folder = index.parent
    documents, metadata, meta = (
        folder / "documents.json",
        folder / "metadata.json",
        index.with_suffix(".meta"),
    )
    if texts is not None:
        if not texts.is_file():
            raise NotFoundError(f"no file {texts}")
        return "FAISS with texts", (texts,), _entries_of(texts)
    if documents.is_file():
        others = (documents, *([metadata] if metadata.is_file() else []))
        return "FAISS with documents.json", others, _documented(documents, metadata)
    if meta.is_file():
        if not allow_pickle:
            raise InputError(
                f"{meta} is a pickle; it is read only where you ask for it",
                hint="add --allow-pickle-layout: it is read as data, nothing in it is run",
            )
        return "FAISS with .meta", (meta,), _pickled(meta)
    lines = sorted(folder.glob("*.jsonl"))
    if len(lines) == 1:
        return "FAISS with JSON lines", (lines[0],), _entries_of(lines[0])
    raise InputError(
        f"it is not clear where the texts of {index} are: {len(lines)} .jsonl files, no documents.json",
        hint="name the file with --texts FILE: one JSON object with a text per row, in the order of the vectors",
    )


def _records(vectors: FaissVectors, entries: Entries, losses: Losses) -> Iterator[Record]:
    places = {id_: place for place, id_ in enumerate(vectors.ids.tolist())}
    for position, (id_, entry) in enumerate(entries(losses)):
        row = int(id_) if id_.isdecimal() and len(id_) < 19 and int(id_) in places else position
        place = places.pop(row, None)
        vector = None if place is None else vectors.rows[place]
        yield _record(id_, entry, vector, losses)
    losses.records += [LeftOut(f"row {id_}", "it has a vector but no text") for id_ in places]


def _record(id_: str, entry: Mapping[str, Any], vector: Any, losses: Losses) -> Record:
    text = text_of(entry)
    nested = entry.get("metadata")
    metadata = {
        key: value for key, value in entry.items() if value != text and key not in {"metadata", *_ID_KEYS}
    }
    if isinstance(nested, dict):
        metadata |= nested
        text = text or text_of(nested)
    if text is None:
        # An alert or a product has fields instead of a text; they are what can be searched for.
        text = "\n".join(f"{key}: {value}" for key, value in metadata.items() if value not in (None, ""))
        losses.part("records without a text: their fields became it", int(bool(text)))
    return new_record(
        id_, text, vector, metadata={k: v for k, v in metadata.items() if k not in TEXT_KEYS}, losses=losses
    )


# -- entries of each layout --------------------------------------------------------------------------------------


def _entries_of(path: Path) -> Entries:
    """The entries of a JSON file (a list, an object by id, or one with a list inside) or of JSON lines."""

    def lines(losses: Losses) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with path.open("rb") as file:
            for position, line in enumerate(_bounded_lines(path, file)):
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DamagedError(f"{path} line {position + 1} is not JSON: {error}") from error
                yield _entry(position, value)

    def whole(losses: Losses) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with JsonStream(path) as stream:
            if stream.kind() == "[":
                for position, _ in enumerate(stream.elements()):
                    yield _entry(position, stream.value())
                return
            for key in stream.members():
                if key in {"documents", "texts", "chunks", "data"} and stream.kind() == "[":
                    for position, _ in enumerate(stream.elements()):
                        yield _entry(position, stream.value())
                else:
                    yield key, _fields(stream.value())

    return lines if path.suffix == ".jsonl" else whole


def _bounded_lines(path: Path, file: Any) -> Iterator[bytes]:
    while line := file.readline(_LINE_BYTES):
        if len(line) == _LINE_BYTES:
            raise DamagedError(f"{path} has a line of more than {_LINE_BYTES:,} bytes")
        if line.strip():
            yield line


def _entry(position: int, value: Any) -> tuple[str, Mapping[str, Any]]:
    fields = _fields(value)
    named = next((fields[key] for key in _ID_KEYS if isinstance(fields.get(key), str | int)), position)
    return str(named), fields


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"text": value}
    return value if isinstance(value, dict) else {}


def _documented(documents: Path, metadata: Path) -> Entries:
    """Documents with, at the same place or under the same id, more about them in `metadata.json`."""

    def entries(losses: Losses) -> Iterator[tuple[str, Mapping[str, Any]]]:
        more: dict[str, Mapping[str, Any]] = {}
        if metadata.is_file():
            for position, (id_, fields) in enumerate(_entries_of(metadata)(losses)):
                more[id_] = more[f"#{position}"] = fields
        for position, (id_, fields) in enumerate(_entries_of(documents)(losses)):
            about = more.get(id_, more.get(f"#{position}", {}))
            yield id_, {**about, **fields}

    return entries


def _pickled(path: Path) -> Entries:
    """004's `.meta`: which row has which id, and metadata by id."""

    def entries(losses: Losses) -> Iterator[tuple[str, Mapping[str, Any]]]:
        state = read_pickle(path)
        state = state.state if isinstance(state, Made) else state
        names = state.get("id_map") if isinstance(state, dict) else None
        if not isinstance(names, dict):
            raise DamagedError(f"{path} has no id_map: it is not the .meta file of a FAISSIndex")
        about = state.get("metadata")
        by_id = dict(about) if isinstance(about, dict) else {}
        if isinstance(about, list):
            by_id = dict(zip(names.values(), about, strict=False))
        for row in sorted(names, key=lambda row: int(row) if str(row).isdecimal() else 0):
            id_ = names[row]
            yield str(id_), _fields(by_id.get(id_, by_id.get(row, {})))

    return entries
