"""An open segment: mapped files, searched exactly or through its fast index, whichever is right for the question.

FAISS passes over rows while it scans at 2 ns a row and compares at 35 ns (384 half-precision numbers); picking single
rows out costs 120 ns each. So few matches of a filter are picked out, more are scanned past a bitmap, and where that
is dearer the fast index is asked for as much more as the filter will take away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from ragstone.errors import DamagedError
from ragstone.index.building import takes_selector
from ragstone.index.exact import add_rows, empty_index
from ragstone.index.fast import FastIndex, read_fast, refine, refined_parameters
from ragstone.index.mapped_lists import map_lists
from ragstone.index.plans import Effort, Plan, fitted_effort
from ragstone.index.precision import single
from ragstone.index.products import products
from ragstone.index.segment_files import (
    DOCUMENTS_FILE,
    FAST_FILE,
    INDEX_FILE,
    LISTS_FILE,
    ROWS_FILE,
    Manifest,
)
from ragstone.index.selection import Mask, Rows, Selection
from ragstone.index.threads import use_one_thread
from ragstone.types import Ids, Matrix, Scores, StoredMatrix, Vector

faiss: Any = _faiss  # its stubs lack half of what is used here

# Nanoseconds a row, measured on one core for 384 half-precision numbers: pass over, compare, pick out and compare.
PASS_NS, COMPARE_NS, READ_NS = 2.0, 35.0, 120.0
# From here on an index of the picked rows costs less than making their halves single (LAB, "Filters at a million").
PICKED_INDEX_ROWS = 500
# Rows of such an index: 768 kB, which stay in a core's cache between being picked and being compared.
PICKED_AT_ONCE = 1_000
# What a search through a fast index is taken to cost, before it ranks its candidates by reading them.
FAST_NS = 400_000.0


class Segment:
    """An open segment. Immutable and thread-safe; opening maps files and reads none of the vectors."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Map the files of a segment whose manifest is trusted. Raises `DamagedError` if they do not fit it."""
        self.name = folder.name
        self.count = manifest.count
        self.dim = manifest.dim
        self.bytes = sum(size for size, _ in manifest.files.values())
        with _damage_reported(self.name):
            for name, (size, _) in manifest.files.items():
                found = (folder / name).stat().st_size
                if found != size:
                    raise DamagedError(f"{name} of segment {folder.name} has {found:,} bytes, not {size:,}")
            self._exact = self._mapped(folder / INDEX_FILE)
            self.chunk_ids = _mapped_ids(folder / ROWS_FILE)
            self.document_ids = _mapped_ids(folder / DOCUMENTS_FILE)
            self.vectors: StoredMatrix = np.asarray(
                np.memmap(
                    folder / INDEX_FILE,
                    dtype=np.dtype(manifest.precision).newbyteorder("<"),
                    mode="r",
                    offset=manifest.vectors_offset,
                    shape=(manifest.count, manifest.dim),
                )
            )
            self.fast: FastIndex | None = None
            if manifest.fast is not None:
                fast = self._mapped(folder / FAST_FILE)
                if LISTS_FILE in manifest.files:
                    map_lists(fast, folder / LISTS_FILE)
                self.fast = read_fast(manifest.fast, fast)
                self._refined = refine(self.fast.index, self._exact)
        self._parameters: dict[tuple[Effort, int], Any] = {}

    def _mapped(self, path: Path) -> Any:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        if index.ntotal != self.count or index.d != self.dim:
            raise DamagedError(
                f"{path.name} of segment {self.name} holds {index.ntotal:,} × {index.d}, "
                f"not {self.count:,} × {self.dim}"
            )
        return index

    @property
    def plan(self) -> Plan:
        """What searches it: its fast index's plan, or the exact vectors'."""
        if self.fast is not None:
            return self.fast.plan
        return Plan("Flat" if self.vectors.dtype.itemsize == 4 else "Flat,FP16")

    @cached_property
    def in_document_order(self) -> bool:
        """Whether the rows lie in the order of their documents, as they do unless some were changed later."""
        return bool((self.document_ids[1:] >= self.document_ids[:-1]).all())

    def search(
        self, vector: Vector, *, top_k: int, among: Selection | None, recall: float
    ) -> tuple[Rows, Scores]:
        """The best rows and their cosines, best first; `among`: which rows may be given, None all.

        At least `recall` of the true best are among them on average, all at 1.0; exactly `top_k` where so
        many rows may be.
        """
        use_one_thread()
        wanted = min(top_k, self.count)
        if among is None:
            effort = self._effort(wanted, recall)
            return self._scan(vector, wanted) if effort is None else self._approximate(vector, wanted, effort)
        matches = among.size
        if not matches:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        wanted = min(wanted, matches)
        per_number = self.dim / 384
        read_ns = READ_NS * per_number * matches
        scan_ns = PASS_NS * self.count + COMPARE_NS * per_number * matches
        effort = self._effort(wanted, recall)
        if effort is not None and self._widened_ns(effort, self.count / matches) < min(read_ns, scan_ns):
            found = self._widened(vector, wanted, among.mask, effort, self.count / matches)
            if found is not None:
                return found
        if read_ns < scan_ns:
            return self._picked(vector, wanted, among.rows)
        return self._scan(vector, wanted, _bitmap(among.mask))

    def gather(self, rows: Rows) -> Matrix:
        """(len(rows), dim) float32 vectors."""
        return single(self.vectors[rows])

    def _effort(self, top_k: int, recall: float) -> Effort | None:
        return None if self.fast is None else self.fast.calibration.effort(top_k, recall)

    def _picked(self, vector: Vector, top_k: int, rows: Rows) -> tuple[Rows, Scores]:
        """The best of some rows, read one by one."""
        if self.vectors.dtype.itemsize == 2 and len(rows) >= PICKED_INDEX_ROWS:
            rows, scores = self._best_of_parts(vector, top_k, rows)
        else:
            scores = products(self.gather(rows), vector)
        best = np.argsort(-scores, kind="stable")[:top_k]
        return rows[best], scores[best]

    def _best_of_parts(self, vector: Vector, top_k: int, rows: Rows) -> tuple[Rows, Scores]:
        """The best rows of each part of `rows`, compared by FAISS, which knows half precision."""
        index = empty_index(self.vectors)
        best: list[tuple[Rows, Scores]] = []
        for start in range(0, len(rows), PICKED_AT_ONCE):
            part = rows[start : start + PICKED_AT_ONCE]
            index.reset()
            add_rows(index, self.vectors[part])
            places, scores = _found(index.search(vector[None, :], min(top_k, len(part))))
            best.append((part[places], scores))
        found, scores_of = zip(*best, strict=True)
        return np.concatenate(found), np.concatenate(scores_of)

    def _scan(self, vector: Vector, top_k: int, selector: object | None = None) -> tuple[Rows, Scores]:
        parameters = None if selector is None else faiss.SearchParameters(sel=selector)
        return _found(self._exact.search(vector[None, :], top_k, params=parameters))

    def _approximate(self, vector: Vector, top_k: int, effort: Effort) -> tuple[Rows, Scores]:
        assert self.fast is not None  # noqa: S101  - it gave the effort
        key = (effort, top_k)
        if key not in self._parameters:  # making them costs 9 µs
            self._parameters[key] = refined_parameters(self.fast.plan, effort, top_k=top_k)
        return _found(self._refined.search(vector[None, :], top_k, params=self._parameters[key]))

    def _widened_ns(self, effort: Effort, widening: float) -> float:
        """What a search through the fast index costs when it is asked for `widening` times as much."""
        assert self.fast is not None  # noqa: S101  - it gave the effort
        looked_at = widening if effort.probes else 1.0
        read = effort.candidates * (1.0 if takes_selector(self.fast.plan) else widening)
        return FAST_NS * looked_at + READ_NS * self.dim / 384 * read

    def _widened(
        self, vector: Vector, top_k: int, mask: Mask, effort: Effort, widening: float
    ) -> tuple[Rows, Scores] | None:
        """A search through the fast index under a filter; None where it finds fewer than `top_k`."""
        assert self.fast is not None  # noqa: S101  - it gave the effort
        plan = self.fast.plan
        probes = round(effort.probes * widening)
        if takes_selector(plan):
            wider = fitted_effort(plan, Effort(probes, effort.candidates), top_k=top_k, count=self.count)
            selector = _bitmap(mask)
            parameters = refined_parameters(plan, wider, top_k=top_k, selector=selector)
            rows, scores = _found(self._refined.search(vector[None, :], top_k, params=parameters))
        else:
            # Twice the expected loss: matches are not spread evenly over what is near.
            more = min(self.count, round(2 * widening * top_k))
            candidates = max(round(effort.candidates * widening), more)
            wider = fitted_effort(plan, Effort(probes, candidates), top_k=more, count=self.count)
            parameters = refined_parameters(plan, wider, top_k=more)
            rows, scores = _found(self._refined.search(vector[None, :], more, params=parameters))
            passing = mask[rows]
            rows, scores = rows[passing][:top_k], scores[passing][:top_k]
        return (rows, scores) if len(rows) == top_k else None


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DamagedError(f"segment {name} does not open: {error}") from error


def _bitmap(mask: Mask) -> Any:
    """FAISS's selector for a mask; it looks at the bits, so they have to live as long."""
    bits = np.packbits(mask, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(bits))
    selector.referenced_objects = [bits]
    return selector


def _found(result: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]) -> tuple[Rows, Scores]:
    scores, rows = result
    there = rows[0] >= 0
    return rows[0][there], scores[0][there]


def _mapped_ids(path: Path) -> Ids:
    # As plain arrays over the mapping: `memmap` makes every row that is picked out an object of its own.
    return np.asarray(np.memmap(path, dtype="<u8", mode="r")).view(np.int64)
