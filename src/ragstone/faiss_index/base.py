"""The built part of a `FAISSIndex`: a FAISS index that is never written to, and the exact vectors of its rows.

Costs throughout: squared distance for l2, the negative inner product for ip and cosine, so that lower is better.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from ragstone.faiss_index.columns import BoolArray
from ragstone.index.building import build_index, faiss_metric, search_parameters, takes_selector
from ragstone.index.fast import Measured
from ragstone.index.plans import Effort, Metric, Plan, bytes_per_vector, fitted_effort, is_exact, knob
from ragstone.index.threads import one_thread
from ragstone.types import Ids, Matrix, StoredMatrix, Vector

faiss: Any = _faiss  # its stubs lack half of what is used here

# From twenty queries on FAISS computes L2 distances as |x|² + |y|² - 2xy, which loses digits far from the origin.
_QUERIES_AT_ONCE = 16
# Below this share of rows, gathering them beats scanning all of them past a selector (as in `segment`).
GATHER_SHARE = 0.2
# The same for scans of packed codes, which are an order quicker than a scan of vectors but take no selector.
_GATHER_SHARE_CODES = 0.1
# Matches are spread unevenly: so many more candidates than their share of the rows calls for.
_OVERFETCH = 1.5
# Types whose codes are learnt from the vectors, so that they want to be learnt again when there are many more.
_UNTRAINED = frozenset({"Flat", "Flat,FP16", "HNSW", "LSH"})


@dataclass(frozen=True, slots=True)
class Base:
    """A built index over `count` rows, and its measured efforts by number of hits (filled in as they are asked for,
    under `measuring`).

    `trained` is how many rows it was learnt from. `vectors` are the (count, dim) exact vectors where the index can
    show or map them; None for IVF, whose lists give them back row by row. `searcher` is the index, or its copy on a
    GPU, which one thread at a time may use.
    """

    plan: Plan
    metric: Metric
    index: Any
    searcher: Any
    count: int
    trained: int
    vectors: StoredMatrix | None
    mapped: bool = False
    tables: dict[int, tuple[Measured, ...]] = field(default_factory=dict)
    measuring: threading.Lock = field(default_factory=threading.Lock)
    gpu_lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def dim(self) -> int:
        """Numbers of a vector."""
        return int(self.index.d)

    @property
    def keeps_vectors_beside(self) -> bool:
        """Whether the exact vectors are not in the index itself."""
        return _kept_beside(self.plan)

    @property
    def index_bytes(self) -> int:
        """Bytes of the index: rows, and what was learnt of them (centres of lists, code books, the rotation)."""
        given = self.plan.parameters
        learnt = 4 * self.dim * (given.get("nlist", 0) + self.dim * ("OPQ" in self.plan.index_type))
        if "n_subquantizers" in given:
            learnt += 4 * self.dim << given.get("m_pq", 4)
        return round(self.count * bytes_per_vector(self.plan, dim=self.dim)) + learnt

    def gather(self, rows: Ids) -> Matrix:
        """(len(rows), dim) exact float32 vectors."""
        if self.vectors is None:
            gathered: Matrix = self.index.reconstruct_batch(rows)
            return gathered
        return self.vectors[rows].astype(np.float32, copy=False)

    def all_vectors(self) -> Matrix:
        """(count, dim) exact float32 vectors; a view where they lie so."""
        if self.vectors is None:
            rows: Matrix = self.index.reconstruct_n(0, self.count)
            return rows
        return self.vectors.astype(np.float32, copy=False)

    def outgrown(self, count: int) -> bool:
        """Whether `count` rows are so many more than it learnt from that it should learn again."""
        # Four times: learning again at each costs a third more in all than learning once.
        return self.plan.index_type not in _UNTRAINED and count >= 4 * self.trained

    def search(self, queries: Matrix, *, top_k: int, effort: Effort, live: BoolArray | None) -> list[Ids]:
        """For each of the (q, dim) queries candidates for its best `top_k` of the live rows, in no order.

        All that live where fewer are; never fewer than `top_k` of them.
        """
        if live is None:
            found = self._candidates(queries, _fetched(top_k, effort), effort, None)
            short = min(top_k, self.count)
            return [
                rows if len(rows) >= short else self.nearest(query, top_k, None)
                for query, rows in zip(queries, found, strict=True)
            ]
        matching = np.flatnonzero(live)
        if len(matching) <= top_k:
            return [matching] * len(queries)
        if self.scan_is_cheaper(len(matching), effort):
            return [self.nearest(query, top_k, matching) for query in queries]
        found = self._filtered(queries, top_k, effort, live, len(matching) / self.count)
        return [
            rows if len(rows) >= top_k else self.nearest(query, top_k, matching)
            for query, rows in zip(queries, found, strict=True)
        ]

    def scan_is_cheaper(self, matching: int, effort: Effort) -> bool:
        """Whether comparing all matching rows takes fewer comparisons than searching past the others."""
        turned = knob(self.plan.index_type)
        if turned == "ef_search":
            # A walk compares about ef × m rows, and as many times more as matches are rarer.
            links = self.plan.parameters.get("m", self.plan.parameters.get("m_hnsw", 0))
            return matching * matching <= effort.probes * links * self.count
        if turned == "nprobe":
            return matching <= self.count * effort.probes / self.plan.parameters["nlist"]
        share = GATHER_SHARE if takes_selector(self.plan) else _GATHER_SHARE_CODES
        return matching <= share * self.count

    def nearest(self, query: Vector, top_k: int, rows: Ids | None) -> Ids:
        """The exact best `top_k` of some rows (None: of all), and what ties with them, in no order."""
        if rows is None:
            return self._nearest_of_all(query, top_k)
        cost = np.concatenate(
            [
                self._costs_in_place(query, rows[start : start + _BLOCK_ROWS])
                for start in range(0, len(rows), _BLOCK_ROWS)
            ]
        )
        if len(rows) <= top_k:
            return rows
        best: Ids = rows[cost <= np.partition(cost, top_k - 1)[top_k - 1]]  # with all that tie with the last
        return best

    def _costs_in_place(self, query: Vector, rows: Ids) -> npt.NDArray[np.float32]:
        """(len(rows),) costs; without copying the vectors where they are float32, in half of the time."""
        if self.vectors is None or self.vectors.dtype != np.float32:
            return costs(query, self.gather(rows), metric=self.metric)
        cost = np.empty(len(rows), np.float32)
        pointers = [faiss.swig_ptr(array) for array in (cost, query, self.vectors, rows)]
        if self.metric == "l2":
            faiss.fvec_L2sqr_by_idx(*pointers, self.dim, 1, len(rows))
            return cost
        faiss.fvec_inner_products_by_idx(*pointers, self.dim, 1, len(rows))
        return -cost

    def _nearest_of_all(self, query: Vector, top_k: int) -> Ids:
        if self.vectors is not None and not is_exact(self.plan):
            return scan(query[None], self.all_vectors(), top_k, metric=self.metric)[0]
        every_list = Effort(probes=self.plan.parameters.get("nlist", 0))
        return self._candidates(query[None], top_k, every_list, None)[0]

    def _filtered(
        self, queries: Matrix, top_k: int, effort: Effort, live: BoolArray, share: float
    ) -> list[Ids]:
        if takes_selector(self.plan):
            # Rows that do not match take part in the walk: the effort grows as matches get rarer.
            probes = min(round(effort.probes / share), self.count)
            scaled = fitted_effort(
                self.plan, Effort(probes, effort.candidates), top_k=top_k, count=self.count
            )
            bitmap = np.packbits(live, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(live), faiss.swig_ptr(bitmap))
            return self._candidates(queries, _fetched(top_k, scaled), scaled, selector)
        wanted = min(round(_fetched(top_k, effort) / share * _OVERFETCH), self.count)
        return [rows[live[rows]] for rows in self._candidates(queries, wanted, effort, None)]

    def _candidates(self, queries: Matrix, fetched: int, effort: Effort, selector: Any) -> list[Ids]:
        parameters = search_parameters(self.plan, effort, selector)
        top_k = min(fetched, self.count)
        if selector is None and self.searcher is not self.index:
            with self.gpu_lock:
                _, rows = self.searcher.search(queries, top_k, params=parameters)
        else:
            parts = [
                self.index.search(queries[start : start + _QUERIES_AT_ONCE], top_k, params=parameters)[1]
                for start in range(0, len(queries), _QUERIES_AT_ONCE)
            ]
            rows = np.concatenate(parts)
        return [found[found >= 0] for found in rows]


_BLOCK_ROWS = 65_536  # gathered at once: 100 MB of 384 dimensions


def scan(queries: Matrix, vectors: Matrix, top_k: int, *, metric: Metric) -> list[Ids]:
    """For each query the rows of the best `top_k` of (n, dim) vectors, by comparing all; ties: the lower row."""
    top_k = min(top_k, len(vectors))
    if top_k == 0:
        return [np.empty(0, np.int64)] * len(queries)
    found: list[Ids] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        block = queries[start : start + _QUERIES_AT_ONCE]
        _, rows = faiss.knn(block, vectors, top_k, metric=faiss_metric(metric))
        found.extend(rows)
    return found


def costs(query: Vector, vectors: Matrix, *, metric: Metric) -> npt.NDArray[np.float32]:
    """(n,) cost of each of (n, dim) vectors; the one function that ranks, so that ranks do not depend on the way."""
    if metric == "l2":
        away = vectors - query
        squared: npt.NDArray[np.float32] = np.einsum("ij,ij->i", away, away)
        return squared
    products: npt.NDArray[np.float32] = -np.einsum("ij,j->i", vectors, query)
    return products


def build_base(plan: Plan, vectors: Matrix, *, metric: Metric, device: str) -> Base:
    """A base over (n, dim) float32 vectors, row i as id i; `plan` as `plans.fitted` passed it."""
    with one_thread():
        index = build_index(plan, vectors, metric=metric)
    return opened_base(plan, index, metric=metric, device=device, trained=len(vectors), beside=vectors)


def extended_base(base: Base, vectors: Matrix, beside: Matrix | None, *, device: str) -> Base:
    """A new base with (n, dim) more rows; the old one stays. `beside`: all exact vectors, for types that need them."""
    # A copy, because readers go on with the old one. A mapped index is copied through its bytes: adding to what
    # still points into a file aborts the process.
    index = (
        faiss.deserialize_index(faiss.serialize_index(base.index))
        if base.mapped
        else faiss.clone_index(base.index)
    )
    with one_thread():
        index.add(vectors)
    return opened_base(
        base.plan, index, metric=base.metric, device=device, trained=base.trained, beside=beside
    )


def opened_base(
    plan: Plan,
    index: Any,
    *,
    metric: Metric,
    device: str,
    trained: int,
    beside: StoredMatrix | None,
    mapped: bool = False,
) -> Base:
    """A base around a built or mapped FAISS index; `beside` is used by types that lack the exact vectors."""
    vectors = beside if _kept_beside(plan) else _shown(plan, index)
    searcher = index if device == "cpu" else _on_gpu(plan, index)
    return Base(plan, metric, index, searcher, int(index.ntotal), trained, vectors, mapped)


def _kept_beside(plan: Plan) -> bool:
    return plan.index_type not in {"Flat", "Flat,FP16", "IVF", "HNSW"}


def _shown(plan: Plan, index: Any) -> StoredMatrix | None:
    """A view of the exact vectors inside an index; it lives as long as the index."""
    shape = (int(index.ntotal), int(index.d))
    if plan.index_type == "IVF":
        if index.direct_map.type == faiss.DirectMap.NoMap:
            index.make_direct_map()  # row → place in its list: 8 bytes a row
        return None
    if plan.index_type == "Flat,FP16":
        codes = faiss.rev_swig_ptr(index.codes.data(), 2 * shape[0] * shape[1])
        halves: StoredMatrix = codes.view("<f2").reshape(shape)
        return halves
    flat = index if plan.index_type == "Flat" else faiss.downcast_index(index.storage)
    rows: StoredMatrix = faiss.rev_swig_ptr(flat.get_xb(), shape[0] * shape[1]).reshape(shape)
    return rows


def gpus() -> int:
    """GPUs that this FAISS can use; 0 where it was built without."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


# FAISS copies these to a GPU as they are; graphs stay on the CPU, packed codes have no GPU form.
_GPU_TYPES = frozenset({"Flat", "Flat,FP16", "SQ8", "IVF", "IVF,SQ8"})


def _on_gpu(plan: Plan, index: Any) -> Any:
    if plan.index_type not in _GPU_TYPES:
        return index
    resources = faiss.StandardGpuResources()
    copy = faiss.index_cpu_to_gpu(resources, 0, index)
    copy.kept_alive = resources
    return copy


def _fetched(top_k: int, effort: Effort) -> int:
    return max(top_k, effort.candidates)
