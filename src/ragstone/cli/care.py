"""`verify` and `doctor`: is everything all right, and what to do if not."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.failures import FAILED, unexpected
from ragstone.cli.invocation import Invocation, JsonFlag
from ragstone.errors import NotFoundError, RagstoneError
from ragstone.version import __version__

if TYPE_CHECKING:
    from ragstone.engine import Ragstone
    from ragstone.maintenance import Problem, VerifyReport
    from ragstone.settings import Settings

# 1 GB: the prepared model takes 50 MB and a folder of 10,000 files some hundred; less is soon full.
LEAST_FREE_BYTES = 1_000_000_000


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


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check of `doctor` found; `status` is the exit status if it is the first that failed."""

    check: str
    ok: bool
    message: str
    hint: str
    status: int


def doctor(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """Check the installation and the store, and mend it.

    Exit status is that of the first check that failed: versions 10, settings 2, folder 11, disk 12, model 13,
    service 14, store 15.
    """
    current = invocation.of(context)
    installed = _checked("versions", 10, _versions)
    findings = [installed]
    settings: Settings | None = None

    def load() -> str:
        nonlocal settings
        settings = current.settings()
        changed = [name for name, origin in settings.origins.items() if origin != "default"]
        return f"read; {', '.join(changed)} set" if changed else "read; all defaults"

    findings.append(_checked("settings", 2, load))
    if settings is not None:
        data_dir = settings.data_dir
        findings.append(_checked("folder", 11, lambda: _folder(data_dir)))
        findings.append(_checked("disk", 12, lambda: _disk(data_dir)))
    if settings is not None and installed.ok:
        findings.append(_checked("model", 13, lambda: _model(current)))
        findings.append(_checked("service", 14, _service))
        with current.engine() as engine:
            findings.append(_checked("store", 15, lambda: _store(engine, repair=repair)))
    if json_output:
        from ragstone.wire import plain_json

        terminal.say_json({"ok": all(f.ok for f in findings), "checks": plain_json(findings)})
    else:
        _show_findings(findings)
    return next((finding.status for finding in findings if not finding.ok), 0)


def _checked(check: str, status: int, run: Callable[[], str]) -> Finding:
    """The finding of one check; whatever goes wrong in it, the next checks run."""
    try:
        return Finding(check, ok=True, message=run(), hint="", status=status)
    except RagstoneError as error:
        return Finding(check, ok=False, message=error.message, hint=error.hint, status=status)
    except Exception as error:  # noqa: BLE001 - a broken installation fails in ways of its own; it is reported
        found = unexpected(error)
        return Finding(check, ok=False, message=found.message, hint=found.hint, status=status)


def _show_findings(findings: list[Finding]) -> None:
    from rich.text import Text

    failed = sum(not finding.ok for finding in findings)
    verdict = f"{terminal.count(failed, 'check')} failed" if failed else "everything is in order"
    terminal.say(verdict, style="bold red" if failed else "bold")
    for finding in findings:
        mark = ("ok    ", "green") if finding.ok else ("failed", "red")
        terminal.say(Text.assemble(mark, f"  {finding.check:<9} {terminal.clean(finding.message)}"))
        if finding.hint:
            terminal.say(f"        {'':<9} hint: {terminal.clean(finding.hint)}")


def _versions() -> str:
    import apsw

    import ragstone.engine  # noqa: F401 - a package that is there but does not load shows here

    versions = [f"ragstone {__version__}", f"Python {platform.python_version()}"]
    for package in ("faiss-cpu", "onnxruntime", "tantivy", "tokenizers"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError as error:
            raise RagstoneError(f"{package} is not installed", hint="pip install ragstone") from error
    versions.append(f"SQLite {apsw.sqlite_lib_version()}")
    # Older ones can lose a committed write when a WAL file is reset.
    if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < (3, 51, 3):
        raise RagstoneError(
            f"SQLite is {apsw.sqlite_lib_version()}, 3.51.3 is needed", hint="pip install --upgrade apsw"
        )
    return ", ".join(versions)


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _folder(data_dir: Path) -> str:
    nearest = _nearest_existing(data_dir)
    if not nearest.is_dir():
        raise RagstoneError(f"{nearest} is not a folder", hint="choose another one with --data-dir")
    if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        raise RagstoneError(f"{nearest} cannot be written", hint="give yourself the right, or set --data-dir")
    return f"{data_dir} can be written" if nearest == data_dir else f"{data_dir} will be made when needed"


def _disk(data_dir: Path) -> str:
    free = shutil.disk_usage(_nearest_existing(data_dir)).free
    if free < LEAST_FREE_BYTES:
        raise RagstoneError(
            f"{terminal.size(free)} free where {data_dir} is, less than {terminal.size(LEAST_FREE_BYTES)}",
            hint="make room, or choose another disk with --data-dir",
        )
    return f"{terminal.size(free)} free"


def _model(current: Invocation) -> str:
    started_s = time.perf_counter()
    # On a collection that does not exist, warming up loads the model and neither checks nor mends a store.
    with current.engine(collection="no-collection.doctor") as engine:
        engine.warm_up()
    return f"loaded and embedding in {time.perf_counter() - started_s:.1f} s"


def _service() -> str:
    for package in ("fastapi", "uvicorn"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise RagstoneError(
                f"{package} is not installed, so `serve` does not work", hint="pip install 'ragstone[server]'"
            ) from error
    return "installed"


def _store(engine: Ragstone, *, repair: bool) -> str:
    try:
        report = engine.repair() if repair else engine.verify()
    except NotFoundError:
        return "nothing indexed yet"
    if not report.ok:
        raise RagstoneError("; ".join(map(_said, report.problems)), hint=_next_step(report, repair=repair))
    mended = f", mended: {'; '.join(map(_said, report.repaired))}" if report.repaired else ""
    return f"{terminal.count(report.chunks, 'chunk')}, {terminal.size(report.bytes_read)} read, no problem{mended}"


def _said(problem: Problem) -> str:
    return f"{problem.where}: {problem.message}"


def _next_step(report: VerifyReport, *, repair: bool) -> str:
    if not repair and any(problem.repairable for problem in report.problems):
        return "ragstone doctor --repair"
    return "restore the collection from a backup, or index the documents again into another --collection"
