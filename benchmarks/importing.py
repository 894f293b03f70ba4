"""Taking over a LlamaIndex JSON store: its own load, our import (once) and our open (every time), in one run.

The store is generated (seeded): 30,000 nodes of 1,024 dimensions, 700 MB of JSON. Each step runs in a fresh process,
which also says its peak memory. LlamaIndex itself is measured where `--llama-index PYTHON` names an interpreter that
has `llama-index-core`; without it, parsing its JSON and nothing more stands for it (a lower bound).

    python -m benchmarks.importing [--count 30000] [--dim 1024] [--llama-index /path/to/venv/bin/python]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

WORDS = 5_000
TEXT_WORDS = 60  # about what 256 tokens of prose leave after stop words

PEAK = """
def said(**figures):
    import json, resource
    print(json.dumps({**figures, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))
"""
PARSED_JSON = (
    PEAK
    + """
import json, sys, time
started = time.perf_counter()
with open(sys.argv[1] + "/default__vector_store.json") as file: vectors = json.load(file)
with open(sys.argv[1] + "/docstore.json") as file: texts = json.load(file)
said(seconds=time.perf_counter() - started)
"""
)
LLAMA_INDEX = (
    PEAK
    + """
import json, sys, time
from llama_index.core import StorageContext, load_index_from_storage
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.vector_stores.types import VectorStoreQuery
vector = json.loads(open(sys.argv[2]).read())
started = time.perf_counter()
storage = StorageContext.from_defaults(persist_dir=sys.argv[1])
index = load_index_from_storage(storage, embed_model=MockEmbedding(embed_dim=len(vector)))
loaded = time.perf_counter()
result = index.vector_store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=10))
said(seconds=loaded - started, query_s=time.perf_counter() - loaded, ids=result.ids)
"""
)
IMPORT = (
    PEAK
    + """
import sys, time
from pathlib import Path
from ragstone.engine import Ragstone
from ragstone.importers.formats import open_foreign
from ragstone.importers.run import Options, run_import
from ragstone.settings import Settings
data_dir = Path(sys.argv[2])
started = time.perf_counter()
with Ragstone(settings=Settings(data_dir=data_dir)) as engine:
    store = open_foreign("auto", Path(sys.argv[1]))
    report = run_import(engine, store, Options(), data_dir=data_dir).report
said(seconds=time.perf_counter() - started, added=report.added, unchanged=report.unchanged, embedded=report.embedded)
"""
)
OPEN = (
    PEAK
    + """
import json, sys, time
import numpy, faiss, tantivy, apsw, ragstone.engine
from ragstone.engine import Ragstone
from ragstone.settings import Settings
vector = json.loads(open(sys.argv[2]).read())
started = time.perf_counter()
engine = Ragstone(settings=Settings(data_dir=sys.argv[1]))
hits = engine.search("any", mode="dense", vector=vector, top_k=10).hits
said(seconds=time.perf_counter() - started, ids=[hit.metadata["imported_id"] for hit in hits])
"""
)


def main() -> None:
    """Generate the store, run each step, print and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--llama-index", metavar="PYTHON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source, query, data = home / "storage", home / "query.json", home / "data"
        write_store(source, query, arguments.count, arguments.dim)
        figures: dict[str, Any] = {
            "count": arguments.count,
            "dim": arguments.dim,
            "source_mb": sum(file.stat().st_size for file in source.iterdir()) / 1e6,
            "parsed_json": _fresh(sys.executable, PARSED_JSON, source),
            "llama_index": None,
            "import": _fresh(sys.executable, IMPORT, source, data),
            "import_again": _fresh(sys.executable, IMPORT, source, data),
        }
        if arguments.llama_index:
            figures["llama_index"] = _fresh(arguments.llama_index, LLAMA_INDEX, source, query)
        opens = [_fresh(sys.executable, OPEN, data, query) for _ in range(arguments.rounds)]
        figures["open"] = sorted(opens, key=lambda run: float(run["seconds"]))[len(opens) // 2]
        figures["stored_mb"] = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) / 1e6
    _report(figures)


def write_store(folder: Path, query: Path, count: int, dim: int) -> None:
    """A LlamaIndex store of clustered vectors and random words, written row by row, and one vector to ask for."""
    folder.mkdir()
    rng = np.random.default_rng(20261121)
    centres = rng.normal(size=(200, dim))
    nodes = {}
    with (folder / "default__vector_store.json").open("w") as file:
        file.write('{"embedding_dict": {')
        for number in range(count):
            row = centres[rng.integers(200)] + 0.6 * rng.normal(size=dim)
            row /= np.linalg.norm(row)
            if number == 7:
                query.write_text(json.dumps(row.tolist()))
            file.write(f'{", " * (number > 0)}"node-{number}": {json.dumps(row.tolist())}')
            text = " ".join(f"w{word}" for word in rng.zipf(1.3, size=TEXT_WORDS) % WORDS)
            node = {"id_": f"node-{number}", "text": text, "metadata": {"file_path": f"f{number % 99}.md"}}
            nodes[f"node-{number}"] = {"__data__": {**node, "relationships": {}}, "__type__": "1"}
        file.write('}, "text_id_to_ref_doc_id": {}, "metadata_dict": {}}')
    (folder / "docstore.json").write_text(json.dumps({"docstore/data": nodes}))
    data = json.dumps({"index_id": "i", "summary": None, "nodes_dict": {id_: id_ for id_ in nodes}})
    store = {"index_store/data": {"i": {"__type__": "vector_store", "__data__": data}}}
    (folder / "index_store.json").write_text(json.dumps(store))
    (folder / "graph_store.json").write_text('{"graph_dict": {}}')


def _fresh(python: str, code: str, *arguments: Path) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _report(figures: dict[str, Any]) -> None:
    theirs = figures["llama_index"] or figures["parsed_json"]
    opened = figures["open"]
    figures["times_faster_open"] = theirs["seconds"] / opened["seconds"]
    figures["import_over_load"] = figures["import"]["seconds"] / theirs["seconds"]
    if figures["llama_index"]:
        figures["same_ten"] = figures["llama_index"].pop("ids") == opened["ids"]
    name = "LlamaIndex load" if figures["llama_index"] else "LlamaIndex's JSON, parsed only"
    rows = [
        (f"{figures['count']:,} × {figures['dim']}", "seconds", "peak MB"),
        (name, f"{theirs['seconds']:.1f}", f"{theirs['peak_mb']:.0f}"),
        ("import, once", f"{figures['import']['seconds']:.1f}", f"{figures['import']['peak_mb']:.0f}"),
        ("import again (all unchanged)", f"{figures['import_again']['seconds']:.1f}", ""),
        ("open + first query, every time", f"{opened['seconds']:.4f}", f"{opened['peak_mb']:.0f}"),
        ("open, times faster than their load", f"{figures['times_faster_open']:.0f}", ""),
        ("same ten hits in the same order", str(figures.get("same_ten", "not asked")), ""),
    ]
    report.table(rows)
    print("written to", report.write("importing", figures))


if __name__ == "__main__":
    main()
