"""A process that opens an index from its files, searches it and reports time and memory: `-m … FOLDER`.

The folder holds `job.json`, `queries.npy`, `index.faiss` and, unless the plan is exact, `exact.faiss`. Rows found go
to `found.npy`, one JSON object to standard output. A process of its own, because what memory an index takes shows
only where nothing else has been allocated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ragstone.index.building import search_parameters
from ragstone.index.measuring import Searcher, faiss, latencies_ms, percentiles
from ragstone.index.plans import Effort, is_exact, plan_from_json
from ragstone.types import Matrix


def main(folder: Path) -> None:
    """Run the job in `folder`."""
    job = json.loads((folder / "job.json").read_text())
    plan = plan_from_json({name: job[name] for name in ("index_type", "parameters")}, dim=job["dim"])
    queries: Matrix = np.load(folder / "queries.npy")
    effort = Effort(job["probes"], job["candidates"])
    _touch_library(queries)
    before = _resident_bytes()
    index = faiss.read_index(str(folder / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
    parameters = search_parameters(plan, effort, None)
    for row in range(len(queries)):
        index.search(queries[row : row + 1], job["top_k"], params=parameters)
    resident = _resident_bytes() - before  # without the exact vectors: their pages can go and come back
    exact = index if is_exact(plan) else faiss.read_index(str(folder / "exact.faiss"), faiss.IO_FLAG_MMAP_IFC)
    search = Searcher(plan, index, exact).prepared(effort, top_k=job["top_k"])
    p50_ms, p95_ms, p99_ms = percentiles(latencies_ms(search, queries))
    measured = {
        "p50_ms": p50_ms,
        "p95_ms": p95_ms,
        "p99_ms": p99_ms,
        "resident_bytes": max(0, resident),
    }
    np.save(folder / "found.npy", search(queries))
    sys.stdout.write(json.dumps(measured))


def _touch_library(queries: Matrix) -> None:
    """Let library and measurement allocate what they need for any search before memory is counted."""
    warm = faiss.IndexFlat(queries.shape[1])
    warm.add(queries)
    latencies_ms(lambda query: warm.search(query, 1)[1], queries)


def _resident_bytes() -> int:
    """What the kernel counts as this process's memory, mapped pages that were read included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
