"""What each stage of hybrid search brings and costs: nDCG@10, milliseconds and bytes, a stage more from row to row.

A stage is left out by replacing what it computes with nothing, so what a row costs more than the one above is the
stage's own. The embedding of a query is made before the clock starts; `benchmarks.embedding` measures that.

    python -m benchmarks.ablation ../shared/data [--data-dir DIR]

`--data-dir` takes the collections of `benchmarks.quality`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any
from unittest.mock import patch

import apsw
import numpy as np

from benchmarks import report
from benchmarks.quality import SETS, Wanted
from ragstone import Ragstone, Settings
from ragstone.evaluation.dataset import read_dataset
from ragstone.evaluation.evaluate import best_documents, evaluate, evaluation_collection
from ragstone.evaluation.metrics import ndcg
from ragstone.retrieval.signals import TextSignals
from ragstone.types import QueryTokens, SearchMode

DEPTH = 200  # chunks asked for: ten documents for certain
TOP_K = 10


def _no_tokens(*_: object) -> QueryTokens:
    return QueryTokens(np.empty((0, 3), np.uint64), ())


def _no_signals(texts: Sequence[Any], **_: object) -> TextSignals:
    return TextSignals(np.zeros(len(texts), np.float32), np.zeros(len(texts), np.float32))


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage, how to do without it, and the tables or folders that hold what it needs."""

    name: str
    without: tuple[tuple[str, object], ...]
    stored: tuple[str, ...] = ()


STAGES = (
    Stage(
        "words near each other, in order",
        (
            ("ragstone.retrieval.hybrid.text_signals", _no_signals),
            ("ragstone.store.chunk_terms.ChunkTerms.__call__", lambda _, ids: [()] * len(ids)),
        ),
    ),
    Stage(
        "late interaction",
        (("ragstone.expansions.ExpandedText.tokens_of_query", _no_tokens),),
        stored=("token_signs",),
    ),
    Stage(
        "neighbours",
        (
            ("ragstone.retrieval.hybrid.diffused", lambda scores, _: scores),
            ("ragstone.index.dense.DenseIndex.vectors", lambda _, ids: np.empty((len(ids), 0))),
        ),
    ),
    Stage("graph", (), stored=("names", "names_of_document")),
    Stage(
        "acronyms",
        (("ragstone.queries.expansions_of", lambda *_: []),),
        stored=("acronyms", "acronyms_by_long", "acronyms_by_short"),
    ),
)
GRAPH = 4  # stages from the graph on


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: how to search, and with how many of the stages."""

    name: str
    mode: SearchMode
    stages: int


ROWS = (
    Row("keyword", "keyword", 0),
    Row("dense", "dense", 0),
    Row("both, fused", "hybrid", 0),
    *(Row(f"+ {stage.name}", "hybrid", number + 1) for number, stage in enumerate(STAGES)),
)


def main() -> None:
    """Ask every query of every set in each way, in turn; print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder that holds the sets")
    parser.add_argument("--data-dir", type=Path, help="keep the collections here and reuse them")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.data_dir or Path(folder)
        for wanted in SETS:
            figures[wanted.name] = _ablated(home, arguments.data / wanted.name, wanted)
    quality = {row.name: [figures[wanted.name]["ndcg@10"][row.name] for wanted in SETS] for row in ROWS}
    figures["mean"] = {name: round(fmean(found), 4) for name, found in quality.items()}
    report.table(
        [
            ("nDCG@10", *(wanted.name for wanted in SETS), "mean", "median ms"),
            *(
                (
                    row.name,
                    *(f"{found:.4f}" for found in quality[row.name]),
                    f"{figures['mean'][row.name]:.4f}",
                    " ".join(f"{figures[wanted.name]['median_ms'][row.name]:.1f}" for wanted in SETS),
                )
                for row in ROWS
            ),
        ]
    )
    stored = [figures[wanted.name]["bytes_per_chunk"] for wanted in SETS]
    report.table(
        [
            ("bytes a chunk", *(wanted.name for wanted in SETS)),
            *((part, *(f"{of_set[part]:,}" for of_set in stored)) for part in stored[0]),
        ]
    )
    print("written to", report.write("ablation", figures))


def _ablated(home: Path, dataset: Path, wanted: Wanted) -> dict[str, Any]:
    settings = Settings(search_cache=0)
    name = evaluation_collection(dataset)
    with Ragstone(home, collection=name, settings=settings) as engine:
        evaluate(
            engine, dataset, modes=("keyword",), query_ids=wanted.queries
        )  # indexes what is not there yet
        test_set = read_dataset(dataset)
        queries = [id_ for id_ in test_set.queries if id_ in test_set.qrels]
        if wanted.queries == "even":
            queries = [id_ for id_ in queries if int(id_) % 2 == 0]
        scores: dict[str, list[float]] = {row.name: [] for row in ROWS}
        taken_ms: dict[str, list[float]] = {row.name: [] for row in ROWS}
        for id_ in queries:
            query = test_set.queries[id_]
            engine.search(query)  # its embedding is kept from now on
            for row in ROWS:
                ranking, ms = _search(engine, query, row)
                scores[row.name].append(ndcg(ranking, test_set.qrels[id_], k=10))
                taken_ms[row.name].append(ms)
    return {
        "queries": len(queries),
        "ndcg@10": {name: round(fmean(found), 4) for name, found in scores.items()},
        "median_ms": {name: round(median(taken), 2) for name, taken in taken_ms.items()},
        "bytes_per_chunk": _stored(home / "collections" / name),
    }


def _search(engine: Ragstone, query: str, row: Row) -> tuple[list[str], float]:
    """The documents found, and how long a search for ten hits takes that way."""
    graph = row.stages >= GRAPH

    def search(top_k: int) -> Callable[[], Any]:
        return lambda: engine.search(query, top_k=top_k, mode=row.mode, graph=graph).hits

    with ExitStack() as left_out:
        for stage in STAGES[row.stages :]:
            for target, nothing in stage.without:
                left_out.enter_context(patch(target, nothing))
        hits = search(DEPTH)()
        started = time.perf_counter()
        search(TOP_K)()
        ms = (time.perf_counter() - started) * 1e3
    return best_documents([hit.uri for hit in hits]), ms


def _stored(folder: Path) -> dict[str, int]:
    """Bytes a chunk of what the store holds for each purpose."""
    with apsw.Connection(str(folder / "catalog.sqlite"), flags=apsw.SQLITE_OPEN_READONLY) as db:
        ((chunks,),) = db.execute("SELECT count(*) FROM chunks")
        tables = dict(db.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"))
    of_stages = {
        stage.name: sum(tables.pop(table) for table in stage.stored) for stage in STAGES if stage.stored
    }

    def files(part: str) -> int:
        return sum(path.stat().st_size for path in (folder / part).rglob("*") if path.is_file())

    parts = {
        "text and the rest of the catalog": sum(tables.values()),
        "keyword": files("keyword"),
        "dense": files("segments"),
        **of_stages,
    }
    return {part: round(size / chunks) for part, size in parts.items()}


if __name__ == "__main__":
    main()
