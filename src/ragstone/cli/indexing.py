"""`index`: bring a collection in step with files and folders."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.failures import FAILED
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import CancelledError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ragstone.types import IndexProgress, IndexReport

STAGES = {"scan": "looking", "read": "reading", "embed": "embedding", "seal": "sealing", "names": "naming"}
QUIET_S = 10.0  # in a pipe, a stage that acknowledges nothing says how far it is this often
SPEED_WINDOW_S = 30.0  # rate and time left follow the last half minute


def index(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    *,
    llm: Annotated[
        bool | None,
        typer.Option(
            "--llm/--no-llm", help="Ask the chat model for names; or forget them.", show_default="as set"
        ),
    ] = None,
    json_output: JsonFlag = False,
) -> int:
    """Index files and folders, or bring them up to date.

    The same command goes on after a stop. Only new and changed files are read; documents whose files are gone
    are removed. In a pipe each document is printed once it is durable. Exit status 1: some could not be read.
    """
    with invocation.of(context).engine() as engine, _watcher(json_output=json_output) as watch:
        done = 0

        def progress(moment: IndexProgress) -> None:
            nonlocal done
            done += moment.uri is not None
            watch(moment)

        try:
            with stop_on_signal() as stopped:
                report = engine.index(paths, llm=llm, progress=progress, cancelled=stopped)
        except CancelledError as error:
            raise CancelledError(
                f"stopped; {terminal.count(done, 'document')} of this run indexed and kept",
                hint="the same command goes on from there",
            ) from error
    if json_output:
        from ragstone.wire import index_json

        terminal.say_json(index_json(report))
    else:
        summary(report)
    return FAILED if report.failed else 0


def summary(report: IndexReport, *, before: str = "") -> None:
    """Print what a run did, its line behind `before`, and what could not be read."""
    from rich.text import Text

    parts = [f"{report.indexed:,} indexed", f"{report.unchanged:,} unchanged", f"{report.removed:,} removed"]
    if report.failed:
        parts.append(f"{len(report.failed):,} failed")
    detail = f" · {terminal.count(report.chunks, 'chunk')} · {report.seconds:.1f} s"
    terminal.say(Text.assemble(before, (", ".join(parts), "bold"), detail))
    for part in report.degraded:
        terminal.note(f"without {part.source}: {terminal.one_line(part.reason)}", style="yellow")
    for failed in report.failed:
        message = terminal.one_line(failed.message)
        terminal.note(
            Text.assemble(("failed ", "red"), f"{failed.code}: {terminal.place(failed.path)}: {message}")
        )


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """A function that turns true with the first Ctrl-C; the second one interrupts as usual."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        terminal.note("stopping after the current batch; Ctrl-C again stops now")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _watcher(*, json_output: bool) -> Iterator[Callable[[IndexProgress], None]]:
    if not json_output and not terminal.out_is_terminal():
        yield Lines()
    elif terminal.err().is_terminal:
        with bar() as show:
            yield lambda moment: show(STAGES[moment.stage], moment.done, moment.total)
    else:
        yield lambda moment: None


class Lines:
    """One line for each document once it is durable, and a sign of life from stages without any."""

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def __call__(self, moment: IndexProgress) -> None:
        now_s = time.monotonic()
        if moment.uri is not None:
            terminal.say_raw(f"indexed {moment.uri}")
        elif moment.total and now_s - self._said_s >= QUIET_S:
            terminal.say_raw(f"{STAGES[moment.stage]} {moment.done:,} of {moment.total:,}")
        else:
            return
        self._said_s = now_s


class Bar:
    """A moving bar with count, rate and time left; one stage at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` in `stage`, `total` 0 while unknown; a new stage takes the bar over."""
        if stage != self._stage or self._task is None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(stage, total=None)
            self._stage = stage
        self._progress.update(self._task, completed=done, total=total or None)


@contextmanager
def bar() -> Iterator[Bar]:
    """A bar on standard error that is gone when the work is done."""
    with _progress() as progress:
        yield Bar(progress)


def _progress() -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Numbers(ProgressColumn):
        """`1,204 of 9,300 · 131/s · 1:02 left`, as much of it as is known."""

        def render(self, task: Task) -> Text:
            parts = [f"{int(task.completed):,}" + (f" of {int(task.total):,}" if task.total else "")]
            if task.speed:
                parts.append(f"{task.speed:,.0f}/s")
            if task.time_remaining is not None and task.total and task.completed < task.total:
                minutes, seconds = divmod(int(task.time_remaining), 60)
                parts.append(f"{minutes}:{seconds:02d} left")
            return Text(" · ".join(parts))

    return Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=28),
        Numbers(),
        console=terminal.err(),
        transient=True,
        speed_estimate_period=SPEED_WINDOW_S,
    )
