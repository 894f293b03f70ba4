"""Every index type through the same life, against a dictionary whose every vector is compared."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vector_oracle import VectorOracle, recall

from ragstone import FAISSIndex
from ragstone.index.plans import INDEX_TYPES, bytes_per_vector, make_plan
from ragstone.index.synthetic import clustered_vectors

DIM = 32
COUNT = 5_000
TYPES = (*INDEX_TYPES, "auto")
# Smaller than the defaults where those are made for hundreds of dimensions.
CONFIG: Mapping[str, Mapping[str, int]] = {
    "OPQ+HNSW": {"n_subquantizers": 8, "m_pq": 6, "ef_construction": 80},
    "HNSW": {"ef_construction": 80},
    "HNSW,SQ8": {"ef_construction": 60},
}
# recall@10 of the documented defaults on 5,000 clustered vectors; what is below 1 was measured and rounded down.
FLOORS: Mapping[str, float] = {"Flat": 1.0, "Flat,FP16": 0.99, "LSH": 0.97}
FLOOR = 0.95

# Adds one vector after the other and saves, saying so after each, until it is killed.
WRITER = """
import sys
import numpy as np
from ragstone import FAISSIndex
index = FAISSIndex(int(sys.argv[2]))
index.load_index(sys.argv[1])
print("ready", flush=True)
for number in range(1000):
    vector = np.random.default_rng(number).standard_normal((1, int(sys.argv[2]))).astype(np.float32) / 6
    index.add_embeddings(vector, [f"extra {number}"])
    index.save_index(sys.argv[1])
    print(number, flush=True)
"""


def records(count: int) -> list[dict[str, Any]]:
    return [{"kind": number % 10, "name": f"n{number}"} for number in range(count)]


@pytest.mark.parametrize("index_type", TYPES)
def test_a_life(index_type: str, tmp_path: Path) -> None:
    vectors = clustered_vectors(COUNT + 1_060, DIM)
    queries, more, vectors = vectors[:60], vectors[60:1_060], vectors[1_060:]
    floor = FLOORS.get(index_type, FLOOR)
    index, oracle = FAISSIndex(DIM, index_type, config=CONFIG.get(index_type)), VectorOracle()

    def check(k: int = 10, condition: Any = None) -> float:
        found = index.batch_search(queries, k, filter=condition)
        assert [[hit.id for hit in index.search(query, k, filter=condition)] for query in queries[:5]] == [
            [hit.id for hit in hits] for hits in found[:5]
        ]
        wanted = (lambda record: record.get("kind") == 3) if condition else None
        truth = oracle.batch_search(queries, k, wanted)
        assert [len(hits) for hits in found] == [len(ids) for ids in truth]
        for hits in found:
            assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
            for hit in hits[:2]:
                vector, record = oracle.kept[hit.id]
                assert hit.metadata == record
                if index_type not in {"Flat,FP16", "auto"}:
                    assert np.isclose(
                        hit.distance, np.linalg.norm(queries[found.index(hits)] - vector), atol=1e-4
                    )
        share = recall(truth, found)
        assert share >= floor
        return share

    ids = [f"id {number}" if number % 2 else number for number in range(COUNT)]
    for start in range(0, COUNT, 2_500):  # the second half joins what is built
        part = slice(start, start + 2_500)
        index.add_embeddings(vectors[part], ids[part], records(COUNT)[part])
        oracle.add(vectors[part], ids[part], records(COUNT)[part])
    assert index.get_stats()["total_vectors"] == len(index) == COUNT
    check()
    check(condition={"kind": 3})
    check(condition=lambda record: record.get("kind") == 3)

    index.add_embeddings(more, ids[:1_000])  # replaced, without metadata
    oracle.add(more, ids[:1_000])
    assert len(index) == COUNT
    check()

    assert index.remove(ids[500:1_500]) == 1_000
    oracle.remove(ids[500:1_500])
    check()
    check(condition={"kind": 3})

    index.save_index(tmp_path / "index")
    index = FAISSIndex(DIM)
    index.load_index(tmp_path / "index")
    assert index.get_stats()["index_type"] == index_type
    check()
    survived = killed_while_saving(tmp_path / "index")
    index.load_index(tmp_path / "index")
    for number in range(survived):
        extra = np.random.default_rng(number).standard_normal((1, DIM)).astype(np.float32) / np.float32(6)
        oracle.add(extra, [f"extra {number}"])
    assert len(index) == len(oracle.kept)
    check()

    index.add_embeddings(more[:200], [f"late {number}" for number in range(200)])  # into what is mapped
    oracle.add(more[:200], [f"late {number}" for number in range(200)])
    before = check()
    done = index.optimize()
    assert done.recall_after >= done.recall_before - 0.001
    assert index.get_stats()["removed_vectors"] == 0
    assert (
        check() >= before - 0.02
    )  # the sample's word holds for other queries, within what 600 hits can tell
    assert list(index.id_map.values()) == list(oracle.kept)


def killed_while_saving(path: Path) -> int:
    """Kill a process that saves in a loop; returns how many of its additions must be there."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(DIM)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    acknowledged = 0
    for _ in range(random.Random(str(path)).randrange(1, 6)):
        assert writer.stdout.readline() == f"{acknowledged}\n"
        acknowledged += 1
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate(timeout=60)
    acknowledged += len(rest.splitlines())
    index = FAISSIndex(DIM)
    index.load_index(path)
    # The one being saved when the signal came may be there too, whole.
    extra = f"extra {acknowledged}" in index
    assert f"extra {acknowledged + 1}" not in index
    return acknowledged + extra


@pytest.mark.parametrize("index_type", INDEX_TYPES)
def test_the_index_takes_the_bytes_that_its_plan_says(index_type: str, tmp_path: Path) -> None:
    index = FAISSIndex(DIM, index_type, config={"n_subquantizers": 4} if index_type == "OPQ+HNSW" else None)
    index.add_embeddings(clustered_vectors(3_900, DIM), range(3_900))
    stats = index.get_stats()
    index.save_index(tmp_path / "index")
    (file,) = (tmp_path / "index").glob("generation-*/index.faiss")
    # Links of a graph are a maximum, and lists and blocks are filled up to a round number.
    assert stats["index_bytes"] == pytest.approx(file.stat().st_size, rel=0.1, abs=20_000)
    mapped = FAISSIndex(DIM)
    mapped.load_index(tmp_path / "index")
    assert mapped.get_stats()["memory_bytes"] <= (stats["index_bytes"] if "FastScan" in index_type else 0)


def test_codes_and_graph_take_less_than_two_fifths_of_the_graph_with_vectors() -> None:
    documented = bytes_per_vector(make_plan("OPQ+HNSW", dim=384), dim=384)
    assert documented < 0.4 * bytes_per_vector(make_plan("HNSW", dim=384), dim=384)
