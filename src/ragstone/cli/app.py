"""The `ragstone` command: global options, the list of commands, and the one place where a run begins and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from ragstone.cli import (
    asking,
    benching,
    care,
    configuration,
    copies,
    doctor,
    documents,
    evaluating,
    explaining,
    importing,
    indexing,
    keys,
    mcp,
    memory,
    searching,
    serving,
    support,
    tuning,
    voting,
    watching,
)
from ragstone.cli.failures import PIPE_CLOSED, guarded
from ragstone.cli.invocation import Invocation
from ragstone.cli.terminal import prepare_streams
from ragstone.version import __version__

GLOBAL_OPTIONS = ("--data-dir", "--collection", "--config")

app = typer.Typer(
    name="ragstone",
    help="Index folders of documents, search them, and get answers with checked sources.",
    epilog="Example: ragstone index ~/notes && ragstone ask 'when is the roof due?'",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: fits a screen, greps well, no boxes
)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"ragstone {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    data_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Where indexes live.")] = None,
    collection: Annotated[str | None, typer.Option(metavar="NAME", help="Which index to use.")] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="Settings file (TOML).")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take note of the options that all commands share."""
    context.obj = Invocation(data_dir=data_dir, collection=collection, config=config)


def _add(command: Callable[..., int], name: str, example: str) -> None:
    app.command(name, epilog=f"Example: {example}")(command)


_add(indexing.index, "index", "ragstone index ~/papers ~/notes")
_add(watching.watch, "watch", "ragstone watch ~/papers ~/notes")
_add(searching.search, "search", 'ragstone search "tidal range" --filter "type:pdf date>=2024"')
_add(explaining.explain, "explain", 'ragstone explain "tidal range" --expect guides/tides.md')
_add(asking.ask, "ask", 'ragstone ask "Who signs off the maintenance log?"')
_add(asking.chat, "chat", "ragstone chat --filter path:handbook/** --memory")
_add(serving.serve, "serve", "ragstone serve ~/papers --open")
_add(serving.model_server, "model-server", "ragstone model-server --workers 4 --devices 0,1")
_add(mcp.mcp, "mcp", "ragstone mcp --collection papers")
_add(voting.vote, "vote", 'ragstone vote "when does the ferry leave" --hit 2')
_add(voting.votes, "votes", "ragstone votes --undo 7")
_add(documents.list_documents, "list", "ragstone list --filter type:markdown")
_add(documents.delete, "delete", "ragstone delete notes/old-plan.md")
_add(care.verify, "verify", "ragstone verify --json")
_add(documents.stats, "stats", "ragstone stats --collection papers")
_add(doctor.doctor, "doctor", "ragstone doctor --repair")
_add(care.compact, "compact", "ragstone compact --purge")
_add(copies.backup, "backup", "ragstone backup /mnt/disk")
_add(copies.restore, "restore", "ragstone restore notes-20261121-090000.tar --collection notes2")
_add(importing.import_store, "import", "ragstone import llamaindex ./storage --collection papers --dry-run")
_add(importing.rollback, "rollback", "ragstone rollback --collection papers")
app.add_typer(configuration.app)
app.add_typer(memory.app)
app.add_typer(keys.app)
app.add_typer(support.app)
_add(
    tuning.tune, "tune", "ragstone tune --recall 0.98 --p95-ms 1 --memory-mb 200 --picture front.svg --apply"
)
_add(tuning.recommend, "recommend", "ragstone recommend --vectors 1000000 --memory-mb 450")
_add(benching.bench, "bench", "ragstone bench --queries asked.txt --threads 4 --seconds 60")
_add(evaluating.evaluate, "eval", "ragstone eval ~/beir/scifact --modes hybrid,keyword")


def globals_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with the global options moved to the front, so that they work after the command too.

    What follows `--` stays where it is.
    """
    front: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting and waiting[0] != "--":
        word = waiting.pop(0)
        name, _, value = word.partition("=")
        if name not in GLOBAL_OPTIONS:
            rest.append(word)
        elif value or not waiting:
            front.append(word)
        else:
            front += [word, waiting.pop(0)]
    return [*front, *rest, *waiting]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = globals_first(sys.argv[1:] if arguments is None else arguments)
    own_words = given[: given.index("--")] if "--" in given else given
    prepare_streams()

    def run() -> int:
        try:
            status = app(given, prog_name="ragstone", standalone_mode=False)
        except SystemExit:  # typer's way to end when the reader of a pipe went away, and only then
            return PIPE_CLOSED
        sys.stdout.flush()
        return int(status or 0)

    return guarded(run, json_output="--json" in own_words)
