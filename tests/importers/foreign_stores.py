"""Small stores as other tools write them, made without those tools; the real ones are in the shared data."""

from __future__ import annotations

import json
import pickle
import sqlite3
import struct
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from ragstone.types import Matrix

Entry = tuple[str, str, Mapping[str, Any]]  # id, text, metadata
DIM = 16


def vectors_of(count: int, *, dim: int = DIM, seed: int = 0, unit: bool = True) -> Matrix:
    """(count, dim) float32 in random directions."""
    rows: Matrix = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if unit else rows


def entries_of(count: int) -> list[Entry]:
    """Entries with a source file and a page each."""
    return [
        (
            f"node-{number}",
            f"text number {number} about ferries",
            {"file_path": f"docs/{number % 3}.pdf", "page": number, "author": "Lindqvist"},
        )
        for number in range(count)
    ]


def embedding_dict(entries: Sequence[Entry], rows: Matrix) -> dict[str, list[float]]:
    """Vectors by id as JSON has them."""
    return {id_: [float(value) for value in row] for (id_, _, _), row in zip(entries, rows, strict=True)}


def write_llamaindex(
    folder: Path, entries: Sequence[Entry], rows: Matrix, *, name: str = "default__vector_store.json"
) -> Path:
    """The current layout."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = {
        id_: {
            "__data__": {
                "id_": id_,
                "text": text,
                "metadata": dict(metadata),
                "relationships": {"1": {"node_id": "source", "metadata": {}}, "3": {"node_id": "next"}},
            },
            "__type__": "1",
        }
        for id_, text, metadata in entries
    }
    (folder / "docstore.json").write_text(json.dumps({"docstore/metadata": {}, "docstore/data": nodes}))
    content = {
        "embedding_dict": embedding_dict(entries, rows),
        "text_id_to_ref_doc_id": {},
        "metadata_dict": {},
    }
    (folder / name).write_text(json.dumps(content))
    return folder


def write_llamaindex_ts(folder: Path, entries: Sequence[Entry], rows: Matrix) -> Path:
    """TypeScript's layout: camel case, nodes as JSON text."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = {
        id_: {
            "__type__": "TEXT",
            "__data__": json.dumps(
                {
                    "id_": id_,
                    "text": text,
                    "metadata": dict(metadata),
                    "relationships": {"SOURCE": {"nodeId": "source", "metadata": {}}},
                }
            ),
        }
        for id_, text, metadata in entries
    }
    (folder / "doc_store.json").write_text(json.dumps({"docstore/data": nodes}))
    content = {"embeddingDict": embedding_dict(entries, rows), "textIdToRefDocId": {}, "metadataDict": {}}
    (folder / "vector_store.json").write_text(json.dumps(content))
    return folder


def write_llamaindex_faiss(folder: Path, entries: Sequence[Entry], rows: Matrix) -> Path:
    """LlamaIndex over FAISS: the vector file is the index, and `index_store.json` says which row is whose."""
    write_llamaindex(folder, entries, rows)
    write_faiss(folder / "default__vector_store.json", rows)
    order = {str(number): entry[0] for number, entry in enumerate(entries)}
    data = json.dumps({"index_id": "x", "nodes_dict": order})
    store = {"index_store/data": {"x": {"__type__": "vector_store", "__data__": data}}}
    (folder / "index_store.json").write_text(json.dumps(store))
    return folder


def write_faiss(path: Path, rows: Matrix, *, kind: str = "Flat", ids: Sequence[int] | None = None) -> Path:
    """A FAISS file of any kind."""
    index = faiss.index_factory(rows.shape[1], kind)
    index.train(rows)
    if ids is None:
        index.add(rows)
    else:
        index.add_with_ids(rows, np.array(ids, np.int64))
    faiss.write_index(index, str(path))
    return path


@contextmanager
def _langchain_modules() -> Iterator[tuple[type, type]]:
    """Classes under LangChain's names, as long as the pickle is written."""
    document = type("Document", (), {"__module__": "langchain_core.documents.base"})
    docstore = type("InMemoryDocstore", (), {"__module__": "langchain_community.docstore.in_memory"})
    made = []
    for kind in (document, docstore):
        parts = kind.__module__.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in sys.modules:
                sys.modules[name] = types.ModuleType(name)
                made.append(name)
        setattr(sys.modules[kind.__module__], kind.__name__, kind)
    try:
        yield document, docstore
    finally:
        for name in made:
            del sys.modules[name]


