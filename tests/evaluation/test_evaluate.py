"""Evaluating the whole engine on test sets, small ones of our own and real ones where they are at hand."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ragstone import Ragstone
from ragstone.embedding import load_embedder
from ragstone.errors import InputError
from ragstone.evaluation.evaluate import (
    EvaluationProgress,
    best_documents,
    evaluate,
    evaluation_collection,
    to_json,
)
from ragstone.types import Embedder, Matrix, Vector

DOCUMENTS = {
    "wing": "The lift of a thin wing grows with its angle until the flow separates.",
    "heat": "Heat flows along a plate from its warm edge to its cold edge.",
    "shock": "A shock stands before a blunt body that flies faster than sound.",
    "bread": "Bread rises because yeast makes gas in the dough.",
}
QUERIES = {"1": "lift of a wing", "2": "bread and yeast", "3": "blunt body shock", "4": "unjudged"}
QRELS = {"1": "wing", "2": "bread", "3": "shock"}


class WordEmbedder:
    """Hashed words as unit vectors: a small real embedder that needs no model file."""

    model_id, dim, max_tokens = "words", 256, 256

    def __init__(self) -> None:
        self.embedded = 0

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(self.token_spans(text)) + 2 for text in texts]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w{1,8}|[^\w\s]", text)]

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        self.embedded += len(texts)
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Vector:
        vector = np.full(self.dim, 1e-3, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(word.encode()) % self.dim] += 1
        unit: Vector = vector / np.linalg.norm(vector)
        return unit

    def close(self) -> None:
        pass


def write(folder: Path, documents: dict[str, str]) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"_id": id_, "title": id_.title(), "text": text}) for id_, text in documents.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": id_, "text": text}) for id_, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    lines = [f"{query}\t{document}\t1" for query, document in QRELS.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines))
    return folder


def opened(data_dir: Path, dataset: Path, embedder: Embedder) -> Ragstone:
    return Ragstone(data_dir, collection=evaluation_collection(dataset), embedder=embedder)


def test_a_test_set_that_every_mode_answers_scores_1_in_the_promised_json(tmp_path: Path) -> None:
    dataset = write(tmp_path / "tiny set", DOCUMENTS)
    seen: list[EvaluationProgress] = []
    with opened(tmp_path / "data", dataset, WordEmbedder()) as engine:
        report = to_json(evaluate(engine, dataset, progress=seen.append))
    assert (report["dataset"], report["queries"]) == ("tiny set", 3)
    assert list(report["modes"]) == ["hybrid", "dense", "keyword"]
    for scores in report["modes"].values():
        assert list(scores) == [
            "ndcg@10",
            "recall@5",
            "recall@10",
            "recall@100",
            "mrr@10",
            "p50_ms",
            "p95_ms",
        ]
        assert [scores[name] for name in list(scores)[:4]] == [1.0, 1.0, 1.0, 1.0]
        assert 0 < scores["p50_ms"] <= scores["p95_ms"]
    assert (seen[0].stage, seen[0].done, seen[-1]) == ("index", 4, EvaluationProgress("search", 9, 9))


def test_a_second_evaluation_embeds_only_what_changed_in_the_corpus(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    dataset = write(tmp_path / "tiny", DOCUMENTS)
    with opened(tmp_path / "data", dataset, embedder) as engine:
        evaluate(engine, dataset, modes=["keyword"])
        first = embedder.embedded
        evaluate(engine, dataset, modes=["keyword"])
        assert embedder.embedded == first == len(DOCUMENTS)
        changed = {**DOCUMENTS, "bread": "Bread is baked from flour, water and yeast.", "empty": ""}
        del changed["heat"]
        evaluate(engine, write(dataset, changed), modes=["keyword"])
        assert embedder.embedded == first + 2  # the changed one and the title of the empty one
        assert {info.uri for info in engine.documents()} == set(changed)


def test_only_even_or_odd_queries_are_asked_on_request(tmp_path: Path) -> None:
    dataset = write(tmp_path / "tiny", DOCUMENTS)
    with opened(tmp_path / "data", dataset, WordEmbedder()) as engine:
        assert evaluate(engine, dataset, modes=["keyword"], query_ids="odd").queries == 2
        assert evaluate(engine, dataset, modes=["keyword"], query_ids="even").queries == 1
        (dataset / "qrels" / "test.tsv").write_text("a\twing\t1")
        (dataset / "queries.jsonl").write_text('{"_id": "a", "text": "wing"}')
        with pytest.raises(InputError, match="has no number"):
            evaluate(engine, dataset, query_ids="odd")


def test_a_collection_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    dataset = write(tmp_path / "tiny", DOCUMENTS)
    with Ragstone(tmp_path / "data", embedder=WordEmbedder()) as engine:
        with pytest.raises(InputError, match="open on the collection 'default'") as caught:
            evaluate(engine, dataset)
        assert "eval-tiny" in caught.value.hint
        assert engine.collections() == []


def test_a_document_ranks_as_its_best_chunk() -> None:
    assert best_documents(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]


@pytest.mark.data
def test_hybrid_beats_both_of_its_sources_on_cranfield(shared_data: Path, tmp_path: Path) -> None:
    """Even ids: the odd ones chose the weights."""
    dataset = shared_data / "cranfield"
    embedder = load_embedder("minilm", cache_dir=tmp_path / "models")
    try:
        with opened(tmp_path / "data", dataset, embedder) as engine:
            report = evaluate(engine, dataset, query_ids="even")
    finally:
        embedder.close()
    hybrid, dense, keyword = (report.modes[mode].ndcg_10 for mode in ("hybrid", "dense", "keyword"))
    assert hybrid > max(dense, keyword)
    assert hybrid >= 0.58
