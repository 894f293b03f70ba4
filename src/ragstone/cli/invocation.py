"""What every command shares: the global options, and the settings, log and engine they lead to."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ragstone.logs import formatter, set_levels

if TYPE_CHECKING:
    from ragstone.engine import Ragstone
    from ragstone.settings import Settings

LOG_BYTES = 10_000_000  # per file, three files: 150,000 requests of the service, and never a full disk
LOG_FILES = 3

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
FilterOption = Annotated[
    str | None,
    typer.Option("--filter", "-f", help='Only such documents, for example: "type:pdf path:guides/**".'),
]
AcrossOption = Annotated[
    str | None, typer.Option("--across", help="Search these collections instead, merged: papers,notes.")
]


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options as given; None where not."""

    data_dir: str | None = None
    collection: str | None = None
    config: str | None = None

    def settings(self, **overrides: object) -> Settings:
        """All settings, with `overrides` (by name, None for not given) above the environment and files."""
        from ragstone.settings import Settings

        given = {"data_dir": self.data_dir, "collection": self.collection, **overrides}
        return Settings.load(self.config, given)

    @contextmanager
    def engine(self, **overrides: object) -> Iterator[Ragstone]:
        """An open engine, logging to its data directory, closed at the end."""
        settings = self.settings(**overrides)
        log_to(settings)
        from ragstone.engine import Ragstone

        with Ragstone(settings=settings) as engine:
            yield engine


def of(context: typer.Context) -> Invocation:
    """The invocation that the root command stored."""
    invocation = context.obj
    if not isinstance(invocation, Invocation):
        raise TypeError("the root command has not run")
    return invocation


def names(across: str | None) -> list[str] | None:
    """`a, b` as a list; None where nothing was given."""
    listed = [name.strip() for name in (across or "").split(",")]
    return [name for name in listed if name] or None


def log_path(data_dir: Path) -> Path:
    return data_dir / "logs" / "ragstone.log"


class LogFile(logging.Handler):
    """Appends to the log; makes file and folder with the first line, so that reading leaves no trace."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        from logging.handlers import RotatingFileHandler

        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = RotatingFileHandler(
                    self._path, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8"
                )
                self._file.setFormatter(self.formatter)
            self._file.emit(record)
        except OSError:  # a full or read-only disk must not end the command that wanted to log
            self.handleError(record)

    @property
    def written(self) -> Path | None:
        """The log, once a line has been written."""
        return None if self._file is None else self._path

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Keep quiet: standard error belongs to the command."""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


class LogStream(logging.StreamHandler[TextIO]):
    """Standard error as the log."""


def log_to(settings: Settings) -> None:
    """Write log lines of `log_level` and above to `<data_dir>/logs/ragstone.log`, or standard error, nowhere else."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, LogFile | LogStream):
            root.removeHandler(handler)
            handler.close()
    to_file = settings.log_output == "file"
    handler = LogFile(log_path(settings.data_dir)) if to_file else LogStream(sys.stderr)
    handler.setFormatter(formatter(settings.log_format))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)  # other libraries' chatter stays out
    set_levels(settings.log_level, dict(entry.split("=") for entry in settings.log_levels))
