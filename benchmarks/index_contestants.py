"""The indexes that `benchmarks.indexes` compares, each built and opened in a fresh process of its own.

Run by that benchmark as `python index_contestants.py build|measure NAME FOLDER RECALL`; prints one JSON object. Peers
are imported by name: they may live in another environment. FOLDER holds
`vectors.npy`, `queries.npy` and `worst.npy`, for each query the score of its tenth nearest.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOP_K = 10
TIE = 1e-6  # scores of one vector differ by less, however they were added up
EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
EF_CONSTRUCTION = 100  # that of our graphs; raw FAISS would take 40
Search = Callable[[Any], Any]  # (dim,) query → (≤ 10,) positions of the nearest


def main() -> None:
    """Build or measure one contestant."""
    task, name, folder, recall = sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
    build, opened = CONTESTANTS[name.split(":")[0]]
    home = folder / name.replace(":", "-").replace(",", "-")
    if task == "build":
        home.mkdir()
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        started = time.perf_counter()
        build(home, vectors, name.partition(":")[2])
        took_s = time.perf_counter() - started
        size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
        print(json.dumps({"build_s": took_s, "disk_bytes": size, "build_peak_mb": _peak_mb()}))
    else:
        print(json.dumps(_measure(home, folder, name.partition(":")[2], opened, recall)))


def _measure(home: Path, folder: Path, what: str, opened: Any, recall: float) -> dict[str, float]:
    queries, worst = np.load(folder / "queries.npy"), np.load(folder / "worst.npy")
    vectors = np.load(folder / "vectors.npy")  # before memory is counted: they only judge what is found
    opened(None, what, 0.0)  # imports only
    before_mb, before_anonymous_mb = _resident_mb(), _resident_mb("RssAnon")
    started = time.perf_counter()
    searches: Sequence[Search] = opened(home, what, recall)
    open_ms = (time.perf_counter() - started) * 1e3
    started = time.perf_counter()
    searches[0](queries[0])
    first_ms = (time.perf_counter() - started) * 1e3
    search, found = _cheapest(searches, queries[:200], worst[:200], vectors, recall)
    taken = []
    hits = []
    for query in queries:
        started = time.perf_counter()
        answer = search(query)
        taken.append((time.perf_counter() - started) * 1e3)
        hits.append(answer)
    p50, p95, p99 = np.percentile(taken, [50, 95, 99]).tolist()
    resident = {  # the first with pages of mapped files, which the kernel may take back
        "resident_mb": _resident_mb() - before_mb,
        "anonymous_mb": _resident_mb("RssAnon") - before_anonymous_mb,
    }
    return {
        "open_ms": open_ms,
        "first_ms": first_ms,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        **resident,
        "recall": _recall(vectors, queries, worst, hits),
        "setting": found,
    }


def _cheapest(
    searches: Sequence[Search], queries: Any, worst: Any, vectors: Any, recall: float
) -> tuple[Search, int]:
    """The first search that reaches the recall on some queries, else the last."""
    for number, search in enumerate(searches):
        if number == len(searches) - 1:
            break
        if _recall(vectors, queries, worst, [search(query) for query in queries]) >= recall:
            break
    return searches[number], number


def _recall(vectors: Any, queries: Any, worst: Any, hits: Sequence[Any]) -> float:
    """The mean share of ten hits that are as near as the tenth of the true nearest: of equal vectors any will do."""
    shares = []
    for query, tenth, found in zip(queries, worst, hits, strict=True):
        ids = np.unique(np.asarray(found, dtype=np.int64))
        shares.append((vectors[ids[ids >= 0]] @ query >= tenth - TIE).sum() / TOP_K)
    return float(np.mean(shares))


def _resident_mb(kind: str = "VmRSS") -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) / 1024
    return 0.0


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- ours ----------------------------------------------------------------------------------------------------


def _ragstone_build(home: Path, vectors: Any, plan: str) -> None:
    from ragstone.index.plans import make_plan
    from ragstone.index.recommending import suitable_plans
    from ragstone.index.segment_files import build_segment

    count, dim = vectors.shape
    given = {"nlist": round(4 * count**0.5)} if plan.startswith("IVF") else {}
    chosen = suitable_plans(count, dim) if plan == "auto" else [make_plan(plan, dim=dim, **given)]
    sealed = build_segment(
        home,
        chunk_ids=np.arange(count, dtype=np.int64),
        document_ids=np.arange(count, dtype=np.int64) // 8 + 1,
        vectors=np.asarray(vectors, dtype=np.float16),
        model_id="benchmark",
        plans=chosen,
    )
    (home / "name").write_text(f"{sealed.name} {sealed.manifest_sha256.hex()}")


def _ragstone_open(home: Path | None, plan: str, recall: float) -> list[Search]:
    from ragstone.index.dense import DenseIndex
    from ragstone.index.segment import Segment
    from ragstone.index.segment_files import read_manifest
    from ragstone.index.tail import Tail

    if home is None:
        return []
    name, sha256 = (home / "name").read_text().split()
    manifest = read_manifest(home / name, manifest_sha256=bytes.fromhex(sha256))
    segment = Segment(home / name, manifest)
    index = DenseIndex([segment], Tail.empty(segment.dim), np.empty(0, np.int64))
    # What is asked of the index where questions are harder than its table: the steps of `RecallKeeper`.
    return [_at_recall(index.at_recall(1 - (1 - recall) / 2**step)) for step in range(6)]


def _at_recall(index: Any) -> Search:
    return lambda query: index.search(query, top_k=TOP_K, allowed=None)[0]


# -- peers ---------------------------------------------------------------------------------------------------


def _faiss_build(home: Path, vectors: Any, factory: str) -> None:
    import faiss as _faiss

    faiss: Any = _faiss  # its stubs lack half of what is used here

    count, dim = vectors.shape
    index = faiss.index_factory(
        dim, factory.replace("4sqrt", str(round(4 * count**0.5))), faiss.METRIC_INNER_PRODUCT
    )
    if "HNSW" in factory:
        index.hnsw.efConstruction = EF_CONSTRUCTION
    index.train(np.ascontiguousarray(vectors[:: max(1, count // 200_000)]))
    index.add(np.ascontiguousarray(vectors))
    faiss.write_index(index, str(home / "index.faiss"))


def _faiss_open(home: Path | None, factory: str, recall: float) -> list[Search]:
    import faiss as _faiss

    faiss: Any = _faiss  # its stubs lack half of what is used here

    if home is None:
        return []
    faiss.omp_set_num_threads(1)
    index = faiss.read_index(str(home / "index.faiss"))

    def search(parameters: Any) -> Search:
        return lambda query: index.search(query[None], TOP_K, params=parameters)[1][0]

    if "HNSW" in factory:
        return [search(faiss.SearchParametersHNSW(efSearch=effort)) for effort in EFFORTS]
    if "IVF" in factory:
        return [search(faiss.SearchParametersIVF(nprobe=effort)) for effort in (1, 2, 4, 8, *EFFORTS)]
    return [search(None)]


def _hnswlib_build(home: Path, vectors: Any, _: str) -> None:
    import hnswlib

    count, dim = vectors.shape
    index = hnswlib.Index(space="ip", dim=dim)
    index.init_index(
        max_elements=count, ef_construction=EF_CONSTRUCTION, M=16
    )  # 32 links at the bottom, as ours
    index.add_items(np.asarray(vectors), np.arange(count))
    index.save_index(str(home / "index.bin"))


def _hnswlib_open(home: Path | None, _: str, recall: float) -> list[Search]:
    import hnswlib

    if home is None:
        return []
    dim = np.load(home.parent / "queries.npy", mmap_mode="r").shape[1]
    index = hnswlib.Index(space="ip", dim=dim)
    index.load_index(str(home / "index.bin"))
    index.set_num_threads(1)

    def search(effort: int) -> Search:
        def run(query: Any) -> Any:
            index.set_ef(effort)
            return index.knn_query(query, k=TOP_K)[0][0]

        return run

    return [search(effort) for effort in EFFORTS]


def _usearch_build(home: Path, vectors: Any, _: str) -> None:
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=EF_CONSTRUCTION
    )
    index.add(np.arange(len(vectors)), np.asarray(vectors))
    index.save(str(home / "index.usearch"))


def _usearch_open(home: Path | None, _: str, recall: float) -> list[Search]:
    from usearch.index import Index

    if home is None:
        return []
    index = Index.restore(str(home / "index.usearch"), view=True)

    def search(effort: int) -> Search:
        def run(query: Any) -> Any:
            index.expansion_search = effort
            return index.search(query, TOP_K, threads=1).keys

        return run

    return [search(effort) for effort in EFFORTS]


def _lancedb_build(home: Path, vectors: Any, _: str) -> None:
    import lancedb
    import pyarrow

    dim = vectors.shape[1]
    flat = pyarrow.array(np.asarray(vectors).reshape(-1))
    column = pyarrow.FixedSizeListArray.from_arrays(flat, dim)
    data = pyarrow.table({"id": np.arange(len(vectors)), "vector": column})
    table = lancedb.connect(str(home)).create_table("vectors", data)
    table.create_index(metric="dot", vector_column_name="vector")


def _lancedb_open(home: Path | None, _: str, recall: float) -> list[Search]:
    import lancedb

    if home is None:
        return []
    table = lancedb.connect(str(home)).open_table("vectors")

    def search(probes: int, again: int) -> Search:
        def run(query: Any) -> Any:
            asked = table.search(query).metric("dot").nprobes(probes).refine_factor(again).limit(TOP_K)
            return asked.select(["id"]).to_arrow()["id"].to_numpy()

        return run

    return [search(probes, again) for probes, again in ((10, 2), (20, 5), (40, 10), (80, 20), (160, 40))]


def _chroma_build(home: Path, vectors: Any, _: str) -> None:
    import chromadb

    settings = chromadb.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(home), settings=settings)
    space = {"hnsw": {"space": "ip", "ef_construction": EF_CONSTRUCTION, "max_neighbors": 16}}
    collection = client.create_collection("vectors", configuration=space, embedding_function=None)
    for start in range(0, len(vectors), 5_000):
        part = np.asarray(vectors[start : start + 5_000])
        collection.add(ids=[str(n) for n in range(start, start + len(part))], embeddings=part)


def _chroma_open(home: Path | None, _: str, recall: float) -> list[Search]:
    import chromadb

    if home is None:
        return []
    client = chromadb.PersistentClient(str(home), settings=chromadb.Settings(anonymized_telemetry=False))
    collection = client.get_collection("vectors", embedding_function=None)

    def run(query: Any) -> Any:
        found = collection.query(query_embeddings=[query], n_results=TOP_K, include=[])
        return np.array(found["ids"][0], dtype=np.int64)

    return [run]  # its ef is fixed when the collection is made


CONTESTANTS: dict[str, tuple[Any, Any]] = {
    "ragstone": (_ragstone_build, _ragstone_open),
    "faiss": (_faiss_build, _faiss_open),
    "hnswlib": (_hnswlib_build, _hnswlib_open),
    "usearch": (_usearch_build, _usearch_open),
    "lancedb": (_lancedb_build, _lancedb_open),
    "chroma": (_chroma_build, _chroma_open),
}

if __name__ == "__main__":
    main()
