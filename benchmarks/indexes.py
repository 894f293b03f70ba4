"""T3, T4: every plan against raw FAISS and other vector indexes, on the same vectors in one run.

Vectors are made up (`ragstone.index.synthetic`) or a collection's (`--data-dir`); queries are rows held out, turned
until they lie .8 from themselves. Each contestant is built in one process and measured in fresh ones: one thread a
query, the cheapest setting that reaches the recall on 200 of the queries; ours knows its settings by recall, from the
table made when it was sealed, and is asked for more where these queries are harder (`RecallKeeper` does that in use).

    python -m benchmarks.indexes --count 100000 [--recall 0.97] [--peers-python /path/to/python] [--only NAME …]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks import report
from ragstone import Ragstone, Settings
from ragstone.index.fast import sample_queries
from ragstone.index.synthetic import clustered_vectors

QUERIES = 1_000
OURS = ("auto", "Flat,FP16", "SQ8", "PQ,FastScan", "IVF,SQ8", "IVF,PQ,FastScan", "HNSW", "HNSW,SQ8")
PEERS = (
    "faiss:Flat",
    "faiss:HNSW32,Flat",
    "faiss:IVF4sqrt,Flat",
    "hnswlib",
    "usearch",
    "lancedb",
    "chroma",
)
CHILD = Path(__file__).with_name("index_contestants.py")
COLUMNS = ("build_s", "open_ms", "first_ms", "p50_ms", "p99_ms", "recall", "disk_bytes", "resident_mb")


def main() -> None:
    """Build and measure all contestants, print a table, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--data-dir", type=Path, help="take a collection's vectors instead of made-up ones")
    parser.add_argument("--recall", type=float, default=0.97)
    parser.add_argument("--peers-python", default=sys.executable, help="where peers are installed")
    parser.add_argument("--only", nargs="+", help="some contestants")
    parser.add_argument("--name", default="", help="of the result file, behind `indexes-`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        count = _prepare(home, arguments)
        names = arguments.only or [*(f"ragstone:{plan}" for plan in OURS), *PEERS]
        figures = {}
        for name in names:
            python = sys.executable if name.startswith("ragstone") else arguments.peers_python
            figures[name] = _run(python, name, home, arguments.recall)
            print(_row(name, figures[name]), flush=True)
    kept = {"count": count, "recall_asked": arguments.recall, "contestants": figures}
    print("written to", report.write(f"indexes-{arguments.name or count}", kept))


def _prepare(home: Path, arguments: argparse.Namespace) -> int:
    """Write vectors, queries and the exact nearest of each."""
    if arguments.data_dir:
        with Ragstone(arguments.data_dir, settings=Settings()) as engine:
            vectors = engine.sample_vectors(arguments.count)
        np.random.default_rng(7).shuffle(
            vectors
        )  # the last ones become queries: not the passages of one book
    else:
        vectors = clustered_vectors(arguments.count + QUERIES, arguments.dim)
    queries, vectors = sample_queries(vectors[-QUERIES:], QUERIES), vectors[:-QUERIES]
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    scores, _ = exact.search(queries, 10)
    np.save(home / "vectors.npy", vectors)
    np.save(home / "queries.npy", queries)
    np.save(home / "worst.npy", scores[:, -1])
    return len(vectors)


def _run(python: str, name: str, home: Path, recall: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for task in ("build", "measure"):
        ran = subprocess.run(
            [python, str(CHILD), task, name, str(home), str(recall)],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            return {"failed": ran.stderr.strip().splitlines()[-1:]}
        figures |= json.loads(ran.stdout.strip().splitlines()[-1])
    shutil.rmtree(home / name.replace(":", "-").replace(",", "-"))
    return figures


def _row(name: str, figures: dict[str, Any]) -> str:
    if "failed" in figures:
        return f"{name:26} failed: {figures['failed']}"
    shown = {**figures, "disk_bytes": figures["disk_bytes"] / 1e6}
    return f"{name:26}" + "".join(f" {shown[column]:9.3f}" for column in COLUMNS)


if __name__ == "__main__":
    print(f"{'':26}" + "".join(f" {column:>9}" for column in COLUMNS))
    main()
