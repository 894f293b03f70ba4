"""How quick a setting is and what it finds, measured as segments search: candidates from the fast index, ranked by
the exact half-precision vectors, one query at a time on one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import faiss as _faiss
import numpy as np
import numpy.typing as npt

from ragstone.errors import StoreError
from ragstone.index.building import build_index, faiss_metric
from ragstone.index.fast import refined_parameters
from ragstone.index.plans import Effort, Metric, Plan, is_exact, make_plan
from ragstone.index.tuning_results import Confirmation
from ragstone.types import Matrix

faiss: Any = _faiss  # its stubs lack half of what is used here

Rows: TypeAlias = npt.NDArray[np.int64]  # (queries, top_k) row numbers, -1 where nothing was found
Times: TypeAlias = npt.NDArray[np.float64]  # (queries,) ms

TOP_K = 10  # what an answer cites
DEEP_K = 100  # what hybrid search takes as candidates
# Each query is timed in five rounds and its median counts: what another process did meanwhile would else be most of
# the p95 (65,536 × 384 on a busy machine: p50 .24 ms, p95 of single times 4.3 ms, of medians .3 ms).
ROUNDS = 5
# A slow search is timed with fewer queries rather than for minutes.
TIMING_S = 2.0
QUERIES_MIN = 20
CONFIRM_LIMIT_S = 300.0
# Scores of a vector computed in two ways differ in the seventh digit: that much is no difference.
_SCORE_NOISE = 1e-6


class Searcher:
    """An index built to a plan, with the exact vectors that have the last word."""

    def __init__(self, plan: Plan, index: Any, exact: Any) -> None:
        """`exact`: the FAISS index of the same rows in half precision. An exact plan searches `index` alone."""
        self._plan = plan
        self._index = index if is_exact(plan) else faiss.IndexRefine(index, exact)

    def prepared(self, effort: Effort, *, top_k: int) -> Callable[[Matrix], Rows]:
        """A search for `top_k` rows with FAISS's parameters made beforehand; takes (n, dim) queries."""
        if is_exact(self._plan):
            return lambda queries: self._index.search(queries, top_k)[1]
        parameters = refined_parameters(self._plan, effort, top_k=top_k)
        return lambda queries: self._index.search(queries, top_k, params=parameters)[1]


class Ground:
    """What measurements stand on: vectors, queries, and each query's true nearest by float32 comparison."""

    def __init__(self, vectors: Matrix, queries: Matrix, metric: Metric) -> None:
        """(n, dim) and (m, dim) float32, of unit length for `cosine`. Costs n × m × dim multiplications."""
        self.vectors = vectors
        self.queries = queries
        self.metric: Metric = metric
        self.top_k = min(TOP_K, len(vectors))
        self.deep_k = min(DEEP_K, len(vectors))
        self.exact_plan = make_plan("Flat,FP16", dim=vectors.shape[1])
        started_s = time.perf_counter()
        self.exact = build_index(self.exact_plan, vectors, metric=metric)
        self.exact_build_s = time.perf_counter() - started_s
        _, nearest = faiss.knn(queries, vectors, self.deep_k, metric=faiss_metric(metric))
        self._truth = np.sort(self._scores(nearest), axis=1)[:, ::-1]

    def recall(self, found: Rows) -> float:
        """Share of the true nearest among `found`, 0 to 1; a row exactly as near as the last of them is one."""
        last = self._truth[:, found.shape[1] - 1]
        noise = _SCORE_NOISE * np.maximum(1, np.abs(last))
        return float((self._scores(found) >= (last - noise)[:, None]).mean())

    def _scores(self, rows: Rows) -> npt.NDArray[np.float32]:
        """(queries, top_k) score of each row for its query, higher is better; -inf for no row."""
        scores = np.empty(rows.shape, np.float32)
        for place, (query, found) in enumerate(zip(self.queries, rows, strict=True)):
            gathered = self.vectors[found]
            if self.metric == "l2":
                scores[place] = -np.square(gathered - query).sum(axis=1)
            else:
                scores[place] = gathered @ query
        scores[rows < 0] = -np.inf
        return scores


def latencies_ms(search: Callable[[Matrix], Rows], queries: Matrix) -> Times:
    """How long a search takes, for each query the median of some rounds, on one thread, after a warm-up.

    All queries, or the first few of them where a search is so slow that all would take much over `TIMING_S`.
    """
    faiss.omp_set_num_threads(1)
    singles = [queries[row : row + 1] for row in range(len(queries))]
    started_s = time.perf_counter()
    warmed = 0
    for query in singles:
        search(query)
        warmed += 1
        if time.perf_counter() - started_s > TIMING_S / ROUNDS and warmed >= QUERIES_MIN:
            break
    singles = singles[:warmed]
    times = np.empty((ROUNDS, len(singles)))
    for one_round in times:
        for place, query in enumerate(singles):
            before_s = time.perf_counter()
            search(query)
            one_round[place] = time.perf_counter() - before_s
    medians: Times = np.median(times, axis=0) * 1e3
    return medians


def percentiles(times: Times) -> tuple[float, float, float]:
    """p50, p95 and p99."""
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    return float(p50), float(p95), float(p99)


def stored_bytes(index: Any) -> int:
    """The size of an index as FAISS stores it, counted without storing it."""
    size = 0

    def count(block: bytes) -> None:
        nonlocal size
        size += len(block)

    writer = faiss.BufferedIOWriter(faiss.PyCallbackIOWriter(count, 1 << 20), 1 << 20)
    faiss.write_index(index, writer)
    del writer  # hands on what is left in the buffer
    return size


def confirm(ground: Ground, plan: Plan, index: Any, effort: Effort) -> Confirmation:
    """The setting measured in a fresh process over mapped files, as a collection will search it.

    Writes index and vectors to a temporary folder. Raises `StoreError` when that or the process fails.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ragstone-tuning-") as name:
            return _confirmed(Path(name), ground, plan, index, effort)
    except (OSError, RuntimeError) as error:  # RuntimeError is how FAISS reports a short write
        raise StoreError(f"the setting could not be measured in a process of its own: {error}") from error


def _confirmed(folder: Path, ground: Ground, plan: Plan, index: Any, effort: Effort) -> Confirmation:
    faiss.write_index(index, str(folder / "index.faiss"))
    if not is_exact(plan):
        faiss.write_index(ground.exact, str(folder / "exact.faiss"))
    np.save(folder / "queries.npy", ground.queries)
    job = {
        **plan.to_json(),
        "dim": ground.vectors.shape[1],
        "probes": effort.probes,
        "candidates": effort.candidates,
        "top_k": ground.top_k,
    }
    (folder / "job.json").write_text(json.dumps(job))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ragstone.index.confirming", str(folder)],
            capture_output=True,
            text=True,
            timeout=CONFIRM_LIMIT_S,
            check=True,
        )
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", None) or str(error)
        raise StoreError(f"the process that measures the setting failed: {said.strip()[-500:]}") from error
    measured = json.loads(done.stdout)
    return Confirmation(recall_10=ground.recall(np.load(folder / "found.npy")), **measured)
