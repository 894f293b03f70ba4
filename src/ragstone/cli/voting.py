"""`vote`, `votes`: say which hits were right; later searches follow, within a bound."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import JsonFlag
from ragstone.cli.searching import located
from ragstone.errors import NotFoundError


def vote(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What was searched for.")],
    *,
    hit: Annotated[int, typer.Option("--hit", min=1, max=100, help="Which hit, as `search` numbers them.")],
    down: Annotated[bool, typer.Option("--down", help="It was wrong. Without this: right.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """Say that a hit was right, or wrong, for a query: it moves, for that query and others that ask the same."""
    with invocation.of(context).engine() as engine:
        hits = engine.search(query, top_k=hit).hits
        if len(hits) < hit:
            raise NotFoundError(f"that search has {len(hits)} hits, not {hit}; nothing was changed")
        chosen = hits[hit - 1]
        given = engine.vote(query, chosen.id, -1.0 if down else 1.0)
    if json_output:
        terminal.say_json({"vote": given, "id": chosen.id, "uri": chosen.uri, "value": -1.0 if down else 1.0})
        return 0
    place = located(chosen.uri, chosen.page, chosen.time_s)
    terminal.say(f"vote {given} {'against' if down else 'for'} {place}", style="bold")
    terminal.note(f"take it back with: ragstone votes --undo {given}")
    return 0


def votes(
    context: typer.Context,
    *,
    undo: Annotated[list[int] | None, typer.Option("--undo", metavar="ID", help="Take a vote back.")] = None,
    undo_all: Annotated[bool, typer.Option("--undo-all", help="Take all of them back.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """List the votes, or take some back."""
    with invocation.of(context).engine() as engine:
        if undo or undo_all:
            removed = engine.take_back_votes(None if undo_all else undo)
            if json_output:
                terminal.say_json({"taken_back": removed})
            else:
                terminal.say(f"{terminal.count(removed, 'vote')} taken back", style="bold")
            return 0 if removed or undo_all else 1
        listed = engine.votes()
    if json_output:
        terminal.say_json({"votes": [asdict(given) for given in listed]})
        return 0
    terminal.say(terminal.count(len(listed), "vote"), style="bold")
    for given in listed:
        terminal.say(
            f"{given.id}  {given.value:+g}  chunk {given.chunk_id}  {terminal.one_line(given.query)}"
        )
    return 0
