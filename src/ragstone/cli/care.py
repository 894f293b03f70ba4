"""`verify` and `compact`: is the collection all right, and how it is made smaller."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.failures import FAILED
from ragstone.cli.invocation import JsonFlag

if TYPE_CHECKING:
    from ragstone.maintenance import VerifyReport


def verify(context: typer.Context, *, json_output: JsonFlag = False) -> int:
    """Read every byte of the collection and compare its parts. Exit status 1: something is damaged."""
    with invocation.of(context).engine() as engine:
        report = engine.verify()
    if json_output:
        terminal.say_json(_report_json(report))
    else:
        _show_report(report)
    return 0 if report.ok else FAILED


def _report_json(report: VerifyReport) -> dict[str, object]:
    from ragstone.wire import plain_json

    found = plain_json(report)
    return {"ok": report.ok, **found}


def _show_report(report: VerifyReport) -> None:
    read = f"{terminal.count(report.segments, 'segment')}, {terminal.count(report.chunks, 'chunk')}"
    wrong = terminal.count(len(report.problems), "problem") if report.problems else "no problem"
    terminal.say(f"{wrong}: {read}, {terminal.size(report.bytes_read)} read", style="bold")
    for problem in report.repaired:
        terminal.say(f"mended {problem.where}: {problem.message}", style="green")
    for problem in report.problems:
        terminal.say(f"{problem.code}: {problem.where}: {problem.message}", style="red")
    if any(problem.repairable for problem in report.problems):
        terminal.note("hint: ragstone doctor --repair mends this")


def compact(
    context: typer.Context,
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also leave nothing of deleted documents in any file.")
    ] = False,
    json_output: JsonFlag = False,
) -> int:
    """Rewrite the index as one segment, as it suits the collection's size; searching goes on meanwhile."""
    started_s = time.perf_counter()
    with invocation.of(context).engine() as engine:
        before = engine.stats()
        if purge:
            engine.purge()
        else:
            engine.compact()
        after = engine.stats()
    took_s = time.perf_counter() - started_s
    if json_output:
        terminal.say_json(
            {
                "segments": after.segments,
                "index_types": list(after.index_types),
                "tombstones_removed": before.tombstones - after.tombstones,
                "bytes": after.bytes,
                "purged": purge,
                "seconds": round(took_s, 3),
            }
        )
        return 0
    made = ", ".join(after.index_types) or "nothing to search"
    terminal.say(
        f"{terminal.count(before.segments, 'segment')} rewritten in {took_s:.1f} s: {made}", style="bold"
    )
    if before.tombstones:
        terminal.say(f"{terminal.count(before.tombstones, 'deleted chunk')} removed from the index")
    terminal.say(f"{terminal.size(before.bytes)} before, {terminal.size(after.bytes)} now")
    return 0
