"""What is written where: results on standard output, everything else on standard error.

Colour and moving progress only on a terminal (and not with NO_COLOR); plain lines in a pipe. Text from
documents is stripped of control characters first: a document must not be able to drive the terminal.
"""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# C0 and C1 controls but tab and newline, and the characters that reorder text: escape sequences and hidden text.
_UNSAFE = {
    code: "�"
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if code not in (0x09, 0x0A)
}


def clean(text: str) -> str:
    """`text` without what a terminal would obey instead of show."""
    return text.translate(_UNSAFE)


def one_line(text: str) -> str:
    """`text` cleaned, with every run of white space as one space."""
    return " ".join(clean(text).split())


def place(uri: str) -> str:
    """A file's path as a person would type it here: relative inside this folder, `~` for home."""
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        if base != Path("/") and uri.startswith(f"{base}/"):
            return clean(prefix + uri[len(str(base)) + 1 :])
    return clean(uri)


def count(number: int, noun: str) -> str:
    """`1 document`, `2,000 documents`; for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(size_bytes: int) -> str:
    """A size in decimal units: `512 B`, `12.3 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def width(text: str) -> int:
    """Columns that `text` takes: wide East Asian characters count twice."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def out_is_terminal() -> bool:
    return sys.stdout.isatty()


@functools.cache
def out() -> Console:
    """The console for results; soft-wrapped by the terminal, so that a pipe gets whole lines."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


@functools.cache
def err() -> Console:
    """The console for progress, warnings and errors."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def say(text: str | Text = "", *, style: str | None = None) -> None:
    """One line of the result, flushed: who reads a pipe sees it at once."""
    out().print(text, style=style)
    sys.stdout.flush()


def say_raw(text: str) -> None:
    """One line as it is, without the console: for programs that read a pipe line by line."""
    sys.stdout.write(f"{clean(text)}\n")
    sys.stdout.flush()


def note(text: str | Text, *, style: str | None = None) -> None:
    """One line beside the result."""
    err().print(text, style=style)


def say_json(value: Any) -> None:
    """One JSON object on one line: with `--json` all that standard output gets."""
    from ragstone.wire import encode

    sys.stdout.flush()
    sys.stdout.buffer.write(encode(value) + b"\n")
    sys.stdout.buffer.flush()


def prepare_streams() -> None:
    """A file name that is no text must not end a command: such characters are shown as escapes."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # real text streams


def silence_output() -> None:
    """After a broken pipe: let the interpreter's last flush go nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
