"""Chroma's folder: `chroma.sqlite3` with texts and metadata, and vectors in HNSW segments or still in the queue.

The `embeddings` table says which records a collection has. A record's vector is what the queue says last of it; where
the queue no longer has it, it is in the collection's segment folder, in `data_level0.bin` under a label that
`index_metadata.pickle` gives.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from ragstone.documents.paths import safe_join
from ragstone.errors import DamagedError, InputError, NotFoundError
from ragstone.importers.foreign_sqlite import columns, is_sqlite, reading
from ragstone.importers.pickles import Made, read_pickle
from ragstone.importers.records import ForeignStore, Losses, Metric, Record, new_record
from ragstone.types import MetadataValue, Vector

FORMAT = "chroma"
DATABASE = "chroma.sqlite3"
_PARQUET = "chroma-embeddings.parquet"
_TEXT, _URI = "chroma:document", "chroma:uri"
_ADD, _UPDATE, _UPSERT, _DELETE = range(4)  # the queue's operations
_METRICS: Mapping[str, Metric] = {"l2": "l2", "ip": "ip", "cosine": "cosine"}
# hnswlib's header as Chroma persists it: version, offset of level 0, capacity, count, bytes per element, offset of
# the label, offset of the vector, top level, entry point, links per node (three), level factor, ef_construction.
_HEADER = struct.Struct("<i6QiI3QdQ")
_DELETED_MARK = 0x01  # in the third byte of an element
_ENCODINGS = {"FLOAT32": "<f4", "INT32": "<i4"}


@dataclass(frozen=True, slots=True)
class Collection:
    """A Chroma collection that has records."""

    id: str
    name: str
    dim: int | None
    metric: Metric
    count: int
    vector_segment: str | None
    metadata_segment: str


def detect(path: Path) -> bool:
    """Whether a folder holds `chroma.sqlite3`, or the files of an earlier Chroma; or a file is the database."""
    file = path / DATABASE if path.is_dir() else path
    return (file.name == DATABASE and is_sqlite(file)) or _is_before_0_4(path)


def _is_before_0_4(path: Path) -> bool:
    """Version 0.3 kept its tables as Parquet, whose readers (pyarrow, duckdb) are too large to ask for."""
    return (path / _PARQUET).is_file() and not (path / DATABASE).exists()


def open_store(path: Path, *, only: str | None, work_folder: Path | None) -> ForeignStore:
    """The store in a folder. `only` names one of its collections; without it all come over together, each record's
    collection in its metadata (`chroma_collection`).

    Raises `NotFoundError`, `InputError` for the files of Chroma before 0.4, for collections whose vectors differ in
    length and for a segment whose name leads out of the store, `DamagedError`.
    """
    del work_folder  # vectors are read where they are
    database = path / DATABASE if path.is_dir() else path
    if _is_before_0_4(path):
        raise InputError(
            f"{path} is a store of Chroma before 0.4 (.parquet), which is not read",
            hint="upgrade it with Chroma's own tool, then import what it makes: pip install chroma-migrate;"
            " chroma-migrate",
        )
    if not database.is_file():
        raise NotFoundError(
            f"no {DATABASE} in {path}", hint="name the folder that PersistentClient was given"
        )
    with reading(database) as db:
        found = _collections(db, database)
    chosen = [one for one in found if only is None or one.name == only]
    if not chosen:
        names = ", ".join(one.name for one in found) or "none with records"
        raise NotFoundError(f"no collection {only!r} in {database}", hint=f"it has: {names}")
    dims = {one.dim for one in chosen if one.dim}
    if len(dims) > 1:
        sizes = ", ".join(f"{one.name} ({one.dim})" for one in chosen)
        raise InputError(
            f"the collections differ in dim: {sizes}", hint="take one at a time with --only NAME"
        )
    folder = database.parent
    segments = [safe_join(folder, one.vector_segment) for one in chosen if one.vector_segment]

    def read(losses: Losses) -> Iterator[Record]:
        with reading(database) as db:
            for one in chosen:
                yield from _records(db, folder, one, losses)

    notes: tuple[str, ...] = ()
    if len(chosen) > 1:
        names = ", ".join(f"{one.name} ({one.count:,})" for one in chosen)
        notes = (
            f"{len(chosen)} collections come together: {names}; filter by chroma_collection, or use --only",
        )
    return ForeignStore(
        format=FORMAT,
        layout="Chroma",
        path=folder,
        files=(
            database,
            *(file for segment in segments if segment.is_dir() for file in sorted(segment.iterdir())),
        ),
        model=None,
        metric=chosen[0].metric if len({one.metric for one in chosen}) == 1 else "unknown",
        dim=next(iter(dims), None),
        read=read,
        notes=notes,
    )


# -- collections -----------------------------------------------------------------------------------------------


def _collections(db: apsw.Connection, path: Path) -> list[Collection]:
    has = columns(db, "collections")
    others = ("segments", "embeddings", "embedding_metadata", "collection_metadata")
    if not {"id", "name", "dimension"} <= has or not all(columns(db, table) for table in others):
        raise DamagedError(f"{path} is not a Chroma database of version 0.4 or later")
    settings = [name for name in ("config_json_str", "schema_str") if name in has]
    found = []
    for id_, name, dim, *configured in db.execute(
        f"SELECT {', '.join(['id', 'name', 'dimension', *settings])} FROM collections ORDER BY name"
    ).fetchall():
        query = "SELECT scope, id FROM segments WHERE collection = ?"
        segments = {str(scope): segment for scope, segment in db.execute(query, (id_,))}
        texts = segments.get("METADATA")
        if not isinstance(texts, str):
            continue
        ((count,),) = db.execute("SELECT count(*) FROM embeddings WHERE segment_id = ?", (texts,)).fetchall()
        if count:
            metric = _metric(db, str(id_), [str(text) for text in configured if text])
            dim = dim if isinstance(dim, int) and dim > 0 else None
            vectors = segments.get("VECTOR")
            vectors = vectors if isinstance(vectors, str) else None  # a name: `safe_join` is its guard
            found.append(Collection(str(id_), str(name), dim, metric, int(count), vectors, texts))
    return found


def _metric(db: apsw.Connection, collection_id: str, configured: list[str]) -> Metric:
    """The space a collection was made with: in its metadata, its configuration, or its schema; L2 by default."""
    query = "SELECT str_value FROM collection_metadata WHERE collection_id = ? AND key = 'hnsw:space'"
    for (space,) in db.execute(query, (collection_id,)).fetchall():
        return _METRICS.get(str(space), "unknown")
    for text in configured:
        try:
            space = _find(json.loads(text), "space", 0)
        except (ValueError, RecursionError):
            continue
        if space is not None:
            return _METRICS.get(str(space), "unknown")
    return "l2"


def _find(value: Any, key: str, depth: int) -> Any:
    """The first value called `key` in nested objects; those of the embedding's own key (`#embedding`) first."""
    if not isinstance(value, dict) or depth > 8:  # a schema has five levels
        return None
    if key in value:
        return value[key]
    for name in sorted(value, key=lambda name: name not in {"keys", "#embedding"}):
        found = _find(value[name], key, depth + 1)
        if found is not None:
            return found
    return None