def write_langchain(folder: Path, entries: Sequence[Entry], rows: Matrix, *, protocol: int = 4) -> Path:
    """LangChain's FAISS store."""
    folder.mkdir(parents=True, exist_ok=True)
    write_faiss(folder / "index.faiss", rows)
    with _langchain_modules() as (document, docstore):
        store = docstore()
        store._dict = {}
        for id_, text, metadata in entries:
            made = document()
            made.page_content, made.metadata, made.type = text, dict(metadata), "Document"
            store._dict[id_] = made
        names = {number: entry[0] for number, entry in enumerate(entries)}
        (folder / "index.pkl").write_bytes(pickle.dumps((store, names), protocol=protocol))
    return folder


CHROMA_SCHEMA = """
CREATE TABLE collections (id TEXT PRIMARY KEY, name TEXT, dimension INTEGER, config_json_str TEXT);
CREATE TABLE collection_metadata (collection_id TEXT, key TEXT, str_value TEXT, int_value INTEGER, float_value REAL);
CREATE TABLE segments (id TEXT PRIMARY KEY, type TEXT, scope TEXT, collection TEXT);
CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id TEXT, embedding_id TEXT, seq_id BLOB);
CREATE TABLE embedding_metadata (id INTEGER, key TEXT, string_value TEXT, int_value INTEGER, float_value REAL,
    bool_value INTEGER, PRIMARY KEY (id, key));
CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, operation INTEGER, topic TEXT, id TEXT, vector BLOB,
    encoding TEXT, metadata TEXT);
"""


def write_chroma(
    folder: Path, entries: Sequence[Entry], rows: Matrix, *, in_segment: int = 0, name: str = "papers"
) -> Path:
    """Chroma with one collection: the first `in_segment` vectors in an HNSW segment, the rest in the queue."""
    folder.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(folder / "chroma.sqlite3") as db:
        db.executescript(CHROMA_SCHEMA)
        add_chroma_collection(db, folder, entries, rows, in_segment=in_segment, name=name)
    db.close()
    return folder


def add_chroma_collection(
    db: sqlite3.Connection,
    folder: Path,
    entries: Sequence[Entry],
    rows: Matrix,
    *,
    in_segment: int,
    name: str,
) -> None:
    """One more collection in an open Chroma database."""
    db.execute("INSERT INTO collections VALUES (?, ?, ?, NULL)", (f"id-{name}", name, rows.shape[1]))
    db.execute(
        "INSERT INTO collection_metadata VALUES (?, 'hnsw:space', 'cosine', NULL, NULL)", (f"id-{name}",)
    )
    db.execute("INSERT INTO segments VALUES (?, 'hnsw', 'VECTOR', ?)", (f"vectors-{name}", f"id-{name}"))
    db.execute("INSERT INTO segments VALUES (?, 'sqlite', 'METADATA', ?)", (f"texts-{name}", f"id-{name}"))
    for number, (id_, text, metadata) in enumerate(entries):
        cursor = db.execute(
            "INSERT INTO embeddings (segment_id, embedding_id) VALUES (?, ?)", (f"texts-{name}", id_)
        )
        values = {"chroma:document": text, **metadata}
        for key, value in values.items():
            fields = (
                cursor.lastrowid,
                key,
                *(value if isinstance(value, kind) else None for kind in (str, int)),
            )
            db.execute("INSERT INTO embedding_metadata VALUES (?, ?, ?, ?, NULL, NULL)", fields)
        if number >= in_segment:
            record = (0, f"persistent://default/default/id-{name}", id_, rows[number].tobytes(), "FLOAT32")
            db.execute(
                "INSERT INTO embeddings_queue (operation, topic, id, vector, encoding) VALUES (?, ?, ?, ?, ?)",
                record,
            )
    if in_segment:
        write_hnsw(
            folder / f"vectors-{name}", [entry[0] for entry in entries[:in_segment]], rows[:in_segment]
        )


