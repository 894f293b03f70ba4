"""From a plan to a FAISS index, and from an effort to FAISS's search parameters: the only place that knows both."""

from __future__ import annotations

from typing import Any

import faiss as _faiss
import numpy as np

from ragstone.index.plans import Effort, Metric, Plan
from ragstone.types import HalfMatrix, Matrix

faiss: Any = _faiss  # its stubs lack half of what is used here

# k-means of the lists: more points a centroid than this change recall by less than its noise (FAISS's own cap is
# 256; 64 took a quarter of the time for the same recall within .002 at 100k × 384).
_POINTS_PER_CENTROID = 64
# Rows that code books of 256 entries are learned from, as FAISS samples them, and books of 16 in lists.
_CODEBOOK_ROWS = 65_536
# Books of 16 entries alone: of more rows FAISS would sample 4,096, after copying each part of each row, for the same
# recall within its noise and two or three times the time (.22 s; 16,000 to 153,000 × 384).
_SMALL_CODEBOOK_ROWS = 2_048
# OPQ as FAISS defaults it (50 rotations of 25-step k-means) ran for minutes on 20k × 384 (FEATURES, traps).
_OPQ_ROWS = 16_384
_OPQ_ROTATIONS = 8
_OPQ_STEPS = 4
# Steps of the codes' own k-means; FAISS's 25 take twice the time for the same recall within .005 (20k × 384).
_CODE_STEPS = 10
# Rows widened and added at once: 65,536 × 384 float32 are 100 MB.
_ADD_ROWS = 65_536
_SEED = 1234  # FAISS's own; results repeat


def faiss_metric(metric: Metric) -> int:
    """FAISS's number for a metric."""
    return int(faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def build_index(plan: Plan, vectors: Matrix | HalfMatrix, *, metric: Metric) -> Any:
    """A trained FAISS index holding (n, dim) `vectors`, row i as id i.

    Give it a plan that `plans.fitted` passed. Half-precision vectors are widened a block at a time, so memory
    grows by the index alone. Runs on the calling thread's OpenMP setting.
    """
    index = _empty(plan, vectors.shape[1], faiss_metric(metric))
    if plan.index_type == "OPQ+HNSW":
        _learn_rotation(faiss.downcast_VectorTransform(index.chain.at(0)), plan, vectors)
    if not index.is_trained:
        index.train(_sample(vectors, _training_rows(plan)))
    for start in range(0, len(vectors), _ADD_ROWS):
        index.add(_wide(vectors[start : start + _ADD_ROWS]))
    return index


def _empty(plan: Plan, dim: int, metric: int) -> Any:
    given = plan.parameters
    kind = faiss.ScalarQuantizer
    match plan.index_type:
        case "Flat":
            return faiss.IndexFlat(dim, metric)
        case "Flat,FP16":
            return faiss.IndexScalarQuantizer(dim, kind.QT_fp16, metric)
        case "SQ8":
            return faiss.IndexScalarQuantizer(dim, kind.QT_8bit, metric)
        case "LSH":
            index = faiss.IndexLSH(dim, given["nbits"])
            index.metric_type = metric  # it compares bits; the metric is that of the exact vectors beside it
            return index
        case "PQ,FastScan":
            index = faiss.IndexPQFastScan(dim, given["n_subquantizers"], 4, metric)
            _quiet_codes(index.pq)
            return index
        case "HNSW" | "HNSW,SQ8":
            graph = (
                faiss.IndexHNSWFlat(dim, given["m"], metric)
                if plan.index_type == "HNSW"
                else faiss.IndexHNSWSQ(dim, kind.QT_8bit, given["m"], metric)
            )
            graph.hnsw.efConstruction = given["ef_construction"]
            return graph
        case "OPQ+HNSW":
            return _rotated_hnsw(plan, dim, metric)
    return _inverted(plan, dim, metric)


def _inverted(plan: Plan, dim: int, metric: int) -> Any:
    given = plan.parameters
    lists = given["nlist"]
    coarse = faiss.IndexFlat(dim, metric)
    if plan.index_type == "IVF":
        index = faiss.IndexIVFFlat(coarse, dim, lists, metric)
    elif plan.index_type == "IVF,SQ8":
        kind = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, kind, metric, True)  # noqa: FBT003  - a C++ signature
    else:
        # By residual: the lists say where a vector is, the codes only how it differs from its list's centre.
        index = faiss.IndexIVFPQFastScan(coarse, dim, lists, given["n_subquantizers"], 4, metric, 32)
        index.by_residual = True
        _quiet_codes(index.pq)
    index.own_fields = True
    coarse.this.disown()
    index.cp.max_points_per_centroid = _POINTS_PER_CENTROID
    index.cp.min_points_per_centroid = 1  # `plans.fitted` has seen to it
    index.cp.seed = _SEED
    return index


