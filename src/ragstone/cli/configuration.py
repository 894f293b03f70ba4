"""`config show`: every setting, its value, and where that came from. `config migrate`: files of earlier services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import InputError

app = typer.Typer(
    name="config", help="Settings: what they are and where they come from.", no_args_is_help=True
)


@app.command(epilog="Example: ragstone config show")
def show(context: typer.Context, *, json_output: JsonFlag = False) -> int:
    """Show every setting, its value (secrets masked) and its origin, strongest source first:
    arguments, environment, .env, ragstone.toml, default."""
    settings = invocation.of(context).settings()
    values, origins = settings.shown(), settings.origins
    if json_output:
        rows = [
            {
                "name": name,
                "value": value,
                "origin": origins[name],
                "description": type(settings).model_fields[name].description,
            }
            for name, value in values.items()
        ]
        terminal.say_json({"settings": rows})
        return 0
    for name, value in values.items():
        shown = "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        style = None if origins[name] == "default" else "bold"
        terminal.say(f"{name:<20} {terminal.clean(shown):<28} {terminal.clean(origins[name])}", style=style)
    return 0


@app.command(epilog="Example: ragstone config migrate config/ml/faiss.yaml --write")
def migrate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .env, .yaml, .toml or .py file.")],
    *,
    to: Annotated[
        Literal["HNSW", "OPQ+HNSW"], typer.Option(help="The index type that takes IVF's place.")
    ] = "HNSW",
    write: Annotated[
        bool, typer.Option("--write", help="Change the file; the old one is kept as FILE.bak.")
    ] = False,
    json_output: JsonFlag = False,
) -> int:
    """Show how a configuration of an earlier service reads now, as a diff.

    Environment files, YAML, Helm values, TOML and calls in Python; everything else in the file stays as it is.
    """
    from ragstone.importers.config_migration import migrate_file

    migrated = migrate_file(file, index_type=to)
    changed = migrated.after != migrated.before
    if write and changed:
        kept = file.with_name(f"{file.name}.bak")
        if kept.exists():
            raise InputError(f"{kept} exists", hint="a backup is never written over: move it away first")
        kept.write_bytes(file.read_bytes())
        file.write_text(migrated.after, encoding="utf-8")
    if json_output:
        terminal.say_json(
            {
                "file": str(file),
                "kind": migrated.kind,
                "changes": list(migrated.changes),
                "after": migrated.after,
                "written": write and changed,
            }
        )
        return 0
    if changed:
        terminal.say_raw(migrated.diff(file.name).rstrip("\n"))
    for change in migrated.changes:
        terminal.note(f"note: {terminal.one_line(change)}")
    if not changed:
        terminal.say("nothing to change")
    return 0