def write_hnsw(folder: Path, ids: Sequence[str], rows: Matrix, *, links: int = 32) -> None:
    """An HNSW segment as Chroma persists it, in an order that is not that of the labels."""
    folder.mkdir()
    vector_at = 4 + 4 * links
    label_at = vector_at + 4 * rows.shape[1]
    size = label_at + 8
    order = list(reversed(range(len(ids))))
    header = struct.pack(
        "<i6QiI3QdQ", 1, 0, 1000, len(ids), size, label_at, vector_at, 0, 0, 16, links, 16, 0.36, 100
    )
    (folder / "header.bin").write_bytes(header)
    elements = [bytes(vector_at) + rows[place].tobytes() + struct.pack("<Q", place + 1) for place in order]
    (folder / "data_level0.bin").write_bytes(b"".join(elements))
    labels = {id_: number + 1 for number, id_ in enumerate(ids)}
    state = {"dimensionality": rows.shape[1], "id_to_label": labels, "label_to_id": {}, "id_to_seq_id": {}}
    (folder / "index_metadata.pickle").write_bytes(pickle.dumps(state))


def write_txtai(folder: Path, entries: Sequence[Entry], rows: Matrix) -> Path:
    """txtai with contents."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"path": "sentence-transformers/all-MiniLM-L6-v2", "content": True, "dimensions": rows.shape[1]}
    (folder / "config.json").write_text(json.dumps({**config, "backend": "faiss", "offset": len(entries)}))
    write_faiss(folder / "embeddings", rows, kind="IDMap,Flat", ids=range(len(entries)))
    with sqlite3.connect(folder / "documents") as db:
        db.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, data JSON, tags TEXT, entry DATETIME)")
        db.execute("CREATE TABLE objects (id TEXT PRIMARY KEY, object BLOB, tags TEXT, entry DATETIME)")
        db.execute(
            "CREATE TABLE sections (indexid INTEGER PRIMARY KEY, id TEXT, text TEXT, tags TEXT, entry DATETIME)"
        )
        for number, (id_, text, metadata) in enumerate(entries):
            db.execute("INSERT INTO sections VALUES (?, ?, ?, NULL, NULL)", (number, id_, text))
            db.execute(
                "INSERT INTO documents VALUES (?, ?, NULL, NULL)",
                (id_, json.dumps({"text": text, **metadata})),
            )
    db.close()
    return folder


def write_documented(folder: Path, entries: Sequence[Entry], rows: Matrix) -> Path:
    """`faiss.index`, `documents.json`, `metadata.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_faiss(folder / "faiss.index", rows)
    documents = [{"id": id_, "page_content": text} for id_, text, _ in entries]
    (folder / "documents.json").write_text(json.dumps(documents))
    (folder / "metadata.json").write_text(json.dumps([dict(metadata) for _, _, metadata in entries]))
    return folder


def write_index_and_meta(
    folder: Path, entries: Sequence[Entry], rows: Matrix, *, kind: str = "IVF4,Flat"
) -> Path:
    """`<name>.index` with its `.meta` pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    write_faiss(folder / "alerts.index", rows, kind=kind)
    state = {
        "id_map": {number: entry[0] for number, entry in enumerate(entries)},
        "metadata": {id_: {"text": text, **metadata} for id_, text, metadata in entries},
        "dimension": rows.shape[1],
        "index_type": "IVF",
    }
    (folder / "alerts.meta").write_bytes(pickle.dumps(state))
    return folder


def write_jsonl(folder: Path, entries: Sequence[Entry], rows: Matrix) -> Path:
    """A FAISS file with its texts in JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    write_faiss(folder / "vectors.faiss", rows, kind="HNSW8,Flat")
    lines = [json.dumps({"id": id_, "text": text, **metadata}) for id_, text, metadata in entries]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return folder


def write_embedded(folder: Path, entries: Sequence[Entry], rows: Matrix) -> Path:
    """`embedded_store.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [
        {"id": id_, "content": text, "importance": 0.5, "metadata": dict(metadata), "embedding": row.tolist()}
        for (id_, text, metadata), row in zip(entries, rows, strict=True)
    ]
    (folder / "embedded_store.json").write_text(json.dumps(listed))
    return folder


WRITERS = {
    "llamaindex": write_llamaindex,
    "llamaindex-ts": write_llamaindex_ts,
    "llamaindex-faiss": write_llamaindex_faiss,
    "langchain": write_langchain,
    "chroma": write_chroma,
    "txtai": write_txtai,
    "documented": write_documented,
    "meta": write_index_and_meta,
    "jsonl": write_jsonl,
    "embedded": write_embedded,
}
