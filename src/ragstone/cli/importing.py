"""`import` and `rollback`: take over another tool's index, and undo it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.failures import FAILED
from ragstone.cli.indexing import bar, stop_on_signal
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import InputError

if TYPE_CHECKING:
    from ragstone.engine import Ragstone
    from ragstone.importers.import_report import ImportReport
    from ragstone.importers.journal import Journal
    from ragstone.importers.records import ForeignStore
    from ragstone.importers.run import Options, Outcome
    from ragstone.settings import Settings

LISTED = 20  # records left out that are shown; --json has them all


def import_store(
    context: typer.Context,
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="[FORMAT] PATH",
            help="llamaindex, langchain, chroma, txtai, faiss, embedded, redis, or auto (or left out); and where.",
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What made the vectors: minilm, a model's folder, openai:NAME."),
    ] = None,
    reembed: Annotated[bool, typer.Option("--reembed", help="Embed the texts, drop the vectors.")] = False,
    only: Annotated[
        str | None, typer.Option(metavar="NAME", help="One collection or namespace of several.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A FAISS file's texts (JSON, JSONL).")
    ] = None,
    allow_pickle_layout: Annotated[
        bool, typer.Option("--allow-pickle-layout", help="Read .meta pickles, as data: nothing runs.")
    ] = False,
    prefix: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="A Redis's keys that begin with it.")
    ] = None,
    # Rarely needed, and named by the errors that ask for them: the help has to fit a screen.
    text_field: Annotated[str | None, typer.Option(hidden=True)] = None,
    vector_field: Annotated[str | None, typer.Option(hidden=True)] = None,
    vector_type: Annotated[str | None, typer.Option(hidden=True)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check all, write nothing.")] = False,
    backup: Annotated[bool, typer.Option("--backup", help="Keep a checked copy of the source.")] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="At the end, move the source to <name>_backup_json.")
    ] = False,
    shadow: Annotated[
        int, typer.Option(metavar="N", min=0, help="Compare N answers with the source's own.")
    ] = 0,
    json_output: JsonFlag = False,
) -> int:
    """Take over another tool's index with its vectors: nothing is embedded again.

    The source is only read. The same command goes on after a stop and changes nothing when all is there;
    `ragstone rollback` undoes it. Exit status 1: some records could not be carried over.
    """
    from ragstone.importers.journal import Journal
    from ragstone.importers.run import Options

    settings = invocation.of(context).settings()
    store = _opened(
        *_format_and_place(source),
        _OfFiles(only, texts, allow_pickle_layout),
        _OfRedis(prefix, text_field, vector_field, vector_type),
        settings,
    )
    if isinstance(store, Journal):
        return _say_moved(store, json_output=json_output)
    options = Options(model, reembed, dry_run, backup, in_place, shadow)
    with invocation.of(context).engine() as engine:
        outcome = _run(engine, store, options, settings.data_dir, json_output=json_output)
    if json_output:
        terminal.say_json(_json(outcome))
    else:
        _show(outcome)
    return FAILED if outcome.report.left_out else 0


@dataclass(frozen=True, slots=True)
class _OfFiles:
    """Options that only an import of files has; None and False are those that were not given."""

    only: str | None
    texts: Path | None
    allow_pickle_layout: bool


@dataclass(frozen=True, slots=True)
class _OfRedis:
    """Options that only an import of a Redis has; None are those that were not given."""

    prefix: str | None
    text_field: str | None
    vector_field: str | None
    vector_type: str | None


def _opened(
    format_: str, place: str, of_files: _OfFiles, of_redis: _OfRedis, settings: Settings
) -> ForeignStore | Journal:
    """The store to read; the journal of the import, where an earlier one moved it away."""
    from ragstone.importers.formats import AUTO, open_foreign
    from ragstone.importers.redis_keys import is_address
    from ragstone.importers.redis_store import FORMAT, open_redis
    from ragstone.importers.run import already_moved

    if format_ == FORMAT or is_address(place):
        _refuse("files", of_files)
        if format_ not in {FORMAT, AUTO}:  # the URL is not quoted: it may hold a password
            raise InputError(
                f"{format_} is read from files, not from a URL", hint=f"ragstone import {FORMAT} URL"
            )
        return open_redis(place, **asdict(of_redis))
    _refuse("a Redis", of_redis)
    path = Path(place).expanduser().absolute()
    moved = already_moved(settings.data_dir, settings.collection, path)
    return moved or open_foreign(
        format_,
        path,
        only=of_files.only,
        texts=of_files.texts,
        allow_pickle=of_files.allow_pickle_layout,
        work_folder=settings.data_dir,
    )


def _refuse(of: str, options: _OfFiles | _OfRedis) -> None:
    """Raise for options that have no meaning here."""
    for name, value in asdict(options).items():
        if value not in {None, False}:
            raise InputError(f"--{name.replace('_', '-')} is for {of}", hint="leave it out")


def _format_and_place(source: list[str]) -> tuple[str, str]:
    from ragstone.importers.redis_keys import is_address

    if len(source) > 2:
        raise InputError(
            f"{len(source)} words, [FORMAT] PATH are wanted", hint="quote a path that holds spaces"
        )
    format_, place = source if len(source) == 2 else ("auto", source[0])
    if is_address(format_):  # not quoted: it may hold a password
        raise InputError("the format stands before the URL", hint="ragstone import redis URL")
    return format_, place


def _run(
    engine: Ragstone, store: ForeignStore, options: Options, data_dir: Path, *, json_output: bool
) -> Outcome:
    from ragstone.importers.run import run_import

    with stop_on_signal() as stopped:
        if json_output or not terminal.err().is_terminal:
            return run_import(engine, store, options, data_dir=data_dir, cancelled=stopped)
        with bar() as show:
            return run_import(
                engine,
                store,
                options,
                data_dir=data_dir,
                progress=lambda done: show("importing", done, 0),
                cancelled=stopped,
            )


# -- what is said ------------------------------------------------------------------------------------------------


def _json(outcome: Outcome) -> dict[str, Any]:
    from ragstone.wire import plain_json

    report: dict[str, Any] = plain_json(outcome.report)
    return {
        **report,
        "copied_to": plain_json(outcome.copied_to),
        "moved_to": plain_json(outcome.moved_to),
        "shadow": plain_json(outcome.overlap),
    }


def _show(outcome: Outcome) -> None:
    from rich.text import Text

    report = outcome.report
    parts = [
        f"{report.added:,} {'to import' if report.dry_run else 'imported'}",
        f"{report.unchanged:,} unchanged",
    ]
    if report.replaced:
        parts.append(f"{report.replaced:,} {'to replace' if report.dry_run else 'replaced'}")
    if report.left_out:
        parts.append(f"{len(report.left_out):,} left out")
    detail = (
        f" · {report.layout} → {report.collection} · {report.embedded:,} embedded · {report.seconds:.1f} s"
    )
    terminal.say(Text.assemble((", ".join(parts), "bold"), terminal.clean(detail)))
    dim = f", {report.dim} dimensions" if report.dim else ""
    terminal.say(f"model        {terminal.clean(report.model)}{dim}")
    if outcome.overlap is not None:
        found = outcome.overlap
        asked = terminal.count(found.queries, "vector")
        terminal.say(
            f"shadow       {asked} asked: overlap@10 {found.overlap_at_10:.4f}, same first {found.same_first:.4f}"
        )
    for name, place in (("backup", outcome.copied_to), ("moved to", outcome.moved_to)):
        if place is not None:
            terminal.say(f"{name:<12} {terminal.place(str(place))}")
    _show_losses(report)


def _show_losses(report: ImportReport) -> None:
    from rich.text import Text

    for name, number in report.not_carried.items():
        terminal.note(
            Text.assemble(("not carried over ", "yellow"), f"{number:,} × {terminal.one_line(name)}")
        )
    for left in report.left_out[:LISTED]:
        terminal.note(
            Text.assemble(
                ("left out ", "red"), f"{terminal.one_line(left.id)}: {terminal.one_line(left.reason)}"
            )
        )
    if len(report.left_out) > LISTED:
        terminal.note(f"and {len(report.left_out) - LISTED:,} more; --json lists all")
    if report.gone:
        terminal.note(
            f"{terminal.count(report.gone, 'document')} of an earlier import are no longer in the source; they are kept"
        )
    for said in report.notes:
        terminal.note(f"note: {terminal.one_line(said)}")


def _say_moved(moved: Journal, *, json_output: bool) -> int:
    """A second in-place import of the same folder: there is nothing to do."""
    if json_output:
        terminal.say_json(
            {
                "already_imported": True,
                "collection": moved.collection,
                "source": moved.source,
                "moved_to": moved.moved_to,
            }
        )
    else:
        terminal.say(f"already imported into {moved.collection}; the old index is at {moved.moved_to}")
    return 0


# -- undo --------------------------------------------------------------------------------------------------------


def rollback(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Argument(metavar="PATH", help="The source; without it, the latest import.")
    ] = None,
    *,
    json_output: JsonFlag = False,
) -> int:
    """Undo an import: its documents leave the index, and a source moved by --in-place goes back.

    Checksums are compared first. Exit status 1: the source is not what it was when it was imported.
    """
    from ragstone.importers.redis_keys import is_address
    from ragstone.importers.redis_store import place_of
    from ragstone.importers.rollback import roll_back

    place: Path | str | None = None
    if source is not None:
        place = place_of(source) if is_address(source) else Path(source).expanduser()
    data_dir = invocation.of(context).settings().data_dir
    with invocation.of(context).engine() as engine:
        report = roll_back(engine, data_dir=data_dir, source=place)
    if json_output:
        from ragstone.wire import plain_json

        terminal.say_json(plain_json(report))
        return FAILED if report.source_intact is False else 0
    removed = f"collection {report.collection} removed" if report.collection_removed else "the others stay"
    terminal.say(f"{terminal.count(report.documents, 'document')} removed, {removed}", style="bold")
    state = {
        True: "is what it was when it was imported",
        False: "has changed since it was imported",
        None: "was only read",
    }[report.source_intact]
    terminal.say(f"{terminal.place(report.source)} {'is back and ' if report.source_restored else ''}{state}")
    for path in report.source_changed[:LISTED]:
        terminal.note(f"changed or missing: {terminal.clean(path)}")
    return FAILED if report.source_intact is False else 0
