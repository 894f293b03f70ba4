"""The lists of an `IVF,PQ,FastScan` index in a file that is mapped, not read: a search touches the lists it probes.

FAISS reads lists of 4-bit codes into memory, 60 ms for a million, and maps only lists of one code a vector. To its
search both are a pointer to codes and one to ids, so `OnDiskInvertedLists`, one "vector" of a list being 1/32 of a
block of 32, serves blocks as well. The file:

    per list: the codes, in whole blocks of 32 vectors, then the ids (int64), as many as there are codes
    at the end: per list (size, capacity, offset), each u64 little-endian; capacity is the size in whole blocks

Knows nothing of segments.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, TypeAlias

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from ragstone.errors import DamagedError

faiss: Any = _faiss  # its stubs lack half of what is used here

_Table: TypeAlias = npt.NDArray[np.uint64]  # (lists, 3): size, capacity, offset
_ID_BYTES = 8
_NOWHERE = np.uint64(2**64 - 1)  # FAISS's offset of an empty list


def has_lists(index: Any) -> bool:
    """Whether it is an index whose lists can be kept apart."""
    return isinstance(index, faiss.IndexIVFFastScan)


def write_apart(index: Any, index_path: Path, lists_path: Path) -> None:
    """Write an index without its lists, and these beside it. Raises `OSError`, `RuntimeError` from FAISS."""
    lists = faiss.downcast_InvertedLists(index.invlists)
    table = np.zeros((index.nlist, 3), np.uint64)
    with lists_path.open("wb") as file:
        for number in range(index.nlist):
            size = lists.list_size(number)
            capacity = -(-size // lists.n_per_block) * lists.n_per_block
            table[number] = size, capacity, file.tell() if size else _NOWHERE
            if size:
                file.write(faiss.rev_swig_ptr(lists.get_codes(number), capacity * index.code_size).data)
                ids = np.full(capacity, -1, np.int64)
                ids[:size] = faiss.rev_swig_ptr(lists.get_ids(number), size)
                file.write(ids.data)
        file.write(table.astype("<u8").data)
    nothing = faiss.BlockInvertedLists(index.nlist, lists.n_per_block, lists.block_size)
    own, index.own_invlists = index.own_invlists, False
    index.invlists = nothing
    try:
        faiss.write_index(index, str(index_path))
    finally:
        index.invlists, index.own_invlists = lists, own


def map_lists(index: Any, path: Path) -> None:
    """Give an index that was written apart its lists back, mapped. Raises `DamagedError` unless they fit it."""
    table = _table(index, path)
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(path))
    lists.read_only = True
    lists.prefetch_nthread = 0  # it would start 32 threads for each search
    lists.totsize = path.stat().st_size
    _places(lists, index.nlist)[:] = table
    lists.do_mmap()
    index.replace_invlists(lists, False)  # noqa: FBT003  - a C++ signature
    index.referenced_objects = [*getattr(index, "referenced_objects", ()), lists]


def _table(index: Any, path: Path) -> _Table:
    """Where each list lies, every one of them inside the file, all of them together the index."""
    table_bytes = index.nlist * 3 * 8
    room = path.stat().st_size - table_bytes
    if room < 0:
        raise DamagedError(f"{path.name} is too short to say where {index.nlist:,} lists are")
    table: _Table = np.fromfile(path, "<u8", offset=room).astype(np.uint64).reshape(-1, 3)
    sizes, capacities, offsets = table[table[:, 0] > 0].T
    inside = (capacities <= room) & (offsets <= room) & (sizes <= capacities)
    inside &= offsets + capacities * (index.code_size + _ID_BYTES) <= room
    if not inside.all() or sizes.sum() != index.ntotal:
        raise DamagedError(f"the lists in {path.name} are not those of an index of {index.ntotal:,} vectors")
    return table


def _places(lists: Any, count: int) -> _Table:
    """FAISS's own table of its lists, to be written to: its Python side gives out copies only."""
    entries = (ctypes.c_uint64 * (3 * count)).from_address(int(lists.lists.data().this))
    table: _Table = np.frombuffer(memoryview(entries), np.uint64).reshape(count, 3)
    if lists.lists.size() != count or (table != (0, 0, _NOWHERE)).any():  # as an empty list is made
        raise RuntimeError("this FAISS lays out its lists in another way than ragstone knows")
    return table
