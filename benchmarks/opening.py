"""T1: open and answer the first hybrid query in a fresh process, against the plainest thing that could work.

Baselines on the same data, each in fresh processes, imports apart: a FAISS flat index and an SQLite table read
with their own libraries (the floor), and the JSON that LlamaIndex keeps, parsed and nothing more (a lower bound
on its load: building its objects comes on top).

    python -m benchmarks.opening [--count 30000] [--dim 1024] [--rounds 7] [--no-json]

`--no-json` leaves LlamaIndex's out, which of a million vectors is nine gigabytes.
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
from ragstone.index.synthetic import clustered_vectors
from ragstone.types import Matrix

WORDS = 5_000
ADDED = 50_000  # texts a call of `add`
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
    parser.add_argument("--no-json", action="store_true")
    arguments = parser.parse_args()
    with_json = not arguments.no_json
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        texts, vectors = _data(arguments.count, arguments.dim)
        _build(home, texts, vectors, with_json=with_json)
        np.save(home / "query.npy", vectors[7])
        timings: dict[str, list[float]] = {"ragstone": [], "faiss + sqlite": []}
        for round_ in range(arguments.rounds):
            timings["ragstone"].append(_fresh(OURS, home / "ragstone", home / "query.npy"))
            timings["faiss + sqlite"].append(_fresh(FLOOR, home, home / "query.npy"))
            if with_json and round_ == 0:
                timings["parsed json"] = [_fresh(PARSED_JSON, home)]
        sizes = {"ragstone": _size(home / "ragstone"), "json": _size(home, "*.json")}
    medians = {name: statistics.median(values) for name, values in timings.items()}
    over_floor = medians["ragstone"] / medians["faiss + sqlite"]
    figures = {
        "count": arguments.count,
        "dim": arguments.dim,
        "rounds": arguments.rounds,
        "median_ms": medians,
        "all_ms": timings,
        "over_floor": over_floor,
        "disk_bytes": sizes,
    }
    rows: list[tuple[str, ...]] = [
        (f"T1 open + first query, {arguments.count:,} × {arguments.dim}", "measured", "target"),
        ("ragstone (hybrid)", f"{medians['ragstone']:.1f} ms", "≤ 25 ms (1M × 384)"),
        ("FAISS flat + SQLite (dense only)", f"{medians['faiss + sqlite']:.1f} ms", ""),
        ("ratio to that floor", f"{over_floor:.2f}", "≤ 1.5"),
    ]
    if with_json:
        times = medians["parsed json"] / medians["ragstone"]
        figures["times_faster_than_parsed_json"] = times
        rows += [
            ("LlamaIndex's JSON, parsed only", f"{medians['parsed json'] / 1e3:.1f} s", ""),
            ("times faster than that", f"{times:.0f}", "≥ 1,000 (full load)"),
        ]
    report.table(rows)
    print("written to", report.write(f"opening-{arguments.count}", figures))


def _data(count: int, dim: int) -> tuple[list[str], Matrix]:
    words = np.random.default_rng(20261121).zipf(1.3, size=(count, TEXT_WORDS)) % WORDS
    return [" ".join(f"w{word}" for word in row) for row in words], clustered_vectors(count, dim)


def _build(home: Path, texts: list[str], vectors: Matrix, *, with_json: bool) -> None:
    uris = [f"text-{number}" for number in range(len(texts))]
    with Ragstone(home / "ragstone", settings=Settings()) as engine:
        for start in range(0, len(texts), ADDED):
            part = slice(start, start + ADDED)
            engine.add(texts[part], uris=uris[part], vectors=vectors[part])
        engine.compact()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(home / "flat.faiss"))
    with sqlite3.connect(home / "texts.sqlite") as db:
        db.execute("create table texts (id integer primary key, text text)")
        db.executemany("insert into texts values (?, ?)", list(enumerate(texts)))
    if with_json:
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
