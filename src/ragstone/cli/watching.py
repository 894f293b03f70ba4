"""`watch`: keep a collection in step with folders until it is stopped."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import invocation, terminal
from ragstone.cli.indexing import Lines, summary
from ragstone.cli.invocation import JsonFlag
from ragstone.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ragstone.engine import Ragstone
    from ragstone.types import IndexReport
    from ragstone.watching import WatchEvent

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def watch(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    *,
    json_output: JsonFlag = False,
) -> int:
    """Index files and folders, then whatever changes in them, until Ctrl-C or SIGTERM.

    Changes are seen within seconds, and indexed once a file has rested for two. What fails (a lock, a full
    disk) is said and tried again. With --json each event is one object on a line.
    """
    from ragstone.watching import FolderWatch

    roots = [path.expanduser().absolute() for path in paths]
    for root in roots:
        if not root.exists():
            raise NotFoundError(f"no file or folder {root}", hint="check the path; nothing was started")
    chosen = invocation.of(context)
    with chosen.engine() as engine, _stopped() as stop:
        FolderWatch(
            roots,
            index=lambda found: _index(engine, found, stop, json_output=json_output),
            tell=_tell_json if json_output else _tell,
            pause=stop.wait,
            max_file_bytes=chosen.settings().max_file_bytes,
        ).run()
    if json_output:
        terminal.say_json({"event": "stopped"})
    else:
        terminal.say("stopped")
    return 0


def _index(engine: Ragstone, roots: Sequence[Path], stop: Stop, *, json_output: bool) -> IndexReport:
    lines = Lines()
    return engine.index(
        roots, progress=(lambda _: None) if json_output else lines, cancelled=lambda: stop.asked
    )


class Stop:
    """Whether a signal has asked to stop; a pipe, so that one can wait for it: a handler may not take locks."""

    def __init__(self) -> None:
        self.asked = False
        self._read_end, self._write_end = os.pipe()

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; the second one interrupts as usual."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(self._write_end, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until asked; whether to stop."""
        select.select([self._read_end], [], [], seconds)
        return self.asked

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


@contextmanager
def _stopped() -> Iterator[Stop]:
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


def _tell(event: WatchEvent) -> None:
    from ragstone.watching import Failed, Indexed

    now = time.strftime("%H:%M:%S")
    if isinstance(event, Indexed):
        for uri in event.removed:
            terminal.say_raw(f"removed {uri}")
        summary(event.report, before=f"{now}  ")
    elif isinstance(event, Failed):
        terminal.note(f"{now}  {terminal.one_line(event.error.message)}", style="red")
        terminal.note(f"trying again in {event.retry_s:.0f} s")
    else:
        terminal.note(
            f"{now}  no documents in {terminal.place(str(event.root))}; what is indexed of it is kept",
            style="yellow",
        )


def _tell_json(event: WatchEvent) -> None:
    from ragstone.watching import Failed, Indexed
    from ragstone.wire import error_json, index_json

    if isinstance(event, Indexed):
        said = {"event": "indexed", **index_json(event.report), "removed": list(event.removed)}
    elif isinstance(event, Failed):
        said = {"event": "failed", "error": error_json(event.error), "retry_s": event.retry_s}
    else:
        said = {"event": "nothing_there", "path": str(event.root)}
    terminal.say_json(said)
