"""txtai's folder: `config.json`, an SQLite file `documents` with the texts, a FAISS file `embeddings`.

Row ids of the FAISS index are `indexid` in the `sections` table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from ragstone.errors import DamagedError, NotFoundError
from ragstone.importers.faiss_file import is_faiss, read_faiss
from ragstone.importers.foreign_sqlite import columns, is_sqlite, reading
from ragstone.importers.json_stream import json_file
from ragstone.importers.pickles import read_pickle
from ragstone.importers.records import ForeignStore, LeftOut, Losses, Record, new_record
from ragstone.types import Vector

FORMAT = "txtai"
_CONFIG_BYTES = 64 << 20  # a configuration may list the ids of an index without contents


def detect(path: Path) -> bool:
    """Whether a folder holds `embeddings` and a configuration."""
    return (path / "embeddings").is_file() and _config_file(path) is not None


def open_store(path: Path, *, only: str | None, work_folder: Path | None) -> ForeignStore:
    """The index in a folder. Raises `NotFoundError`, and `DamagedError` for what cannot be read."""
    del only  # an index is one
    config_file, vectors_file, documents = _config_file(path), path / "embeddings", path / "documents"
    if config_file is None or not vectors_file.is_file():
        raise NotFoundError(f"no txtai index in {path}", hint="name the folder that save was given")
    config = _config(config_file)
    if not is_sqlite(documents):
        raise NotFoundError(
            f"{path} has no texts: its index was made without content=True, or keeps them in another database",
            hint="index the documents themselves with `ragstone index`",
        )
    if not is_faiss(vectors_file):
        raise DamagedError(
            f"{vectors_file} is not a FAISS index (its backend is {config.get('backend')!r})",
            hint="carry the texts over with --reembed",
            code="unsupported",
        )
    vectors = read_faiss(vectors_file, work_folder=work_folder)

    def read(losses: Losses) -> Iterator[Record]:
        if (path / "graph").is_file():
            losses.part("graphs (graph)")
        if (path / "scoring").is_file() or (path / "scoring.terms").is_file():
            losses.part("sparse (keyword) indexes (scoring): texts are indexed for keywords anew")
        rows = {id_: place for place, id_ in enumerate(vectors.ids.tolist())}
        with reading(documents) as db:
            for index_id, record in _records(db, losses):
                place = rows.pop(index_id, None)
                yield record(None if place is None else vectors.rows[place])
        losses.records += [LeftOut(f"row {id_}", "it has a vector but no text") for id_ in rows]

    model = config.get("path")
    note = f"the index ({vectors.kind}) compressed its vectors: they come over as what is left of them"
    return ForeignStore(
        format=FORMAT,
        layout=f"txtai ({vectors.kind})",
        path=path,
        files=(config_file, documents, vectors_file),
        model=model if isinstance(model, str) and model else None,
        metric=vectors.metric,
        dim=vectors.dim,
        read=read,
        notes=(note,) * vectors.lossy,
    )


def _config_file(path: Path) -> Path | None:
    return next((path / name for name in ("config.json", "config") if (path / name).is_file()), None)


def _config(path: Path) -> dict[str, Any]:
    """The configuration: JSON since 2023, before that a pickle (read as data)."""
    config = json_file(path, max_bytes=_CONFIG_BYTES) if path.suffix == ".json" else read_pickle(path)
    if not isinstance(config, dict):
        raise DamagedError(f"{path} is not a txtai configuration")
    return config


class _Draft:
    """A record that waits for its vector."""

    def __init__(self, id_: str, text: str, metadata: dict[str, Any], losses: Losses) -> None:
        self._fields = (id_, text, metadata, losses)

    def __call__(self, vector: Vector | None) -> Record:
        id_, text, metadata, losses = self._fields
        return new_record(id_, text, vector, metadata=metadata, losses=losses)


def _records(db: apsw.Connection, losses: Losses) -> Iterator[tuple[int, _Draft]]:
    """Row id and record of every section, in the order of the rows."""
    if not {"indexid", "id", "text"} <= columns(db, "sections"):
        raise DamagedError("the file `documents` has no table of sections: it is not txtai's")
    query = "SELECT id FROM sections GROUP BY id HAVING count(*) > 1"
    repeated = {str(id_) for (id_,) in db.execute(query)}
    has_documents = bool(columns(db, "documents"))
    if columns(db, "objects"):
        ((objects,),) = db.execute("SELECT count(*) FROM objects").fetchall()
        losses.part("stored objects (images, files)", int(str(objects)))
    for index_id, id_, text, tags in db.execute(
        "SELECT indexid, id, text, tags FROM sections ORDER BY indexid"
    ):
        metadata: dict[str, Any] = {"tags": tags} if tags else {}
        if has_documents:
            metadata |= _document(db, str(id_))
        # Several rows may share an id (parts of one document): the row's number then tells them apart.
        name = f"{id_}#{index_id}" if str(id_) in repeated else str(id_)
        yield int(str(index_id)), _Draft(name, text if isinstance(text, str) else "", metadata, losses)


def _document(db: apsw.Connection, id_: str) -> dict[str, Any]:
    """The fields that were stored with a text."""
    for (data,) in db.execute("SELECT data FROM documents WHERE id = ?", (id_,)):
        try:
            fields = json.loads(data) if isinstance(data, str) else None
        except (ValueError, RecursionError):
            return {}
        if isinstance(fields, dict):
            return {key: value for key, value in fields.items() if key not in {"text", "id"}}
    return {}