def _rotated_hnsw(plan: Plan, dim: int, metric: int) -> Any:
    given = plan.parameters
    codes = given["n_subquantizers"]
    rotation = faiss.OPQMatrix(dim, codes)
    # By distance, always: decoded vectors are of unequal length, and a graph of their inner products leads to
    # the long ones (recall .24 against .99). For unit vectors both metrics order alike.
    graph = faiss.IndexHNSWPQ(dim, codes, given["m_hnsw"], given["m_pq"], faiss.METRIC_L2)
    graph.hnsw.efConstruction = given["ef_construction"]
    _quiet_codes(faiss.downcast_index(graph.storage).pq)
    index = faiss.IndexPreTransform(rotation, graph)
    index.own_fields = True
    rotation.this.disown()
    graph.this.disown()
    index.metric_type = metric  # that of the exact vectors which have the last word
    return index


def _learn_rotation(rotation: Any, plan: Plan, vectors: Matrix | HalfMatrix) -> None:
    """Train the rotation for the codes that the graph will have, on few points and in few steps."""
    codes = faiss.ProductQuantizer(rotation.d_in, rotation.M, plan.parameters["m_pq"])
    _quiet_codes(codes)
    rotation.niter, rotation.niter_pq, rotation.niter_pq_0 = _OPQ_ROTATIONS, _OPQ_STEPS, _OPQ_STEPS
    rotation.max_train_points = _OPQ_ROWS
    rotation.pq = codes
    rotation.train(_sample(vectors, _OPQ_ROWS))
    rotation.pq = None  # borrowed for the training only


def _quiet_codes(codes: Any) -> None:
    """Few points an entry are the caller's decision, not a warning on stderr."""
    codes.cp.min_points_per_centroid = 1
    codes.cp.niter = _CODE_STEPS
    codes.cp.seed = _SEED


def _training_rows(plan: Plan) -> int:
    lists = plan.parameters.get("nlist", 0)
    rows = {"OPQ+HNSW": _OPQ_ROWS, "PQ,FastScan": _SMALL_CODEBOOK_ROWS}.get(plan.index_type, _CODEBOOK_ROWS)
    return max(rows, lists * _POINTS_PER_CENTROID)


def _sample(vectors: Matrix | HalfMatrix, rows: int) -> Matrix:
    """At most `rows` rows, spread evenly: what was indexed together lies together."""
    if len(vectors) <= rows:
        return _wide(vectors)
    chosen = np.linspace(0, len(vectors) - 1, rows).astype(np.int64)
    return _wide(vectors[chosen])


def _wide(vectors: Matrix | HalfMatrix) -> Matrix:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def search_parameters(plan: Plan, effort: Effort, selector: object | None) -> Any:
    """FAISS's parameters for one search of an index built to `plan`; None where it needs none."""
    given = {} if selector is None else {"sel": selector}
    if plan.index_type.startswith("IVF"):
        return faiss.SearchParametersIVF(nprobe=effort.probes, **given)
    if plan.index_type.startswith("HNSW"):
        return faiss.SearchParametersHNSW(efSearch=effort.probes, **given)
    if plan.index_type == "OPQ+HNSW":
        inner = faiss.SearchParametersHNSW(efSearch=effort.probes, **given)
        return faiss.SearchParametersPreTransform(index_params=inner)
    return faiss.SearchParameters(**given) if given else None


def takes_selector(plan: Plan) -> bool:
    """Whether FAISS can pass over rows while it searches such an index."""
    return plan.index_type not in {"PQ,FastScan", "LSH"}
