"""T1: open and answer the first hybrid query in a fresh process, against the plainest thing that could work.

Baselines on the same data, each in fresh processes, imports apart: a FAISS flat index and an SQLite table read
with their own libraries (the floor), and the JSON that LlamaIndex keeps, parsed and nothing more (a lower bound
on its load: building its objects comes on top).

    python -m benchmarks.opening [--count 30000] [--dim 1024] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import faiss
import numpy as np

from benchmarks import report
from ragstone import Ragstone, Settings

WORDS = 5_000
TEXT_WORDS = 60  # about what 256 tokens of prose leave after stop words

OURS = """
import sys, time, numpy as np
import faiss, tantivy, apsw, ragstone.engine
from ragstone import Ragstone, Settings
vector = np.load(sys.argv[2])
started = time.perf_counter()
engine = Ragstone(sys.argv[1], settings=Settings())
result = engine.search("w3 w17 w40", vector=vector, top_k=10)
print((time.perf_counter() - started) * 1e3)
assert len(result.hits) == 10 and not result.degraded
"""
FLOOR = """
import sys, time, numpy as np
import faiss, sqlite3
vector = np.load(sys.argv[2])
started = time.perf_counter()
index = faiss.read_index(sys.argv[1] + "/flat.faiss")
db = sqlite3.connect(sys.argv[1] + "/texts.sqlite")
scores, ids = index.search(vector[None], 10)
rows = [db.execute("select text from texts where id = ?", (int(i),)).fetchone() for i in ids[0]]
print((time.perf_counter() - started) * 1e3)
assert len(rows) == 10
"""
PARSED_JSON = """
import json, sys, time
started = time.perf_counter()
with open(sys.argv[1] + "/default__vector_store.json") as file: vectors = json.load(file)
with open(sys.argv[1] + "/docstore.json") as file: texts = json.load(file)
print((time.perf_counter() - started) * 1e3)
"""


def main() -> None:
    """Build the stores, time each in fresh processes in turn, print and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        texts, vectors = _data(arguments.count, arguments.dim)
        _build(home, texts, vectors)
        np.save(home / "query.npy", vectors[7])
        timings: dict[str, list[float]] = {"ragstone": [], "faiss + sqlite": [], "parsed json": []}
        for round_ in range(arguments.rounds):
            timings["ragstone"].append(_fresh(OURS, home / "ragstone", home / "query.npy"))
            timings["faiss + sqlite"].append(_fresh(FLOOR, home, home / "query.npy"))
            if round_ == 0:
                timings["parsed json"].append(_fresh(PARSED_JSON, home))
        sizes = {"ragstone": _size(home / "ragstone"), "json": _size(home, "*.json")}
    medians = {name: statistics.median(values) for name, values in timings.items()}
    figures = {
        "count": arguments.count,
        "dim": arguments.dim,
        "rounds": arguments.rounds,
        "median_ms": medians,
        "all_ms": timings,
        "over_floor": medians["ragstone"] / medians["faiss + sqlite"],
        "times_faster_than_parsed_json": medians["parsed json"] / medians["ragstone"],
        "disk_bytes": sizes,
    }
    report.table(
        [
            ("T1 open + first query", "measured", "target"),
            ("ragstone (hybrid)", f"{medians['ragstone']:.1f} ms", ""),
            ("FAISS flat + SQLite (dense only)", f"{medians['faiss + sqlite']:.1f} ms", ""),
            ("ratio to that floor", f"{figures['over_floor']:.2f}", "≤ 1.5"),
            ("LlamaIndex's JSON, parsed only", f"{medians['parsed json'] / 1e3:.1f} s", ""),
            (
                "times faster than that",
                f"{figures['times_faster_than_parsed_json']:.0f}",
                "≥ 1,000 (full load)",
            ),
        ]
    )
    print("written to", report.write("opening", figures))


def _data(count: int, dim: int) -> tuple[list[str], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    rng = np.random.default_rng(20261121)
    centres = rng.normal(size=(200, dim))
    vectors = centres[rng.integers(0, 200, count)] + 0.6 * rng.normal(size=(count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = rng.zipf(1.3, size=(count, TEXT_WORDS)) % WORDS
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    return texts, vectors.astype(np.float32)


def _build(home: Path, texts: list[str], vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    uris = [f"text-{number}" for number in range(len(texts))]
    with Ragstone(home / "ragstone", settings=Settings()) as engine:
        engine.add(texts, uris=uris, vectors=vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(home / "flat.faiss"))
    with sqlite3.connect(home / "texts.sqlite") as db:
        db.execute("create table texts (id integer primary key, text text)")
        db.executemany("insert into texts values (?, ?)", list(enumerate(texts)))
    embeddings = {uri: row.tolist() for uri, row in zip(uris, vectors.astype(float), strict=True)}
    (home / "default__vector_store.json").write_text(json.dumps({"embedding_dict": embeddings}))
    (home / "docstore.json").write_text(
        json.dumps({"docstore/data": {u: {"text": t} for u, t in zip(uris, texts, strict=True)}})
    )


def _fresh(code: str, *arguments: Path) -> float:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _size(folder: Path, pattern: str = "**/*") -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


if __name__ == "__main__":
    main()
