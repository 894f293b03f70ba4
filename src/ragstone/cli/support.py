"""`support bundle`: what somebody who helps needs to see, in one file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from ragstone.cli import doctor, invocation, terminal
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import SettingsError

app = typer.Typer(name="support", help="Help others help you.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Help others help you."""


@app.command("bundle", epilog="Example: ragstone support bundle report.zip")
def bundle(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Where to write it; here with the time, if left out."),
    ] = None,
    *,
    json_output: JsonFlag = False,
) -> int:
    """Write versions, settings, checks, counts and log ends into a zip file; no documents, no secrets."""
    from ragstone import support
    from ragstone.wire import plain_json

    current = invocation.of(context)
    target = path or Path(time.strftime("ragstone-support-%Y%m%d-%H%M%S.zip"))
    findings = plain_json(doctor.examine(current))
    try:
        settings = current.settings()
    except SettingsError:  # doctor's findings say what is wrong with them
        settings = None
    files = support.contents(settings, findings, environ=os.environ)
    support.write(target, files)
    if json_output:
        terminal.say_json({"path": str(target), "bytes": target.stat().st_size, "files": sorted(files)})
        return 0
    terminal.say(
        f"{target}: {terminal.size(target.stat().st_size)}, {terminal.count(len(files), 'file')}",
        style="bold",
    )
    terminal.say(files["README.txt"].rstrip().rpartition("\n\n")[2])
    return 0
