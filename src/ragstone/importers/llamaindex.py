"""LlamaIndex's persisted storage: JSON vector stores of every age, TypeScript's layout, and FAISS inside.

A folder holds vectors by node id in one file per namespace (`default__vector_store.json`; in 2023 and in TypeScript
`vector_store.json`), and nodes by id in `docstore.json` (`doc_store.json` in TypeScript). Where LlamaIndex kept its
vectors in FAISS, the file of that name is the FAISS index, and `index_store.json` says which row is which node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragstone.errors import DamagedError, NotFoundError
from ragstone.importers.faiss_file import FaissVectors, is_faiss, read_faiss
from ragstone.importers.json_stream import JsonStream, json_file
from ragstone.importers.records import ForeignStore, LeftOut, Losses, Metric, Record, new_record
from ragstone.types import Vector

FORMAT = "llamaindex"
VECTOR_SUFFIX = "__vector_store.json"
LEGACY_NAME = "vector_store.json"
DOCSTORES = ("docstore.json", "doc_store.json")
IMAGE_NAMESPACES = frozenset({"image", "images"})
# The names of the vectors' table: Python, TypeScript.
EMBEDDINGS = frozenset({"embedding_dict", "embeddingDict"})
# Relationship 1 (SOURCE in TypeScript) is the document a node was cut from: it becomes part of the uri.
_SOURCE = frozenset({"1", "SOURCE"})
# The store of a million nodes is 150 MB.
_INDEX_STORE_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Node:
    """What the docstore says of a node; `document` is the id of the document it was cut from."""

    text: str
    metadata: Mapping[str, Any]
    document: str | None
    relationships: int
    is_image: bool


def detect(path: Path) -> bool:
    """Whether a folder, or a vector store file in one, is LlamaIndex's."""
    folder = path if path.is_dir() else path.parent
    if path.is_file() and not path.name.endswith("vector_store.json"):
        return False
    return bool(_vector_files(path)) and _docstore(folder) is not None


