"""T5: searches under filters of every selectivity, against an exact scan of the rows that match.

Made-up clustered vectors, eight chunks a document; a filter allows random documents. One thread, recall .98 asked.

    python -m benchmarks.filters [--count 100000] [--index-types PQ,FastScan HNSW,SQ8]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import report
from ragstone.index.dense import EXACT, DenseIndex
from ragstone.index.fast import sample_queries, share_found
from ragstone.index.plans import make_plan
from ragstone.index.segment import Segment
from ragstone.index.segment_files import build_segment, read_manifest
from ragstone.index.synthetic import clustered_vectors
from ragstone.index.tail import Tail

DIM = 384
QUERIES = 300
TOP_K = 10
CHUNKS_PER_DOCUMENT = 8
SHARES = (0.001, 0.01, 0.1, 0.5, 1.0)


def main() -> None:
    """Build each index, filter, print a table, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--index-types", nargs="+", default=["PQ,FastScan", "IVF,PQ,FastScan", "HNSW,SQ8"])
    arguments = parser.parse_args()
    vectors = clustered_vectors(arguments.count + QUERIES, DIM)
    queries, vectors = sample_queries(vectors[-QUERIES:], QUERIES), vectors[:-QUERIES]
    figures = {}
    for index_type in arguments.index_types:
        with tempfile.TemporaryDirectory() as folder:
            segment = _segment(Path(folder), vectors, index_type)
            figures[index_type] = [_filtered(segment, queries, share) for share in SHARES]
        for row in figures[index_type]:
            print(
                f"{index_type:18} {row['share']:6.1%} of the documents  recall {row['recall']:.3f}  fewest hits "
                f"{row['fewest_hits']:.0f}  p50 {row['p50_ms']:.3f}  p99 {row['p99_ms']:.3f} ms",
                flush=True,
            )
    print("written to", report.write(f"filters-{arguments.count}", {"top_k": TOP_K, "index_types": figures}))


def _segment(folder: Path, vectors: np.ndarray, index_type: str) -> Segment:
    count = len(vectors)
    given = {"nlist": round(4 * count**0.5)} if index_type.startswith("IVF") else {}
    sealed = build_segment(
        folder,
        chunk_ids=np.arange(count, dtype=np.int64) + 1,
        document_ids=np.arange(count, dtype=np.int64) // CHUNKS_PER_DOCUMENT + 1,
        vectors=vectors.astype(np.float16),
        model_id="benchmark",
        plans=[make_plan(index_type, dim=DIM, **given)],
    )
    return Segment(
        folder / sealed.name, read_manifest(folder / sealed.name, manifest_sha256=sealed.manifest_sha256)
    )


def _filtered(segment: Segment, queries: np.ndarray, share: float) -> dict[str, float]:
    documents = segment.count // CHUNKS_PER_DOCUMENT
    chosen = np.random.default_rng(5).choice(documents, max(2, round(share * documents)), replace=False)
    allowed = np.sort(chosen).astype(np.int64) + 1
    exact = DenseIndex([segment], Tail.empty(DIM), np.empty(0, np.int64))
    fast = exact.at_recall(0.98)
    for query in queries[:20]:
        fast.search(query, top_k=TOP_K, allowed=allowed)
    taken, shares, fewest = [], [], TOP_K
    for query in queries:
        started = time.perf_counter()
        _, found = fast.search(query, top_k=TOP_K, allowed=allowed)
        taken.append((time.perf_counter() - started) * 1e3)
        _, true = exact.at_recall(EXACT).search(query, top_k=TOP_K, allowed=allowed)
        shares.append(share_found(true, found))
        fewest = min(fewest, len(found))
    p50, p99 = np.percentile(taken, [50, 99]).tolist()
    return {
        "share": share,
        "recall": float(np.mean(shares)),
        "fewest_hits": fewest,
        "p50_ms": p50,
        "p99_ms": p99,
    }


if __name__ == "__main__":
    main()
