"""`FAISSIndex` as callers meet it: the documented snippets, hits and scores, filters, recall, statistics."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vector_oracle import VectorOracle, recall

from ragstone import FAISSIndex, FAISSTuner
from ragstone.errors import InputError, NotFoundError, RagstoneError
from ragstone.faiss_index import snapshot as faiss_snapshot
from ragstone.index.plans import INDEX_TYPES, Effort, make_plan
from ragstone.index.synthetic import clustered_vectors
from ragstone.types import Matrix

DIM = 32


def filled(
    index_type: str, count: int, *, dim: int = DIM, **options: Any
) -> tuple[FAISSIndex, Matrix, Matrix]:
    """An index of `count` vectors with ids from 0, the vectors, and 100 queries."""
    vectors = clustered_vectors(count + 100, dim)
    index = FAISSIndex(dim, index_type, **options)
    index.add_embeddings(vectors[100:], range(count), [{"number": n} for n in range(count)])
    return index, vectors[100:], vectors[:100]


def true_ids(vectors: Matrix, queries: Matrix, k: int = 10) -> list[list[int]]:
    """The nearest by comparing all."""
    return [np.argsort(((vectors - query) ** 2).sum(axis=1), kind="stable")[:k].tolist() for query in queries]


# -- the documented snippets ----------------------------------------------------------------------------


def test_the_old_way_of_making_an_ivf_index_still_works() -> None:
    index = FAISSIndex(dimension=384, index_type="IVF", nlist=100, nprobe=10)
    assert index.get_stats()["config"] == {"nlist": 100, "nprobe": 10}


def test_without_a_config_hnsw_has_the_documented_one() -> None:
    stats = FAISSIndex(dimension=384, index_type="HNSW").get_stats()
    assert FAISSIndex().get_stats()["config"] == stats["config"]
    assert stats["config"] == {"m": 32, "ef_construction": 200, "ef_search": 64}


@pytest.mark.parametrize(
    "config",
    [
        {"m": 16, "ef_construction": 100, "ef_search": 32},
        {"m": 16, "efConstruction": 100, "efSearch": 32},  # the Helm chart's
        {"M": 16, "EF_CONSTRUCTION": 100, "EF_SEARCH": 32},  # the environment's
    ],
)
def test_a_custom_configuration_is_taken_in_every_documented_spelling(config: dict[str, int]) -> None:
    index = FAISSIndex(dimension=384, index_type="HNSW", config=config)
    assert index.get_stats()["config"] == {"m": 16, "ef_construction": 100, "ef_search": 32}


def test_the_documented_opq_configuration_is_accepted_and_wider_codes_are_refused() -> None:
    config = {"m_pq": 8, "n_subquantizers": 32, "m_hnsw": 16, "ef_construction": 200, "ef_search": 64}
    assert FAISSIndex(384, "OPQ+HNSW", config=config).get_stats()["config"] == config
    for bits in (16, 32):  # in the documented grid; FAISS has no graph over such codes
        with pytest.raises(InputError, match=f"m_pq of OPQ\\+HNSW is {bits}"):
            FAISSIndex(384, "OPQ+HNSW", config={**config, "m_pq": bits})
    with pytest.raises(InputError, match="n_subquantizers of OPQ\\+HNSW is 50, which does not divide"):
        FAISSIndex(384, "OPQ+HNSW", config={"n_subquantizers": 50})


class Tuned:
    """An object such as the tuner returns."""

    plan = make_plan("HNSW", dim=DIM, m=16, ef_construction=100)
    effort = Effort(probes=32, candidates=0)


def test_a_tuning_result_gives_the_same_index_as_object_mapping_and_file(tmp_path: Path) -> None:
    as_json = {**Tuned.plan.to_json(), "effort": {"probes": 32, "candidates": 0}, "recall": 0.98}
    (tmp_path / "best.json").write_text(json.dumps(as_json))
    flat = {"index_type": "HNSW", "m": 16, "ef_construction": 100, "ef_search": 32, "p99_latency_ms": 0.4}
    nested = {"index_type": "HNSW", "config": {"m": 16, "ef_construction": 100}, "ef_search": 32}
    for best_result in (Tuned(), as_json, tmp_path / "best.json", str(tmp_path / "best.json"), flat, nested):
        index = FAISSIndex.from_tuning_result(dimension=DIM, tuning_result=best_result)
        assert index.get_stats()["config"] == {"m": 16, "ef_construction": 100, "ef_search": 32}


def test_the_documented_tuning_snippet_runs() -> None:
    vectors = clustered_vectors(1_500, DIM)
    tuner = FAISSTuner(dimension=DIM)
    results = tuner.tune(vectors=vectors, budget_s=1)
    best_result = tuner.select_best(results)
    index = FAISSIndex.from_tuning_result(dimension=DIM, tuning_result=best_result)
    index.add_embeddings(vectors, range(1_500))
    assert index.get_stats()["index_type"] == best_result.plan.index_type
    assert len(index.search(vectors[0])) == 10


def test_a_tuning_results_candidates_are_what_a_search_ranks_again() -> None:
    result = {"index_type": "PQ,FastScan", "parameters": {}, "effort": {"probes": 0, "candidates": 35}}
    index = FAISSIndex.from_tuning_result(DIM, result)
    index.add_embeddings(clustered_vectors(1_500, DIM), range(1_500))
    assert index.get_stats()["candidates"] == 40  # whole candidates a hit


@pytest.mark.parametrize(
    "nothing", [3, {"index_type": "Annoy"}, {"index_type": "HNSW", "config": 3}, "nowhere.json"]
)
def test_what_is_no_tuning_result_is_refused(nothing: object) -> None:
    with pytest.raises(InputError):
        FAISSIndex.from_tuning_result(DIM, nothing)


def test_the_documented_reindexing_snippet_runs(tmp_path: Path) -> None:
    saved, _, queries = filled("IVF", 4_000)
    saved.save_index(tmp_path / "old")

    old_index = FAISSIndex(dimension=DIM, index_type="IVF")
    old_index.load_index(tmp_path / "old")
    embeddings = old_index.vectors()
    alert_ids = list(old_index.id_map.values())
    metadata = old_index.metadata
    new_index = FAISSIndex(dimension=DIM, index_type="HNSW")
    new_index.add_embeddings(embeddings, alert_ids, metadata)
    new_index.save_index(tmp_path / "new")

    stats = new_index.get_stats()
    assert f"P99 latency: {stats['p99_query_time_ms']}ms" and stats["total_vectors"] == 4_000
    assert new_index.metadata == old_index.metadata
    assert new_index.search(queries[0], 3) == old_index.search(queries[0], 3)


# -- hits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
@pytest.mark.parametrize("count", [40, 2_000])
def test_scores_and_distances_are_those_of_the_metric(metric: str, count: int) -> None:
    vectors = clustered_vectors(count, DIM) * np.linspace(0.5, 2, count, dtype=np.float32)[:, None]
    index = FAISSIndex(DIM, "Flat", metric=metric)
    index.add_embeddings(vectors, range(count))
    query = 1.5 * vectors[7] + 0.1
    for hit in index.search(query):
        vector = vectors[int(hit.id)].astype(np.float64)
        distance = np.linalg.norm(vector - query)
        cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
        expected = {
            "l2": (1 / (1 + distance**2), distance),
            "cosine": (cosine, 1 - cosine),
            "ip": (vector @ query, -(vector @ query)),
        }[metric]
        assert (hit.score, hit.distance) == pytest.approx(expected, abs=1e-5)


def test_one_query_may_be_a_vector_or_a_row_and_several_are_refused() -> None:
    index, _, queries = filled("HNSW", 2_000)
    assert index.search(queries[0]) == index.search(queries[:1]) == index.search(queries[0].tolist())
    with pytest.raises(InputError, match="2 queries in one search"):
        index.search(queries[:2])
    with pytest.raises(InputError, match="k is 0"):
        index.search(queries[0], 0)


@pytest.mark.parametrize("index_type", INDEX_TYPES)
def test_more_hits_than_vectors_are_all_the_vectors(index_type: str) -> None:
    config = {"n_subquantizers": 4} if index_type == "OPQ+HNSW" else None
    index, vectors, queries = filled(index_type, 1_100, config=config)
    hits = index.search(queries[0], 5_000)
    if index_type != "Flat,FP16":
        assert [hit.id for hit in hits] == true_ids(vectors, queries[:1], 1_100)[0]
    assert len({hit.id for hit in hits}) == 1_100


@pytest.mark.parametrize("index_type", ["Flat", "HNSW", "IVF", "PQ,FastScan"])
def test_equal_vectors_come_in_order_of_insertion_wherever_they_are_kept(index_type: str) -> None:
    index, vectors, _ = filled(index_type, 1_500)
    index.add_embeddings(vectors[:5], [f"copy {n}" for n in range(5)])  # in the tail
    index.add_embeddings(vectors[3:4], [3])  # inserted anew, so now the last
    for row in (0, 1, 2):
        assert [hit.id for hit in index.search(vectors[row], 2)] == [row, f"copy {row}"]
    assert [hit.id for hit in index.search(vectors[3], 2)] == ["copy 3", 3]


def test_a_threshold_is_the_lowest_score_and_zero_keeps_all() -> None:
    index, _, queries = filled("Flat", 500, metric="cosine")
    hits = index.search(-queries[0], 500)
    assert len(hits) == 500 and hits[-1].score < 0
    assert index.search(-queries[0], 500, 0.2) == [hit for hit in hits if hit.score >= 0.2]
    assert index.search(-queries[0], 500, threshold=2.0) == []


def test_changing_a_hit_or_what_was_passed_in_changes_nothing_inside() -> None:
    vectors, record = clustered_vectors(3, DIM), {"tags": ["a"]}
    index = FAISSIndex(DIM)
    index.add_embeddings(vectors, ["a", "b", "c"], [record, None, {}])
    record["tags"].append("b")
    before = index.search(vectors[0], 1)
    vectors[:] = 0
    before[0].metadata["tags"] = "gone"
    index.vectors()[:] = 0
    assert index.search(index.vectors(["a"])[0], 1)[0].metadata == {"tags": ["a"]}


# -- what is there, and what is refused ------------------------------------------------------------------


def test_an_empty_index_finds_nothing_and_has_every_statistic() -> None:
    index = FAISSIndex(DIM)
    assert index.search(np.ones(DIM)) == [] and index.batch_search(np.ones((2, DIM))) == [[], []]
    assert index.batch_search(np.ones((0, DIM))) == [] and index.remove(["nothing"]) == 0
    empty, (full, _, queries) = index.get_stats(), filled("HNSW", 2_000)
    full.search(queries[0])
    assert empty.keys() == full.get_stats().keys()
    assert empty["total_vectors"] == empty["memory_bytes"] == 0
    assert index.optimize().plan is None


def test_query_times_are_those_of_the_last_thousand_searches() -> None:
    index, _, queries = filled("Flat", 100)
    for _ in range(12):
        index.batch_search(queries)
    stats = index.get_stats()
    assert stats["queries_timed"] == 1_000
    times = [stats[f"p{share}_query_time_ms"] for share in (50, 90, 95, 99)]
    assert times[0] > 0 and times == sorted(times)


GOOD = np.ones((2, DIM), np.float32)


@pytest.mark.parametrize(
    ("embeddings", "ids", "metadata", "fault"),
    [
        (np.ones((2, DIM + 1)), ["x", "y"], None, r"shape \(2, 33\), not \(n, 32\)"),
        (np.ones(DIM), ["x"], None, r"shape \(32,\)"),
        (np.ones((2, 2, DIM)), ["x", "y"], None, "shape"),
        ([[1.0] * DIM, [1.0]], ["x", "y"], None, "no array"),
        (np.full((2, DIM), "a"), ["x", "y"], None, "dtype"),
        (np.ones((2, DIM), complex), ["x", "y"], None, "dtype complex"),
        (np.full((2, DIM), np.nan), ["x", "y"], None, "number 0 of row 0 of the embeddings is nan"),
        (
            np.where(np.arange(2 * DIM).reshape(2, DIM) == 40, np.inf, 1),
            ["x", "y"],
            None,
            "number 8 of row 1",
        ),
        (np.full((2, DIM), 1e300), ["x", "y"], None, r"1e\+300"),
        (GOOD, ["x"], None, "2 vectors came with 1 ids"),
        (GOOD, "xy", None, "ids are 'xy'"),
        (GOOD, ["x", "x"], None, "the id 'x' comes twice"),
        (GOOD, ["x", 1.5], None, "1.5 is no id"),
        (GOOD, ["x", True], None, "True is no id"),
        (GOOD, ["x", 1 << 64], None, "is no id"),
        (GOOD, ["x", "y"], [{}], "2 vectors came with 1 records"),
        (GOOD, ["x", "y"], [{}, {"when": object()}], "JSON cannot keep the metadata of 'y'"),
        (GOOD, ["x", "y"], [{}, {"far": float("inf")}], "JSON cannot keep"),
        (GOOD, ["x", "y"], [{}, {1: "one"}], "the metadata of 'y'"),
        (GOOD, ["x", "y"], [{}, "text"], "the metadata of 'y'"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(embeddings: Any, ids: Any, metadata: Any, fault: str) -> None:
    index, _, queries = filled("HNSW", 1_200)
    before = (index.get_stats()["total_vectors"], index.id_map, index.search(queries[0]))
    with pytest.raises(InputError, match=fault):
        index.add_embeddings(embeddings, ids, metadata)
    assert (index.get_stats()["total_vectors"], index.id_map, index.search(queries[0])) == before


def test_a_zero_vector_has_no_cosine() -> None:
    index = FAISSIndex(DIM, metric="cosine")
    with pytest.raises(InputError, match="row 1 of the embeddings is all zeros"):
        index.add_embeddings(np.array([[1.0] * DIM, [0.0] * DIM]), ["a", "b"])
    with pytest.raises(InputError, match="row 0 of the query is all zeros"):
        index.search(np.zeros(DIM))


@pytest.mark.parametrize(
    "arguments",
    [
        {"dimension": 0},
        {"dimension": 3.5},
        {"index_type": "Annoy"},
        {"index_type": "IVF", "nlist": 0},
        {"index_type": "IVF", "nprobe": 0},
        {"config": {"ef_serch": 3}},
        {"config": {"m": 32, "M": 16}},
        {"config": {"ef_search": 0}},
        {"config": {"m": "32"}},
        {"index_type": "auto", "config": {"m": 32}},
        {"metric": "hamming"},
        {"device": "tpu"},
        {"rerank": -1},
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        FAISSIndex(**arguments)


def test_vectors_of_an_unknown_id_are_not_found() -> None:
    index, vectors, _ = filled("HNSW", 1_100)
    assert np.array_equal(index.vectors([5, 1_099, 5]), vectors[[5, 1_099, 5]])
    with pytest.raises(NotFoundError, match="'nobody'"):
        index.vectors(["nobody"])


# -- small data -----------------------------------------------------------------------------------------


def test_ivf_with_fifty_vectors_searches_exactly_and_becomes_ivf_when_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ragstone")
    vectors = clustered_vectors(4_100, DIM)
    index = FAISSIndex(DIM, "IVF")
    index.add_embeddings(vectors[100:150], range(50))
    assert [hit.id for hit in index.search(vectors[0])] == true_ids(vectors[100:150], vectors[:1])[0]
    assert index.get_stats()["built_type"] is None and "few vectors" in index.get_stats()["reason"]
    index.add_embeddings(vectors[150:1_600], range(50, 1_500))
    assert index.get_stats()["config"]["nlist"] == 38
    assert "1500 vectors fill 38 lists of 39, not 100" in caplog.text
    for start in range(1_500, 4_000, 500):
        index.add_embeddings(vectors[100 + start : 600 + start], range(start, start + 500))
    index.add_embeddings(vectors[100:1_300], range(1_200))  # long enough a tail to be taken in
    assert index.get_stats()["config"] == {"nlist": 100, "nprobe": 10}
    assert index.get_stats()["reason"] is None


def test_codes_wait_for_enough_vectors_to_be_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_snapshot, "TAIL_ROWS", 50)
    vectors = clustered_vectors(700, DIM)
    index = FAISSIndex(DIM, "OPQ+HNSW", config={"n_subquantizers": 4})
    index.add_embeddings(vectors[:200], range(200))
    stats = index.get_stats()
    assert stats["built_type"] == "Flat" and "needs 256 vectors" in stats["reason"]
    index.add_embeddings(vectors[200:600], range(200, 600))
    assert index.get_stats()["built_type"] == "OPQ+HNSW"


def test_auto_chooses_by_the_number_of_vectors_and_says_why() -> None:
    index, _, _ = filled("auto", 1_200, dim=8)
    assert (
        index.get_stats()["built_type"] == "Flat,FP16" and "quick, and exact" in index.get_stats()["reason"]
    )


def test_a_gpu_that_is_not_there_is_said_and_the_cpu_used(caplog: pytest.LogCaptureFixture) -> None:
    from ragstone.faiss_index.base import gpus

    if gpus():
        pytest.skip("there is a GPU")
    index, _, queries = filled("IVF", 4_000, device="gpu")
    assert "FAISS sees no GPU" in caplog.text
    assert index.get_stats()["device"] == "cpu" and len(index.search(queries[0])) == 10


@pytest.mark.parametrize("index_type", ["Flat", "IVF", "HNSW"])
def test_on_a_gpu_results_are_the_cpus_and_what_is_saved_loads_on_a_cpu(
    index_type: str, tmp_path: Path
) -> None:
    from ragstone.faiss_index.base import gpus

    if not gpus():
        pytest.skip("FAISS sees no GPU")
    index, vectors, queries = filled(index_type, 4_000, device="gpu")
    cpu = FAISSIndex(DIM, index_type)
    cpu.add_embeddings(vectors, range(4_000))
    assert (
        recall([[hit.id for hit in hits] for hits in cpu.batch_search(queries)], index.batch_search(queries))
        > 0.99
    )
    index.save_index(tmp_path / "index")
    loaded = FAISSIndex(DIM)
    loaded.load_index(tmp_path / "index")
    assert loaded.batch_search(queries) == cpu.batch_search(queries)


# -- filters, recall, rebuilding --------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["IVF", "HNSW", "HNSW,SQ8", "PQ,FastScan", "SQ8"])
def ten_thousand(request: pytest.FixtureRequest) -> Iterator[tuple[FAISSIndex, Matrix, Matrix]]:
    """10,000 vectors in types that filter in different ways."""
    config = {"ef_construction": 60} if "HNSW" in request.param else None
    yield filled(request.param, 10_000, dim=16, config=config)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5])
def test_filters_give_as_many_hits_as_match_and_the_right_ones(
    ten_thousand: tuple[FAISSIndex, Matrix, Matrix], share: float
) -> None:
    index, vectors, queries = ten_thousand
    matching = np.flatnonzero(np.random.default_rng(5).random(len(vectors)) < share)
    chosen = set(matching.tolist())
    truth = [[int(matching[place]) for place in row] for row in true_ids(vectors[matching], queries)]
    found = index.batch_search(queries, filter=lambda record: record["number"] in chosen)
    assert all(len(hits) == min(10, len(matching)) for hits in found)
    assert all(hit.id in chosen for hits in found for hit in hits)
    assert recall(truth, found) >= 0.95


def test_a_filter_that_nothing_passes_finds_nothing() -> None:
    index, _, queries = filled("HNSW", 1_200)
    assert index.search(queries[0], filter={"number": -1}) == index.search(queries[0], filter={"no": 1}) == []
    assert index.search(queries[0], filter=lambda record: False) == []
    assert [hit.id for hit in index.search(queries[0], filter={"number": 7})] == [7]
    index.add_embeddings(queries[:1], ["new"], [{"number": 7, "tags": ["a", "b"]}])
    assert [hit.id for hit in index.search(queries[0], filter={"number": 7})] == ["new", 7]
    assert [hit.id for hit in index.search(queries[0], filter={"tags": ["a", "b"]})] == ["new"]


@pytest.mark.parametrize("index_type", ["IVF", "HNSW", "PQ,FastScan", "LSH"])
def test_a_stated_recall_is_reached_and_one_is_exact(index_type: str) -> None:
    config = {"ef_construction": 60} if index_type == "HNSW" else None
    index, vectors, queries = filled(index_type, 6_000, nprobe=1, rerank=1, config=config)
    truth = true_ids(vectors, queries)
    for wanted in (0.8, 0.95, 0.99):
        assert recall(truth, index.batch_search(queries, recall=wanted)) >= wanted - 0.02
    assert [[hit.id for hit in hits] for hits in index.batch_search(queries, recall=1.0)] == truth
    assert index.optimize(recall=0.97).recall_after >= 0.97
    assert recall(truth, index.batch_search(queries)) >= 0.95
    assert index.get_stats()["recall_target"] == 0.97


@pytest.mark.data
@pytest.mark.parametrize("index_type", ["OPQ+HNSW", "HNSW", "PQ,FastScan", "LSH"])
def test_real_embeddings_are_found_with_the_defaults(index_type: str, shared_data: Path) -> None:
    stored = shared_data / "peer-indexes" / "langchain-faiss" / "letsupgrade" / "faiss_index" / "index.faiss"
    flat = faiss.read_index(str(stored))
    vectors = flat.reconstruct_n(0, flat.ntotal)
    queries, vectors = vectors[::13], np.delete(vectors, slice(None, None, 13), axis=0)
    index = FAISSIndex(384, index_type)
    index.add_embeddings(vectors, range(len(vectors)))
    assert index.get_stats()["built_type"] == index_type
    assert recall(true_ids(vectors, queries), index.batch_search(queries)) >= 0.95


def test_optimizing_for_a_recall_is_kept_when_saved(tmp_path: Path) -> None:
    index, _, _ = filled("IVF", 4_000, nprobe=1)
    done = index.optimize(recall=0.99)
    assert (
        done.effort is not None and done.effort.probes > 1 and done.recall_before < 0.99 <= done.recall_after
    )
    index.save_index(tmp_path / "index")
    loaded = FAISSIndex(DIM)
    loaded.load_index(tmp_path / "index")
    assert (
        loaded.get_stats()["config"]
        == index.get_stats()["config"]
        == {"nlist": 100, "nprobe": done.effort.probes}
    )


@pytest.mark.parametrize("target", ["Flat", "HNSW", "PQ,FastScan"])
def test_reindexing_keeps_ids_metadata_and_recall(target: str) -> None:
    old, vectors, queries = filled("IVF", 4_000)
    old.remove(range(0, 400, 2))
    new = old.reindexed(target)
    assert new.id_map.keys() != old.id_map.keys()  # the gaps are gone
    assert list(new.id_map.values()) == list(old.id_map.values()) and new.metadata == old.metadata
    assert new.get_stats()["built_type"] == target
    truth = [[hit.id for hit in old.search(query, recall=1.0)] for query in queries]
    assert recall(truth, new.batch_search(queries)) >= 0.94
    new.remove([1])
    assert 1 in old and 1 not in new and np.array_equal(old.vectors([1])[0], vectors[1])


def test_reindexing_to_what_cannot_find_enough_is_refused() -> None:
    old, _, _ = filled("Flat", 3_000)
    with pytest.raises(InputError, match=r"LSH finds 0\.\d+ of the nearest here at most, not 0\.9"):
        old.reindexed("LSH", config={"nbits": 8})


# -- any sequence of calls ----------------------------------------------------------------------------------

CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 60), max_size=20)),
        st.tuples(st.sampled_from(["save", "optimize"]), st.just([])),
    ),
    max_size=12,
)


@given(
    calls=CALLS,
    index_type=st.sampled_from(["Flat", "SQ8", "IVF", "HNSW", "PQ,FastScan"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_calls_equals_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, list[int]]], index_type: str, seed: int
) -> None:
    rng, dim = np.random.default_rng(seed), 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss_snapshot, "TAIL_ROWS", 20)  # so that few vectors see all that many do
        index, oracle = (
            FAISSIndex(dim, index_type, config={"m": 8} if index_type == "HNSW" else None),
            VectorOracle(),
        )
        for call, ids in calls:
            if call == "add":
                vectors = rng.standard_normal((len(ids), dim)).astype(np.float32)
                records = [{"parity": id_ % 2} for id_ in ids]
                index.add_embeddings(vectors, ids, records)
                oracle.add(vectors, ids, records)
            elif call == "remove":
                index.remove(ids)
                oracle.remove(ids)
            elif call == "save":
                path = tmp_path_factory.mktemp("index")
                index.save_index(path)
                index = FAISSIndex(dim)
                index.load_index(path)
            else:
                index.optimize()
            query = rng.standard_normal(dim).astype(np.float32)
            assert list(index.id_map.values()) == list(oracle.kept)
            assert [hit.id for hit in index.search(query, 7, recall=1.0)] == oracle.search(query, 7)
            odd = index.search(query, 7, filter={"parity": 1}, recall=1.0)
            assert [hit.id for hit in odd] == oracle.search(query, 7, lambda record: record["parity"] == 1)
            assert len(index.search(query, 100)) == len(oracle.kept)


@given(
    embeddings=st.one_of(
        st.none(),
        st.text(),
        st.lists(st.lists(st.floats(), max_size=4), max_size=4),
        st.lists(st.floats(), max_size=4),
        st.binary(),
    ),
    ids=st.one_of(
        st.text(), st.lists(st.one_of(st.integers(), st.text(), st.floats(), st.none()), max_size=4)
    ),
    metadata=st.one_of(
        st.none(), st.lists(st.one_of(st.none(), st.text(), st.dictionaries(st.text(), st.floats())))
    ),
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_passed_is_taken_whole_or_refused_whole(embeddings: Any, ids: Any, metadata: Any) -> None:
    index = FAISSIndex(3)
    index.add_embeddings(np.eye(3), ["a", "b", "c"])
    try:
        index.add_embeddings(embeddings, ids, metadata)
    except RagstoneError:
        assert list(index.id_map.values()) == ["a", "b", "c"]
    else:
        assert set(index.id_map.values()) == {"a", "b", "c", *ids}
