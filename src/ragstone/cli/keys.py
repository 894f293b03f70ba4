"""`keys`: who may use the service. A key is shown once, when it is made."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import JsonFlag
from ragstone.keys import Key, KeyStore

app = typer.Typer(name="keys", help="Make, list and revoke the service's keys.", no_args_is_help=True)


@app.command(epilog="Example: ragstone keys add laptop --may write --only papers,notes --days 90")
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is, as the log will say.")],
    *,
    may: Annotated[Literal["read", "write", "admin"], typer.Option(help="What it allows.")] = "read",
    only: Annotated[
        str | None, typer.Option("--only", help="These collections alone: papers,notes. Without: all.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="How long it is good. Without: until revoked.")] = None,
    json_output: JsonFlag = False,
) -> int:
    """Make a key and show it, this once."""
    key, secret = _store(context).add(name, permission=may, collections=invocation.names(only), days=days)
    if json_output:
        terminal.say_json({"key": secret, **_plain(key)})
        return 0
    terminal.say(secret, style="bold")
    terminal.note("it is shown only now; send it as: Authorization: Bearer <key>")
    return 0


@app.command("list", epilog="Example: ragstone keys list --json")
def list_keys(context: typer.Context, *, json_output: JsonFlag = False) -> int:
    """List the keys, without their secrets."""
    keys = _store(context).keys()
    if json_output:
        terminal.say_json({"keys": [_plain(key) for key in keys]})
        return 0
    terminal.say(terminal.count(len(keys), "key"), style="bold")
    for key in keys:
        where = "all" if key.collections is None else ",".join(key.collections)
        terminal.say(
            f"{key.id}  {key.permission:<5}  {_state(key):<20}  {where}  {terminal.one_line(key.name)}"
        )
    return 0


@app.command(epilog="Example: ragstone keys revoke laptop")
def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name or id.")],
    *,
    json_output: JsonFlag = False,
) -> int:
    """End a key; a running service refuses it at once."""
    key = _store(context).revoke(name)
    if json_output:
        terminal.say_json(_plain(key))
    else:
        terminal.say(f"revoked {key.id} ({terminal.one_line(key.name)})", style="bold")
    return 0


def _store(context: typer.Context) -> KeyStore:
    return KeyStore(Path(invocation.of(context).settings().data_dir))


def _plain(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "permission": key.permission,
        "collections": None if key.collections is None else list(key.collections),
        "state": _state(key),
    }


def _state(key: Key) -> str:
    if key.revoked_s is not None:
        return "revoked"
    if not key.is_current(time.time()):
        return "expired"
    if key.expires_s is None:
        return "current"
    return f"until {datetime.fromtimestamp(key.expires_s, UTC):%Y-%m-%d}"
