"""The child's program for FAISS files: read one index, send its vectors, end.

Started by `faiss_file` as a script in a fresh interpreter (`-I -S`), because a foreign index can end the process that
reads it: damaged graphs read out of bounds, and asking an index for vectors it cannot give back aborts. Rights are
given up (`documents.sandbox`) after the libraries are loaded and before the file is opened.

Sends one JSON frame, then, unless that holds `error`, `count` int64 ids and `count` rows of `dim` float32, both
little-endian.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

BLOCK_ROWS = 4_096  # 16 MB of 1,024-d rows at a time


class Part(NamedTuple):
    """Vectors that can be read: their ids, and a function that gives rows `start` to `end` of them."""

    ids: Any
    rows: Callable[[int, int], Any]
    kind: str
    lossy: bool


class UnreadableError(Exception):
    """The index does not keep its vectors in a form that gives them back."""


def main() -> None:
    """Serve the one request in the arguments."""
    start = json.loads(sys.argv[1])
    sys.path[:] = start["import_path"]
    root = types.ModuleType(
        "ragstone"
    )  # the package root imports the engine; only submodules are needed here
    root.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["ragstone"] = root
    import faiss
    import numpy as np

    from ragstone.documents import frames, sandbox

    replies = os.dup(1)
    os.dup2(2, 1)
    faiss.omp_set_num_threads(1)  # the sandbox allows no threads
    sandbox.enter(memory_bytes=start["memory_bytes"], open_files=64, parent=start["parent"])
    sandbox.limit_cpu(start["cpu_s"])
    try:
        index = faiss.read_index(start["path"])
        part = part_of(index)
        head = {
            "count": len(part.ids),
            "dim": int(index.d),
            "metric": int(index.metric_type),
            "kind": part.kind,
            "lossy": part.lossy,
        }
    except MemoryError:
        head = {"error": ["too_large", "reading it takes more memory than its size allows"]}
    except UnreadableError as error:
        head = {"error": ["unsupported", str(error)]}
    except Exception as error:  # noqa: BLE001 - FAISS raises RuntimeError, SWIG and numpy whatever they like
        head = {"error": ["damaged", " ".join(str(error)[-300:].split())]}
    frames.write_frame(replies, head)
    if "error" in head:
        return
    _send(replies, np.ascontiguousarray(part.ids, dtype="<i8"))
    for first in range(0, len(part.ids), BLOCK_ROWS):
        block = part.rows(first, min(first + BLOCK_ROWS, len(part.ids)))
        _send(replies, np.ascontiguousarray(block, dtype="<f4"))


def _send(descriptor: int, array: Any) -> None:
    view = memoryview(array.tobytes())
    while view:
        view = view[os.write(descriptor, view) :]


def part_of(index: Any) -> Part:
    """The vectors of an index, from the part of it that keeps them best. Raises `UnreadableError`."""
    import faiss
    import numpy as np

    index = faiss.downcast_index(index)
    kind = type(index).__name__
    if isinstance(index, faiss.IndexIDMap):
        inner = part_of(index.index)
        outer = faiss.vector_to_array(index.id_map)
        return inner._replace(ids=outer[inner.ids], kind=f"{kind} over {inner.kind}")
    if isinstance(index, faiss.IndexRefine):  # the second stage keeps what the first one compressed
        return part_of(index.refine_index)._replace(kind=kind)
    storage = getattr(index, "storage", None)
    if isinstance(index, faiss.IndexHNSW | faiss.IndexNSG) and storage is not None:  # the graph is not needed
        return part_of(storage)._replace(kind=kind)
    if isinstance(index, faiss.IndexPreTransform):
        return _transformed(index)
    if isinstance(index, faiss.IndexIVF):
        return _inverted_lists(index)
    if isinstance(index, faiss.IndexLSH):
        raise UnreadableError(f"{kind} keeps signs only; its vectors cannot be given back")
    if isinstance(index, faiss.IndexFlatCodes):
        codes = faiss.vector_to_array(index.codes)
        if len(codes) != index.ntotal * index.code_size:
            raise ValueError(
                f"{len(codes):,} bytes of codes for {index.ntotal:,} vectors of {index.code_size}"
            )
        codes = codes.reshape(index.ntotal, index.code_size)
        lossy = not isinstance(index, faiss.IndexFlat)
        return Part(
            np.arange(index.ntotal), lambda first, end: index.sa_decode(codes[first:end]), kind, lossy
        )
    raise UnreadableError(f"{kind} does not give its vectors back")


def _transformed(index: Any) -> Part:
    import faiss

    inner = part_of(index.index)
    chain = [faiss.downcast_VectorTransform(index.chain.at(place)) for place in range(index.chain.size())]
    if not all(hasattr(step, "reverse_transform") for step in chain):
        raise UnreadableError("it transforms its vectors in a way that cannot be undone")

    def rows(first: int, end: int) -> Any:
        block = inner.rows(first, end)
        for step in reversed(chain):
            block = step.reverse_transform(block)
        return block

    exact = all(isinstance(step, faiss.LinearTransform) and step.is_orthonormal for step in chain)
    same_dim = all(step.d_in == step.d_out for step in chain)
    kind = f"{type(index).__name__} over {inner.kind}"
    return inner._replace(rows=rows, kind=kind, lossy=inner.lossy or not (exact and same_dim))


def _inverted_lists(index: Any) -> Part:
    """Lists one after the other; a code is decoded with the number of its list in front, as FAISS stores it."""
    import faiss
    import numpy as np

    if isinstance(index, faiss.IndexIVFFastScan):
        raise UnreadableError(f"{type(index).__name__} does not give its vectors back")
    lists = index.invlists
    if lists.code_size != index.code_size or lists.nlist != index.nlist:
        raise ValueError("its inverted lists do not fit the index")
    sizes = [lists.list_size(number) for number in range(index.nlist)]
    if sum(sizes) != index.ntotal:
        raise ValueError(f"its lists hold {sum(sizes):,} vectors, it says {index.ntotal:,}")
    used = [number for number, size in enumerate(sizes) if size]
    ids = [faiss.rev_swig_ptr(lists.get_ids(number), sizes[number]).copy() for number in used]
    starts = np.concatenate([[0], np.cumsum([sizes[number] for number in used])]).astype(np.int64)
    prefix_bytes = index.coarse_code_size()

    def decoded(first: int, end: int) -> Iterator[Any]:
        for place in range(int(np.searchsorted(starts, first, "right")) - 1, len(used)):
            if starts[place] >= end:
                return
            number = used[place]
            codes = faiss.rev_swig_ptr(lists.get_codes(number), sizes[number] * index.code_size)
            codes = codes.reshape(sizes[number], index.code_size)
            codes = codes[max(0, first - starts[place]) : end - starts[place]]
            prefix = np.frombuffer(number.to_bytes(prefix_bytes, "little"), np.uint8)
            whole = np.hstack([np.broadcast_to(prefix, (len(codes), prefix_bytes)), codes])
            yield index.sa_decode(np.ascontiguousarray(whole))

    lossy = not isinstance(index, faiss.IndexIVFFlat)
    return Part(
        np.concatenate(ids) if ids else np.empty(0, np.int64),
        lambda first, end: np.concatenate(list(decoded(first, end))),
        type(index).__name__,
        lossy,
    )


if __name__ == "__main__":
    main()
