"""`eval`: how well and how fast search finds what people judged relevant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import JsonFlag
from ragstone.cli.searching import Mode
from ragstone.errors import InputError

if TYPE_CHECKING:
    from ragstone.evaluation.evaluate import EvaluationProgress, EvaluationReport
    from ragstone.types import SearchMode


class Queries(Enum):
    """Which judged queries to ask; one half can choose settings and the other confirm them."""

    all = "all"
    even = "even"
    odd = "odd"


def evaluate(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder in BEIR layout.")],
    *,
    split: Annotated[str, typer.Option(help="Judgements to use: qrels/SPLIT.tsv.")] = "test",
    modes: Annotated[str, typer.Option(help="Ways to search.")] = "hybrid,dense,keyword",
    queries: Annotated[Queries, typer.Option(help="Ask only those with even or odd ids.")] = Queries.all,
    json_output: JsonFlag = False,
) -> int:
    """Measure search on judged queries: quality and latency of each mode.

    The folder holds corpus.jsonl, queries.jsonl and qrels/. The corpus is kept in a collection of its own and
    indexed only when it changed.
    """
    from ragstone.evaluation.evaluate import evaluate as run
    from ragstone.evaluation.evaluate import evaluation_collection, to_json

    wanted = _modes(modes)
    current = invocation.of(context)
    with current.engine(collection=evaluation_collection(dataset)) as engine, _progress() as progress:
        report = run(engine, dataset, modes=wanted, split=split, query_ids=queries.value, progress=progress)
    if json_output:
        terminal.say_json(to_json(report))
    else:
        _show(report)
    return 0


def _modes(text: str) -> list[SearchMode]:
    wanted: list[SearchMode] = []
    for name in dict.fromkeys(invocation.names(text) or ()):
        if name not in tuple(Mode):
            raise InputError(f"no mode {name!r}", hint=f"one or more of {', '.join(Mode)}, with commas")
        wanted.append(Mode(name).value)
    if not wanted:
        raise InputError("no mode to measure", hint=f"one or more of {', '.join(Mode)}, with commas")
    return wanted


@contextmanager
def _progress() -> Iterator[Callable[[EvaluationProgress], None]]:
    """A bar on a terminal; nothing in a pipe, where the table is all that counts."""
    from ragstone.cli.indexing import bar

    if not terminal.err().is_terminal:
        yield lambda moment: None
        return
    labels = {"index": "embedding", "search": "asking"}
    with bar() as show:
        yield lambda moment: show(labels[moment.stage], moment.done, moment.total)


def _show(report: EvaluationReport) -> None:
    queries = "1 query" if report.queries == 1 else f"{report.queries:,} queries"
    terminal.say(f"{report.dataset}: {queries}", style="bold")
    terminal.say("mode      nDCG@10  recall@5  recall@10  recall@100  MRR@10    p50 ms    p95 ms")
    for mode, scores in report.modes.items():
        terminal.say(
            f"{mode:<9} {scores.ndcg_10:7.4f} {scores.recall_5:9.4f} {scores.recall_10:10.4f} "
            f"{scores.recall_100:11.4f} {scores.mrr_10:7.4f} {scores.p50_ms:9.2f} {scores.p95_ms:9.2f}"
        )