# -- records ---------------------------------------------------------------------------------------------------


def _records(db: apsw.Connection, folder: Path, collection: Collection, losses: Losses) -> Iterator[Record]:
    segment = (
        _Segment.open(safe_join(folder, collection.vector_segment)) if collection.vector_segment else None
    )
    queued = _queue(db, collection.id, segment)
    single, lists = _metadata_query(db)
    ids = "SELECT id, embedding_id FROM embeddings WHERE segment_id = ? ORDER BY id"
    for row_id, id_ in db.execute(ids, (collection.metadata_segment,)):
        metadata = _metadata(db, int(str(row_id)), single, lists)
        text, uri = metadata.pop(_TEXT, ""), metadata.pop(_URI, None)
        losses.part("uris of images or other data (chroma:uri)", int(uri is not None))
        metadata["chroma_collection"] = collection.name
        sequence = queued.get(str(id_))
        vector = segment.vector(str(id_)) if sequence is None and segment else None
        if sequence:
            vector = _queued_vector(db, sequence)
        record = new_record(
            str(id_), text if isinstance(text, str) else "", vector, metadata=metadata, losses=losses
        )
        if record.uri == record.id:  # ids are unique within a Chroma collection only
            record = new_record(
                str(id_), record.text, vector, metadata=metadata, losses=Losses(), source=collection.name
            )
        yield record


def _metadata_query(db: apsw.Connection) -> tuple[str, str | None]:
    """How to ask for a record's single values, and for its lists where this version has them."""
    bools = "bool_value" if "bool_value" in columns(db, "embedding_metadata") else "NULL"
    single = f"SELECT key, string_value, int_value, float_value, {bools} FROM embedding_metadata WHERE id = ?"
    lists = (
        "SELECT key, coalesce(string_value, int_value, float_value, bool_value) FROM embedding_metadata_array"
        " WHERE id = ? ORDER BY rowid"
    )
    return single, lists if columns(db, "embedding_metadata_array") else None


