"""`backup` and `restore`: collections in one file, and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.indexing import bar, stop_on_signal
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import InputError

if TYPE_CHECKING:
    from ragstone.backup.restoring import RestoreReport
    from ragstone.backup.writing import BackupReport
    from ragstone.settings import Settings

BACKUPS_FOLDER = "backups"
MEGABYTE = 1_000_000


def backup(
    context: typer.Context,
    target: Annotated[
        Path | None,
        typer.Argument(metavar="[TARGET]", help="A new file, or a folder; else <data-dir>/backups."),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every collection of the data directory.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """Copy the index, its memory and votes into one file, while it is in use.

    Nothing is ever overwritten. Keys, settings and a memory in Redis are not in it. Compress it as you like:
    the file is a plain tar with checksums.
    """
    chosen = invocation.of(context)
    settings = chosen.settings()
    with chosen.engine() as engine, _shown("MB copied", json_output=json_output) as progress:
        names = engine.collections() if every else [settings.collection]
        if not names:
            raise InputError(
                f"no collection in {settings.data_dir}", hint="make one with: ragstone index FOLDER"
            )
        with stop_on_signal() as stopped:
            report = engine.backup(
                _target(target, settings, every=every),
                collections=names,
                progress=progress,
                cancelled=stopped,
            )
    if json_output:
        _say_json(report)
        return 0
    terminal.say(f"{terminal.size(report.size_bytes)} in {report.seconds:.1f} s: {report.path}", style="bold")
    for home in report.collections:
        terminal.say(f"{home.name}: {_content(home.documents, home.chunks)}")
    return 0


def _target(given: Path | None, settings: Settings, *, every: bool) -> Path:
    name = f"{'all' if every else settings.collection}-{time.strftime('%Y%m%d-%H%M%S')}.tar"
    if given is None:
        return settings.data_dir / BACKUPS_FOLDER / name
    return given / name if given.is_dir() else given


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `ragstone backup` has written.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a collection that is there.")
    ] = False,
    json_output: JsonFlag = False,
) -> int:
    """Put the collections of a backup back, checked first. What is there is kept, unless --replace.

    --collection NAME restores the only one under another name, or one of several.
    """
    chosen = invocation.of(context)
    with (
        chosen.engine() as engine,
        _shown("MB read", json_output=json_output) as progress,
        stop_on_signal() as stopped,
    ):
        report = engine.restore(
            file, collection=chosen.collection, replace=replace, progress=progress, cancelled=stopped
        )
    if json_output:
        _say_json(report)
        return 0
    said = terminal.count(len(report.collections), "collection")
    terminal.say(f"{said} restored in {report.seconds:.1f} s, as of {report.made}", style="bold")
    for home in report.collections:
        how = ", in the place of the one that was there" if home.replaced else ""
        terminal.say(f"{home.name}: {_content(home.documents, home.chunks)}{how}")
    return 0


def _content(documents: int, chunks: int) -> str:
    return f"{terminal.count(documents, 'document')}, {terminal.count(chunks, 'chunk')}"


def _say_json(report: BackupReport | RestoreReport) -> None:
    from ragstone.wire import plain_json

    terminal.say_json(plain_json(report))


@contextmanager
def _shown(stage: str, *, json_output: bool) -> Iterator[Callable[[int, int], None]]:
    if json_output or not terminal.err().is_terminal:
        yield lambda done, total: None
    else:
        with bar() as show:
            yield lambda done, total: show(stage, done // MEGABYTE, total // MEGABYTE)
