"""The real stores of other tools: whole, without embedding, ranked as their own tools rank them."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from importers.foreign_stores import vectors_of
from importers.imports import TOP_K, assert_same_ranking, engine_at, imported, records_of, scores_of
from importers.test_rollback import tree
from ragstone.importers.formats import open_foreign
from ragstone.importers.rollback import roll_back

# Folder, format, records, dim.
STORES = [
    ("llamaindex/bible-james-legacy/storage", "llamaindex", 93, 1536),
    ("llamaindex/circleci/storage", "llamaindex", 22, 1536),
    ("langchain-faiss/aianytime/faiss_index", "langchain", 13, 1536),
    ("langchain-faiss/letsupgrade/faiss_index", "langchain", 1309, 384),
    ("chroma/nl2sql-sqlite-only", "chroma", 7, 384),
    ("chroma/policybot/chroma_db", "chroma", 30, 3072),
    ("txtai/chathelp/index", "txtai", 418, 768),
]
FAISS_FILES = {
    "langchain-faiss/aianytime/faiss_index": "index.faiss",
    "langchain-faiss/letsupgrade/faiss_index": "index.faiss",
    "txtai/chathelp/index": "embeddings",
}
QUERIES = 100


@pytest.mark.data
@pytest.mark.parametrize(("folder", "format_", "count", "dim"), STORES)
def test_a_real_store_comes_over_whole_and_ranks_as_before(
    folder: str, format_: str, count: int, dim: int, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "peer-indexes" / folder
    before = tree(source)
    store = open_foreign("auto", source)
    embedder = HashingEmbedder()
    with engine_at(tmp_path, embedder=embedder) as engine:
        report = imported(engine, store, tmp_path).report
        assert (report.format, report.added, report.dim) == (format_, count, dim)
        assert (report.left_out, report.embedded, embedder.embedded) == ((), 0, [])
        uris, rows = records_of(store)
        queries = vectors_of(QUERIES, dim=dim, seed=1)
        assert_same_ranking(engine, uris, queries, scores_of(queries, rows, store.metric))
        assert imported(engine, store, tmp_path).report.unchanged == count
        assert engine.verify().ok
        assert roll_back(engine, data_dir=tmp_path).source_intact
    assert tree(source) == before


@pytest.mark.data
@pytest.mark.parametrize("folder", FAISS_FILES)
def test_hits_are_those_of_the_tools_own_faiss_index(folder: str, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "peer-indexes" / folder
    index = faiss.read_index(str(source / FAISS_FILES[folder]))
    queries = vectors_of(QUERIES, dim=index.d, seed=2)
    values, rows = index.search(queries, min(TOP_K, index.ntotal))
    store = open_foreign("auto", source)
    uris, vectors = records_of(store)
    with engine_at(tmp_path) as engine:
        imported(engine, store, tmp_path)
        for query, wanted, value in zip(queries, rows, values, strict=True):
            hits = engine.search("any", mode="dense", vector=query, top_k=TOP_K).hits
            found = [uris.index(hit.uri) for hit in hits]
            if found != wanted.tolist():  # only where the tool itself gives equal values
                own = (
                    vectors[found] @ query
                    if index.metric_type == 0
                    else ((vectors[found] - query) ** 2).sum(axis=1)
                )
                np.testing.assert_allclose(own, value, atol=1e-6)