def _metadata(db: apsw.Connection, row_id: int, single: str, lists: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, text, whole, real, flag in db.execute(single, (row_id,)):
        value: MetadataValue | None = text if isinstance(text, str) else None
        if value is None and isinstance(whole, int):
            value = whole
        if value is None and isinstance(real, float):
            value = real
        if value is None and isinstance(flag, int):
            value = bool(flag)
        values[str(key)] = value
    for key, item in db.execute(lists, (row_id,)) if lists else ():
        found = values.setdefault(str(key), [])
        if isinstance(found, list):
            found.append(item)
    return values


# -- vectors in the queue ----------------------------------------------------------------------------------------


def _queue(db: apsw.Connection, collection_id: str, segment: _Segment | None) -> dict[str, int]:
    """For each record, the queue entry that holds its vector; 0 after a deletion.

    Entries are replayed in order, as Chroma does: adding what is there changes nothing.
    """
    if not columns(db, "embeddings_queue"):
        return {}
    latest: dict[str, int] = {}
    query = (
        "SELECT seq_id, operation, id, vector IS NOT NULL FROM embeddings_queue"
        " WHERE substr(topic, -length(?)) = ? ORDER BY seq_id"
    )
    for sequence, operation, id_, has_vector in db.execute(query, (collection_id, collection_id)):
        name = str(id_)
        in_segment = name not in latest and segment is not None and name in segment.labels
        live = latest.get(name, 0) > 0 or in_segment
        if operation == _DELETE:
            latest[name] = 0
        elif has_vector and (operation == _UPSERT or live == (operation == _UPDATE)):
            latest[name] = int(sequence)
    return latest


def _queued_vector(db: apsw.Connection, sequence: int) -> Vector | None:
    query = "SELECT vector, encoding FROM embeddings_queue WHERE seq_id = ?"
    found = db.execute(query, (sequence,)).fetchone()
    if found is None:
        raise ValueError(f"queue entry {sequence} is gone")
    data, encoding = found
    kind = _ENCODINGS.get(str(encoding))
    if kind is None or not isinstance(data, bytes) or not data or len(data) % 4:
        return None
    return np.frombuffer(data, dtype=kind).astype(np.float32)


# -- vectors in a segment ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment's `data_level0.bin`, mapped: `rows[place[labels[id]]]` is the vector of `id`."""

    labels: Mapping[str, int]
    places: Mapping[int, int]
    rows: Any  # (capacity, bytes per element) uint8, mapped
    first: int
    end: int

    def vector(self, id_: str) -> Vector | None:
        """The vector of a record; None where the segment has none."""
        place = self.places.get(self.labels.get(id_, -1))
        if place is None:
            return None
        return np.frombuffer(self.rows[place, self.first : self.end].tobytes(), "<f4").astype(np.float32)

    @classmethod
    def open(cls, folder: Path) -> _Segment | None:
        """The segment in a folder; None where Chroma has not written one, or not which label is which record."""
        names, header, data = (
            folder / name for name in ("index_metadata.pickle", "header.bin", "data_level0.bin")
        )
        if not (names.is_file() and header.is_file() and data.is_file()):
            return None
        try:
            fields = _HEADER.unpack(header.read_bytes())
        except (struct.error, OSError) as error:
            raise DamagedError(f"{header} is damaged: {error}") from error
        _, _, capacity, count, element_bytes, label_at, vector_at, *_ = fields
        size_bytes = data.stat().st_size
        if not (4 <= vector_at < label_at <= element_bytes - 8 and (label_at - vector_at) % 4 == 0):
            raise DamagedError(f"{header} is damaged: its offsets do not fit each other")
        if not count <= capacity or count * element_bytes > size_bytes:
            raise DamagedError(
                f"{data} has {size_bytes:,} bytes, {count:,} elements take {element_bytes:,} each"
            )
        if not count:
            return None
        rows = np.memmap(data, dtype=np.uint8, mode="r", shape=(count, element_bytes))
        labels = np.ascontiguousarray(rows[:, label_at : label_at + 8]).view("<u8")[:, 0]
        live = (rows[:, 2] & _DELETED_MARK) == 0
        places = {int(label): place for place, label in enumerate(labels.tolist()) if live[place]}
        return cls(_labels(names), places, rows, vector_at, label_at)


def _labels(path: Path) -> dict[str, int]:
    value = read_pickle(path)
    state = value.state if isinstance(value, Made) else value
    found = state.get("id_to_label", state.get("_id_to_label")) if isinstance(state, dict) else None
    if not isinstance(found, dict) or not all(isinstance(label, int) for label in found.values()):
        raise DamagedError(f"{path} does not say which label belongs to which record")
    return {str(id_): int(label) for id_, label in found.items()}
