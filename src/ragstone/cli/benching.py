"""`bench`: how fast a collection is searched on this machine, and how much its index finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import InputError

if TYPE_CHECKING:
    from ragstone.measuring_searches import SearchFigures
    from ragstone.monitoring.records import Latency

STAGE_MS = 0.05  # p95; stages that take less are in the JSON alone
_COLUMNS = f"{'':<18}{'p50 ms':>10}{'p90 ms':>10}{'p95 ms':>10}{'p99 ms':>10}{'searches':>10}"


def bench(
    context: typer.Context,
    *,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Queries, one a line; else words of the documents.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=256, help="Callers at once; else one a processor.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=3600, help="About how long to measure.")
    ] = 20.0,
    json_output: JsonFlag = False,
) -> int:
    """Measure searches of the collection as it is: latency by mode and stage, threads, recall, memory, first search.

    Nothing is written to the collection, and nothing kept from earlier searches helps. What else runs meanwhile counts.
    """
    from ragstone.measuring_searches import fresh_search, measure_searches, queries_of

    asked = None if queries is None else _lines(queries)
    current = invocation.of(context)
    with current.engine(search_cache=0) as engine:
        asked = asked or queries_of(engine)
        figures = measure_searches(
            engine,
            asked,
            seconds=seconds,
            threads=threads or os.cpu_count() or 1,
            cold_command=fresh_search(engine, asked[0], config=current.config),
            progress=_say_part if terminal.err().is_terminal else lambda part: None,
        )
        report, summary = engine.monitor.report(), engine.monitor.summary()
    if json_output:
        from ragstone.wire import plain_json

        terminal.say_json({**plain_json(figures), "monitor": report})
    else:
        _show(figures)
        terminal.say()
        terminal.say(summary, style="dim")
    return 0


def _lines(path: Path) -> list[str]:
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="a text file with one query a line"
        ) from error
    asked = [line for line in found if line]
    if not asked:
        raise InputError(f"{path} holds no query", hint="a text file with one query a line")
    return asked


def _say_part(part: str) -> None:
    terminal.note(f"measuring: {part}", style="dim")


def _show(found: SearchFigures) -> None:
    terminal.say(
        f"{found.collection}: {terminal.count(found.documents, 'document')}, "
        f"{terminal.count(found.chunks, 'chunk')}, {terminal.size(found.bytes)} on disk "
        f"({', '.join(found.index_types) or 'no segment'})",
        style="bold",
    )
    terminal.say(_COLUMNS)
    for mode, latencies in found.latencies_ms.items():
        for name, latency in latencies.items():
            stage = name.partition(".")[2]
            if not stage or latency.p95 >= STAGE_MS:
                terminal.say(_row(f"  {stage}" if stage else mode, latency))
    for mode, why in found.left_out.items():
        terminal.say(f"{mode}: left out, {terminal.one_line(why)}", style="yellow")
    callers = found.throughput
    terminal.say(_row(terminal.count(callers.threads, "thread"), callers.latency_ms))
    terminal.say()
    terminal.say(
        f"throughput   {callers.per_second:,.1f} hybrid searches a second by {callers.threads} at once"
    )
    if found.recall is not None:
        share = found.recall
        terminal.say(
            f"recall@{share.top_k}    {share.mean:.4f} of the exactly nearest; {share.samples} {share.of}"
        )
    if found.cold is not None:
        cold = found.cold
        terminal.say(
            f"first search {cold.process_ms:,.0f} ms for a whole fresh process, {cold.search_ms:,.0f} ms of them "
            f"open the collection and search; median of {cold.runs}"
        )
    if found.resident_bytes is not None:
        terminal.say(f"memory       {terminal.size(found.resident_bytes)} resident, model included")
    terminal.say(f"measured     {found.seconds:.1f} s, {found.queries:,} different queries")
    if found.changed:
        terminal.note(
            "the collection was written to meanwhile: the figures are of several states", style="yellow"
        )
    for part in found.degraded:
        terminal.note(f"without {part.source}: {terminal.one_line(part.reason)}", style="yellow")


def _row(name: str, found: Latency) -> str:
    return f"{name:<18}{found.p50:>10.2f}{found.p90:>10.2f}{found.p95:>10.2f}{found.p99:>10.2f}{found.count:>10,}"