def open_store(path: Path, *, only: str | None, work_folder: Path | None) -> ForeignStore:
    """The store in a folder, or of one vector file in it. `only` names one namespace.

    Raises `NotFoundError` where the files are not there, `DamagedError` for what cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    docstore = _docstore(folder)
    files = [file for file in _vector_files(path) if only is None or _namespace(file) == only]
    if docstore is None or not files:
        wanted = f"a vector store of namespace {only!r}" if only else f"*{VECTOR_SUFFIX} or {LEGACY_NAME}"
        raise NotFoundError(f"no {wanted} with a docstore.json in {folder}", hint="name the storage folder")
    if only is None:
        files = [file for file in files if _namespace(file) not in IMAGE_NAMESPACES] or files
    faiss_files = {file: read_faiss(file, work_folder=work_folder) for file in files if is_faiss(file)}
    first = next(iter(faiss_files.values()), None)

    def read(losses: Losses) -> Iterator[Record]:
        _count_other_stores(folder, losses)
        return _records(folder, docstore, files, faiss_files, losses)

    lossy = any(vectors.lossy for vectors in faiss_files.values())
    index_store = folder / "index_store.json"
    return ForeignStore(
        format=FORMAT,
        layout=_layout(files[0], docstore, with_faiss=first is not None),
        path=folder,
        files=(*files, docstore, *([index_store] if first and index_store.is_file() else [])),
        model=None,
        metric=_metric(first),
        dim=first.dim if first else None,
        read=read,
        notes=("the FAISS file compressed its vectors: they come over as what is left of them",) * lossy,
    )


def _metric(faiss: FaissVectors | None) -> Metric:
    return "cosine" if faiss is None else faiss.metric  # SimpleVectorStore ranks by cosine


def _vector_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    legacy = path / LEGACY_NAME
    return sorted(path.glob(f"*{VECTOR_SUFFIX}")) + ([legacy] if legacy.is_file() else [])


def _docstore(folder: Path) -> Path | None:
    return next((folder / name for name in DOCSTORES if (folder / name).is_file()), None)


def _namespace(file: Path) -> str:
    return file.name.removesuffix(VECTOR_SUFFIX) if file.name.endswith(VECTOR_SUFFIX) else "default"


def _layout(file: Path, docstore: Path, *, with_faiss: bool) -> str:
    if with_faiss:
        return "LlamaIndex over FAISS"
    if docstore.name == "doc_store.json":
        return "LlamaIndex.TS"
    return "LlamaIndex" if file.name.endswith(VECTOR_SUFFIX) else "LlamaIndex of 2023"


def _count_other_stores(folder: Path, losses: Losses) -> None:
    """Note what lies beside the vectors and is not carried over."""
    for file in _vector_files(folder):
        if _namespace(file) in IMAGE_NAMESPACES and not is_faiss(file):
            losses.part("image vectors", _count_vectors(file))
    for name, what in (("graph_store.json", "graph"), ("property_graph_store.json", "property graph")):
        graph = folder / name
        if (
            graph.is_file() and graph.stat().st_size > 100
        ):  # an empty one is {"graph_dict": {}} or a little more
            losses.part(f"{what} stores ({name})")


def _count_vectors(file: Path) -> int:
    count = 0
    with JsonStream(file) as stream:
        for key in stream.members():
            if key in EMBEDDINGS and stream.kind() == "{":
                for _ in stream.members():
                    stream.vector()
                    count += 1
            else:
                stream.skip()
    return count


# -- records -------------------------------------------------------------------------------------------------


def _records(
    folder: Path, docstore: Path, files: list[Path], faiss: Mapping[Path, FaissVectors], losses: Losses
) -> Iterator[Record]:
    """Nodes in the order of their vectors, then those that have none."""
    nodes = _nodes(docstore, losses)
    seen: set[str] = set()
    for file in files:
        pairs = _faiss_vectors(folder, faiss[file]) if file in faiss else _json_vectors(file)
        for id_, vector in pairs:
            node = nodes.get(id_)
            if node is None:
                losses.records.append(
                    LeftOut(id_, "it has a vector but no text: the docstore has no such node")
                )
                continue
            seen.add(id_)
            yield _record(id_, node, vector, losses)
    for id_, node in nodes.items():
        if id_ not in seen:
            yield _record(id_, node, None, losses)


def _record(id_: str, node: Node, vector: Vector | None, losses: Losses) -> Record:
    losses.part("relationships between nodes (previous, next, parent, child)", node.relationships)
    losses.part("images", int(node.is_image))
    record = new_record(id_, node.text, vector, metadata=node.metadata, losses=losses)
    if record.uri != id_ or node.document is None:
        return record
    return new_record(id_, node.text, vector, metadata=node.metadata, losses=Losses(), source=node.document)


def _json_vectors(file: Path) -> Iterator[tuple[str, Vector]]:
    with JsonStream(file) as stream:
        for key in stream.members():
            if key not in EMBEDDINGS or stream.kind() != "{":
                stream.skip()
                continue
            for id_ in stream.members():
                vector = stream.vector()
                if vector is not None:  # else its node is left without one, and says so
                    yield id_, vector


def _faiss_vectors(folder: Path, vectors: FaissVectors) -> Iterator[tuple[str, Vector]]:
    """Node ids with their rows, as `index_store.json` pairs them."""
    names = _rows_to_nodes(folder / "index_store.json")
    for id_, row in zip(vectors.ids.tolist(), vectors.rows, strict=True):
        yield names.get(str(id_), f"row {id_}"), row


def _rows_to_nodes(path: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    content = json_file(path, max_bytes=_INDEX_STORE_BYTES)
    try:
        for entry in content["index_store/data"].values():
            data = _data(entry)
            names |= {str(row): str(node) for row, node in (data.get("nodes_dict") or {}).items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedError(
            f"{path} does not say which row of the FAISS index is which node: {type(error).__name__} {error}",
            hint="it must be the index store written with these files",
        ) from error
    return names


# -- the docstore --------------------------------------------------------------------------------------------


def _nodes(path: Path, losses: Losses) -> dict[str, Node]:
    """Every node of the docstore by id."""
    nodes: dict[str, Node] = {}
    with JsonStream(path) as stream:
        for key in stream.members():
            if not key.endswith("/data") or stream.kind() != "{":
                stream.skip()
                continue
            for id_ in stream.members():
                try:
                    nodes[id_] = node_of(_data(stream.value()))
                except (TypeError, AttributeError, ValueError) as error:
                    losses.records.append(LeftOut(id_, f"its node cannot be read: {error}"))
    return nodes


def _data(entry: Any) -> dict[str, Any]:
    """The content of a stored entry: an object, or, in TypeScript and index stores, the JSON text of one."""
    data = entry.get("__data__", entry)
    if isinstance(data, str):
        data = json.loads(data)
    if not isinstance(data, dict):
        raise TypeError(f"it is {type(data).__name__}, not an object")
    return data


def node_of(data: dict[str, Any]) -> Node:
    """What a stored node holds. Raises `TypeError`, `AttributeError` for one of another form."""
    text = data.get("text")
    if not isinstance(text, str):  # since 2024 a node may keep its text in a resource
        text = (data.get("text_resource") or {}).get("text")
    metadata = data.get("metadata")
    if not isinstance(metadata, dict):
        metadata = data.get("extra_info")  # its name until mid-2023
    related = data.get("relationships")
    related = related if isinstance(related, dict) else {}
    sources = [value for key, value in related.items() if key in _SOURCE]
    images = ("image", "image_path", "image_url", "image_resource")
    return Node(
        text=text if isinstance(text, str) else "",
        metadata=metadata if isinstance(metadata, dict) else {},
        document=_related_id(sources[0]) if sources else None,
        relationships=sum(len(value) if isinstance(value, list) else 1 for value in related.values())
        - len(sources),
        is_image=any(data.get(name) for name in images),
    )


def _related_id(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("node_id") or value.get("nodeId")
    return value if isinstance(value, str) else None
