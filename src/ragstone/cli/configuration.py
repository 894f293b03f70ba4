"""`config show`: every setting, its value, and where that came from."""

from __future__ import annotations

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import JsonFlag

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
