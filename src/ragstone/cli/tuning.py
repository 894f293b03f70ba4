"""`tune` and `recommend`: which index suits this collection, measured or by rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.failures import FAILED
from ragstone.cli.indexing import bar, stop_on_signal
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import CancelledError, InputError

if TYPE_CHECKING:
    from ragstone.engine import Ragstone
    from ragstone.index.tuner import TuningProgress
    from ragstone.index.tuning_results import Targets, TuningResult, TuningRun
    from ragstone.types import Matrix

_FRONT_COLUMNS = "   p95 ms  recall@10  recall@100     memory    build  setting"

_LEFT_OUT = {
    "invalid": "cannot be built",
    "pruned": "had no prospect",
    "budget": "had no time left",
    "stopped": "were not reached",
}


class Aim(Enum):
    """What the best setting has most of, among those that meet the targets."""

    latency = "latency"
    memory = "memory"
    recall = "recall"


RecallOption = Annotated[float, typer.Option(metavar="SHARE", help="Of the nearest, how many to find.")]
MemoryOption = Annotated[
    float | None, typer.Option("--memory-mb", metavar="MB", help="What the index may keep in memory.")
]


def tune(
    context: typer.Context,
    *,
    recall: RecallOption = 0.95,
    p95_ms: Annotated[
        float | None, typer.Option("--p95-ms", metavar="MS", help="How long 19 of 20 searches may take.")
    ] = None,
    memory_mb: MemoryOption = None,
    objective: Annotated[Aim, typer.Option(help="What counts most within the targets.")] = Aim.latency,
    budget: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time for measuring; 0 measures everything.")
    ] = 60.0,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Query vectors, .npy; else made from stored ones.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all results as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the results as SVG.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Switch the collection to the best setting.")
    ] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Undo the last switch instead.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """Measure indexes on the collection's own vectors and name the best for your targets.

    Searches go on meanwhile. Exit status 1: no setting meets the targets; the nearest is shown, none is applied.
    """
    if rollback:
        return _roll_back(context, json_output=json_output)
    from ragstone.index_tuning import Wish, tune_collection

    asked = None if queries is None else _query_vectors(queries)
    with invocation.of(context).engine() as engine:
        wish = Wish(recall, p95_ms, memory_mb, objective.value, budget or None)
        with stop_on_signal() as stopped, _progress() as progress:
            tuned = tune_collection(engine, wish, queries=asked, progress=progress, cancelled=stopped)
        run, best = tuned.run, tuned.best
        _write_files(run, best, wish.targets, out=out, picture=picture)
        if run.stopped and apply:
            raise CancelledError("stopped; nothing was applied", hint="run it again, with a smaller --budget")
        applied = apply and not best.missed
        if applied:
            engine.apply_plan(best.plan, recall=recall)
    if json_output:
        terminal.say_json({**tuned.to_json(), "applied": applied})
    else:
        _show(run, best, applied=applied, wanted=apply)
    return FAILED if best.missed else 0


def recommend(
    context: typer.Context,
    *,
    vectors: Annotated[
        int | None, typer.Option(metavar="N", help="For so many vectors; else for the collection's.")
    ] = None,
    dim: Annotated[int, typer.Option(metavar="D", help="Numbers in a vector, with --vectors.")] = 384,
    memory_mb: MemoryOption = None,
    recall: RecallOption = 0.95,
    json_output: JsonFlag = False,
) -> int:
    """Say which index suits a collection by its size, and why; measures nothing."""
    from ragstone.index.recommending import recommend as run
    from ragstone.index_tuning import recommendation_json

    if vectors is None:
        with invocation.of(context).engine() as engine:
            vectors, dim = _size(engine)
    found = run(vectors, dim, memory_mb, recall)
    if json_output:
        terminal.say_json(recommendation_json(found, vectors, dim))
    else:
        terminal.say(f"{found.plan} for {terminal.count(vectors, 'vector')} of {dim} numbers", style="bold")
        for reason in found.reasons:
            terminal.say(f"- {reason}")
    return 0


def _size(engine: Ragstone) -> tuple[int, int]:
    stats = engine.stats()
    if not stats.chunks or stats.dim is None:
        raise InputError(
            f"the collection {stats.collection} is empty",
            hint="ragstone recommend --vectors 100000 --dim 384",
        )
    return stats.chunks, stats.dim


def _roll_back(context: typer.Context, *, json_output: bool) -> int:
    with invocation.of(context).engine() as engine:
        plan = engine.rollback_plan()
    if json_output:
        terminal.say_json({"plan": None if plan is None else plan.to_json()})
    else:
        said = f"back to {plan}" if plan is not None else "back to what its size asks for"
        terminal.say(f"{said}; searches use it now", style="bold")
    return 0


def _query_vectors(path: Path) -> Matrix:
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path} is no file of vectors: {error}", hint="numpy.save(FILE, vectors)"
        ) from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path} holds several arrays", hint="numpy.save(FILE, vectors), not savez")
    return found


@contextmanager
def _progress() -> Iterator[Callable[[TuningProgress], None]]:
    """On a terminal the plan at hand and how many are dealt with; nothing in a pipe."""
    if not terminal.err().is_terminal:
        yield lambda moment: None
        return
    with bar() as show:
        yield lambda moment: show(moment.plan, moment.done, moment.total)


def _write_files(
    run: TuningRun, best: TuningResult, targets: Targets, *, out: Path | None, picture: Path | None
) -> None:
    from ragstone.index.tuning_report import write_picture, write_results

    if out is not None:
        write_results(out, run, best)
    if picture is not None:
        write_picture(picture, run, best, targets)


def _show(run: TuningRun, best: TuningResult, *, applied: bool, wanted: bool) -> None:
    from ragstone.index.tuning_results import pareto_front

    terminal.say(str(best), style="bold")
    terminal.say(
        f"p95 {best.p95_ms:.3g} ms · recall@10 {best.recall_10:.3f} · {terminal.size(best.memory_bytes)} in memory "
        f"· built in {best.build_s:.1f} s"
    )
    if best.confirmed is not None:
        again = best.confirmed
        terminal.say(
            f"measured again in a process of its own: p95 {again.p95_ms:.3g} ms · recall@10 {again.recall_10:.3f} "
            f"· {terminal.size(again.resident_bytes)} resident"
        )
    for reason in best.reasons:
        terminal.say(reason)
    for miss in best.missed:
        terminal.say(f"misses its target: {miss}", style="red")
    terminal.say()
    terminal.say("settings that none beats in p95, memory and recall together:")
    terminal.say(_FRONT_COLUMNS)
    for result in pareto_front(run):
        terminal.say(
            f"{result.p95_ms:9.3f} {result.recall_10:10.3f} {result.recall_100:11.3f} "
            f"{terminal.size(result.memory_bytes):>10} {result.build_s:6.1f} s  {result}"
        )
    terminal.say()
    terminal.say(_account(run))
    if applied:
        terminal.say("applied: the collection is searched with it now", style="bold green")
    elif wanted:
        terminal.say("not applied: it misses a target", style="red")


def _account(run: TuningRun) -> str:
    plans = len({str(result.plan) for result in run})
    left_out = Counter[str](plan.why for plan in run.skipped)
    rest = [f"{left_out[why]} {words}" for why, words in _LEFT_OUT.items() if left_out[why]]
    tail = f"; {', '.join(rest)} (--json says why)" if rest else ""
    measured = f"{terminal.count(len(run), 'setting')} of {terminal.count(plans, 'plan')} measured"
    with_what = f"{terminal.count(run.count, 'vector')} with {run.n_queries} queries ({run.queries})"
    return f"{measured} on {with_what} in {run.seconds:.0f} s{tail}"
