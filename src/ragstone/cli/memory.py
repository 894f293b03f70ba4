"""`memory add|search|forget|audit|consolidate`: what is remembered beside a collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import InputError

if TYPE_CHECKING:
    from ragstone.memory.audit import AuditLine
    from ragstone.memory.recalling import Recalled
    from ragstone.memory.store import MemoryStore
    from ragstone.types import Memory

app = typer.Typer(
    name="memory",
    help="Statements to remember beside a collection: add, search, audit, forget.",
    no_args_is_help=True,
)

TierOption = Annotated[
    str | None,
    typer.Option("--tier", help="working, short_term, long_term, episodic or semantic."),
]


@app.command(epilog="Example: ragstone memory add 'The boiler was serviced in May.' --importance 0.8")
def add(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="A statement.")],
    *,
    tier: TierOption = "long_term",
    importance: Annotated[float, typer.Option(help="0 to 1; recall ranks by it.")] = 0.5,
    source: Annotated[str, typer.Option(help="Who says so; `assistant` for an answer.")] = "user",
    json_output: JsonFlag = False,
) -> int:
    """Remember a statement, unless it is known or an answer of ours; a newer one supersedes what it contradicts."""
    with opened(context) as store:
        stored = store.add(text, tier=tier or "long_term", importance=importance, source=source)
    if json_output:
        from ragstone.wire import plain_json

        terminal.say_json(plain_json(stored))
        return 0
    terminal.say(f"{stored.outcome} {stored.id or ''}".strip() + f": {stored.because}", style="bold")
    for verb, ids in (("superseded", stored.superseded), ("let go, the tier is full:", stored.evicted)):
        if ids:
            terminal.say(f"{verb} {', '.join(ids)}")
    return 0


@app.command(epilog="Example: ragstone memory search 'heating' -k 3")
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    *,
    limit: Annotated[int, typer.Option("--top-k", "-k", help="Memories to show.")] = 10,
    tier: TierOption = None,
    json_output: JsonFlag = False,
) -> int:
    """Show the memories that fit best, by meaning and words and importance."""
    with opened(context, create=False) as store:
        found = store.search(query, tier=tier, limit=limit)
    if json_output:
        terminal.say_json({"memories": [_memory_json(item) for item in found]})
        return 0
    terminal.say(f"{len(found):,} found" if found else "nothing found", style="dim")
    for item in found:
        _show_memory(item)
    return 0


@app.command(epilog="Example: ragstone memory forget m12 m13")
def forget(
    context: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As `search` and `audit` show.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Forget everything.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """Remove memories so that no file holds a byte of them. There is no way back."""
    if bool(ids) == everything:
        raise InputError("say which memories to forget", hint="ids like m12, or --all; not both")
    with opened(context, create=False) as store:
        forgotten = store.forget([entry.id for entry in store.entries()] if everything else ids or [])
    if json_output:
        terminal.say_json({"forgotten": forgotten})
        return 0
    terminal.say(f"{forgotten:,} forgotten; no file holds them any more", style="bold")
    return 0


@app.command(epilog="Example: ragstone memory audit --faults")
def audit(
    context: typer.Context,
    *,
    faults: Annotated[bool, typer.Option("--faults", help="Only what is wrong or nearly over.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """List every memory and why it is kept: duplicates, answers that came back, contradictions, what ends soon."""
    with opened(context, create=False) as store:
        report = store.audit()
    lines = [line for line in report.lines if not faults or _remarks(line)]
    if json_output:
        terminal.say_json({"counts": report.counts, "memories": [_audit_json(line) for line in lines]})
        return 0
    terminal.say(", ".join(f"{number:,} {name}" for name, number in report.counts.items()), style="bold")
    for line in lines:
        terminal.say(f"{line.entry.id:<6} {terminal.one_line(line.entry.text)}")
        terminal.say(f"       {line.because}", style="dim")
        for remark in _remarks(line):
            terminal.say(f"       {remark}", style="yellow")
    return 0


@app.command(epilog="Example: ragstone memory consolidate --json")
def consolidate(context: typer.Context, *, json_output: JsonFlag = False) -> int:
    """Remove what has expired and move what proved worth keeping one tier up."""
    with opened(context, create=False) as store:
        expired = store.cleanup_expired()
        done = store.consolidate()
    if json_output:
        from ragstone.wire import plain_json

        terminal.say_json({"expired": expired, **plain_json(done)})
        return 0
    terminal.say(f"{len(done.promoted):,} promoted, {expired:,} expired", style="bold")
    for promotion in done.promoted:
        terminal.say(f"{promotion.id:<6} {promotion.from_tier} → {promotion.to_tier}")
    if done.no_room:
        terminal.note(f"{done.no_room:,} more found their next tier full", style="yellow")
    return 0


@contextmanager
def opened(context: typer.Context, *, create: bool = True) -> Iterator[MemoryStore]:
    """The collection's memory, closed at the end with its model."""
    from ragstone.memory.opening import open_memory, settings_embedder

    settings = invocation.of(context).settings()
    invocation.log_to(settings)
    embedder = settings_embedder(settings)
    try:
        with open_memory(settings, embedder=embedder, create=create) as store:
            yield store
    finally:
        embedder.close()


def remember(store: MemoryStore, text: str, *, json_output: bool) -> None:
    """Keep a statement of the person who asks, and say what became of it."""
    from ragstone.wire import plain_json

    stored = store.add(text, tier="long_term", importance=0.8)  # asked for in so many words
    if json_output:
        terminal.say_json(plain_json(stored))
    else:
        terminal.say(f"{stored.outcome} {stored.id or ''}".strip() + f": {stored.because}", style="dim")


def _memory_json(item: Recalled) -> dict[str, Any]:
    """A found memory: its fields, `score` and `sources`."""
    from ragstone import wire

    scores = {"score": round(item.score, 6), "sources": wire.plain_json(item.sources)}
    return {**wire.memory_json(item.entry), **scores}


def show_memory(memory: Memory, *, remark: str = "") -> None:
    """A memory as a source of its own kind: id, score and who said it, then its words."""
    from rich.text import Text

    facts = f"  {memory.score:.2f}  {memory.tier}, said by {terminal.one_line(memory.source)}{remark}"
    terminal.say(Text.assemble((f"memory {memory.id}", "bold"), (facts, "dim")))
    terminal.say(Text(f"    {terminal.one_line(memory.text)}"))


def _show_memory(item: Recalled) -> None:
    by = item.entry.superseded_by
    show_memory(item.as_memory(), remark=f", superseded by {by}" if by else "")


def _audit_json(line: AuditLine) -> dict[str, Any]:
    from ragstone import wire

    fields = wire.plain_json(line)
    del fields["entry"]
    return {**wire.memory_json(line.entry), **fields}


def _remarks(line: AuditLine) -> list[str]:
    return [
        remark
        for remark, holds in (
            (f"duplicate of {line.duplicate_of}", line.duplicate_of),
            (f"an answer of ours, made from {line.repeats}", line.repeats),
            ("an answer of ours, kept on request", line.entry.loop),
            (f"superseded by {line.superseded_by}", line.superseded_by),
            ("ends soon", line.expiring),
        )
        if holds
    ]
