"""How well and how fast a collection answers the judged queries of a test set, mode by mode."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.evaluation.dataset import Dataset, TestDocument, read_dataset
from ragstone.evaluation.metrics import ndcg, recall, reciprocal_rank
from ragstone.types import SearchMode

MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "keyword")
QuerySelection = Literal["all", "even", "odd"]

# Chunks asked for per query to find 100 documents: a document has at most two chunks on most test sets.
_DEPTH = 200
# What a user asks for, and what the latency is measured with.
_TIMED_TOP_K = 10
# Documents per call of `add`: enough for batches sorted by length, small enough to lose little when stopped.
_BATCH = 1024

_HASH_KEY = "evaluation_sha256"


@dataclass(frozen=True, slots=True)
class ModeScores:
    """Means over the queries, each in [0, 1], and latencies of `top_k` 10 searches in milliseconds."""

    ndcg_10: float
    recall_5: float
    recall_10: float
    recall_100: float
    mrr_10: float
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The result of one evaluation: `queries` is how many were asked in each mode."""

    dataset: str
    queries: int
    modes: Mapping[SearchMode, ModeScores]


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """One moment of an evaluation: `done` of `total` documents (`index`) or searches (`search`)."""

    stage: Literal["index", "search"]
    done: int
    total: int


def evaluation_collection(dataset: Path) -> str:
    """The name of the collection that holds a test set: `eval-` and the name of its folder."""
    return "eval-" + re.sub(r"[^A-Za-z0-9._-]", "-", dataset.resolve().name)[:59]


def evaluate(
    engine: Ragstone,
    dataset: Path,
    *,
    modes: Sequence[SearchMode] = MODES,
    split: str = "test",
    query_ids: QuerySelection = "all",
    progress: Callable[[EvaluationProgress], None] = lambda _: None,
) -> EvaluationReport:
    """Index the test set in the folder `dataset` and score each mode on its judged queries.

    `engine` must be opened on the collection `evaluation_collection(dataset)`, so that nobody's documents are
    mixed with a test set's; documents that are there and unchanged are not indexed again. `query_ids` takes
    only queries with even or odd numbers, to choose settings on one half and report the other. A document
    scores as its best chunk. Raises `NotFoundError` and `InputError` for an unusable test set.
    """
    expected = evaluation_collection(dataset)
    if engine.stats().collection != expected:
        raise InputError(
            f"the engine is open on the collection {engine.stats().collection!r}",
            hint=f"open it with collection={expected!r}",
        )
    test_set = read_dataset(dataset, split=split)
    queries = _selected(test_set, query_ids)
    _index(engine, test_set.documents, progress)
    engine.warm_up()
    rankings: dict[SearchMode, list[_Judged]] = {mode: [] for mode in modes}
    for number, query_id in enumerate(queries):
        for turn, mode in enumerate(modes):
            grades = test_set.qrels[query_id]
            rankings[mode].append(_judge(engine, test_set.queries[query_id], grades, mode=mode, turn=turn))
        progress(EvaluationProgress("search", (number + 1) * len(modes), len(queries) * len(modes)))
    scores = {mode: _means(judged) for mode, judged in rankings.items()}
    return EvaluationReport(test_set.name, len(queries), scores)


def to_json(report: EvaluationReport) -> dict[str, Any]:
    """The JSON form that `eval --json` prints."""
    return {
        "dataset": report.dataset,
        "queries": report.queries,
        "modes": {
            mode: {
                "ndcg@10": round(scores.ndcg_10, 4),
                "recall@5": round(scores.recall_5, 4),
                "recall@10": round(scores.recall_10, 4),
                "recall@100": round(scores.recall_100, 4),
                "mrr@10": round(scores.mrr_10, 4),
                "p50_ms": round(scores.p50_ms, 3),
                "p95_ms": round(scores.p95_ms, 3),
            }
            for mode, scores in report.modes.items()
        },
    }


def best_documents(uris: Sequence[str]) -> list[str]:
    """Documents in the order of their best chunk, from the documents of chunks ranked best first."""
    return list(dict.fromkeys(uris))


@dataclass(frozen=True, slots=True)
class _Judged:
    scores: tuple[float, float, float, float, float]  # nDCG@10, recall@5, recall@10, recall@100, MRR@10
    latency_ms: float


def _judge(
    engine: Ragstone, query: str, grades: Mapping[str, int], *, mode: SearchMode, turn: int
) -> _Judged:
    # A query that was asked before is not embedded again. Trailing spaces change nothing but the cache's key, so
    # that each mode pays for its own embedding.
    asked = query + " " * turn
    start = perf_counter()
    engine.search(asked, top_k=_TIMED_TOP_K, mode=mode)
    latency_ms = (perf_counter() - start) * 1e3
    ranking = best_documents([hit.uri for hit in engine.search(asked, top_k=_DEPTH, mode=mode).hits])
    return _Judged(
        scores=(
            ndcg(ranking, grades, k=10),
            recall(ranking, grades, k=5),
            recall(ranking, grades, k=10),
            recall(ranking, grades, k=100),
            reciprocal_rank(ranking, grades, k=10),
        ),
        latency_ms=latency_ms,
    )


def _means(judged: Sequence[_Judged]) -> ModeScores:
    ndcg_10, recall_5, recall_10, recall_100, mrr_10 = (
        fmean(column) for column in zip(*(j.scores for j in judged), strict=True)
    )
    p50_ms, p95_ms = np.percentile([j.latency_ms for j in judged], [50, 95]).tolist()
    return ModeScores(ndcg_10, recall_5, recall_10, recall_100, mrr_10, p50_ms, p95_ms)


def _selected(dataset: Dataset, query_ids: QuerySelection) -> list[str]:
    judged = [query for query in dataset.queries if query in dataset.qrels]
    if query_ids == "all":
        return judged
    words = [query for query in judged if not query.isdecimal()]
    if words:
        raise InputError(
            f"query {words[0]!r:.100} of {dataset.name} has no number",
            hint="even and odd ids need numeric ids",
        )
    wanted = [query for query in judged if int(query) % 2 == (0 if query_ids == "even" else 1)]
    if not wanted:
        raise InputError(f"{dataset.name} has no judged query with an {query_ids} id")
    return wanted


def _index(
    engine: Ragstone, documents: Sequence[TestDocument], progress: Callable[[EvaluationProgress], None]
) -> None:
    """Bring the collection in step with the corpus, in batches, so that a stopped run goes on where it was."""
    wanted = {document.id: document for document in documents if _content(document)}
    if not wanted:
        raise InputError("the corpus holds no text")
    exists = engine.stats().collection in engine.collections()
    held = {info.uri: info.metadata.get(_HASH_KEY) for info in engine.documents()} if exists else {}
    stale = [uri for uri in held if uri not in wanted]
    if stale:
        engine.delete(stale)
    missing = [document for id_, document in wanted.items() if held.get(id_) != _sha256(document)]
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        engine.add(
            [_content(document) for document in batch],
            uris=[document.id for document in batch],
            titles=[document.title for document in batch],
            metadata=[{_HASH_KEY: _sha256(document)} for document in batch],
        )
        progress(EvaluationProgress("index", start + len(batch), len(missing)))


def _content(document: TestDocument) -> str:
    """What is indexed: the text, the title where there is no text, nothing for an empty document."""
    return document.text.strip() or document.title.strip()


def _sha256(document: TestDocument) -> str:
    return hashlib.sha256(f"{document.title}\0{document.text}".encode()).hexdigest()
