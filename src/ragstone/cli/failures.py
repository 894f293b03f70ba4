"""How a command ends when it cannot do its work: one line, a hint, an exit status, never a traceback.

Exit status: 0 done · 1 something failed · 2 wrong usage, setting or input · 130 stopped by Ctrl-C · 141 the
reader of a pipe went away. `doctor` has its own, from 10 on.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from ragstone.cli.invocation import LogFile
from ragstone.errors import CancelledError, InputError, RagstoneError, SettingsError

FAILED = 1
WRONG_USAGE = 2
STOPPED = 130  # 128 + SIGINT, what shells expect
PIPE_CLOSED = 141  # 128 + SIGPIPE

_UsageError = typer.BadParameter.__mro__[1]  # typer shows only its child; the class lives where typer wants


def exit_status(error: RagstoneError) -> int:
    """The status that tells a script what kind of error it was."""
    if isinstance(error, CancelledError):
        return STOPPED
    return WRONG_USAGE if isinstance(error, SettingsError | InputError) else FAILED


def guarded(run: Callable[[], int], *, json_output: bool) -> int:
    """`run()`, with every way it can fail turned into a message and a status."""
    try:
        return run()
    except RagstoneError as error:
        report(error, json_output=json_output)
        return exit_status(error)
    except (KeyboardInterrupt, typer.Abort):
        report(CancelledError("stopped"), json_output=json_output)
        return STOPPED
    except BrokenPipeError:
        from ragstone.cli.terminal import silence_output

        silence_output()
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the edge: nothing above shows anything but a traceback
        if isinstance(error, _UsageError):
            report(_usage(error), json_output=json_output)
            return WRONG_USAGE
        report(unexpected(error), json_output=json_output)
        return FAILED


def report(error: RagstoneError, *, json_output: bool) -> None:
    """`error: …` and `hint: …` on standard error, or the same as one JSON object there."""
    if json_output:
        from ragstone.wire import encode, error_json

        sys.stderr.write(encode({"error": error_json(error)}).decode() + "\n")
        return
    from rich.text import Text

    from ragstone.cli.terminal import clean, err

    err().print(Text.assemble(("error: ", "bold red"), clean(error.message)))
    if error.hint:
        err().print(Text.assemble(("hint: ", "cyan"), clean(error.hint)))


def _usage(error: Exception) -> RagstoneError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "ragstone"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return RagstoneError(" ".join(message.split()), hint=f"{command} --help", code="usage")


def unexpected(error: Exception) -> RagstoneError:
    """A fault of ours: the traceback goes to the log, or where there is none to standard error."""
    written = _logged(error)
    if written is None:
        traceback.print_exception(error)
    where = f"the traceback is in {written}" if written else "the traceback is above"
    return RagstoneError(
        f"unexpected {type(error).__name__}: {error}",
        hint=f"this is a fault of ragstone; {where}",
        code="unexpected",
    )


def _logged(error: Exception) -> Path | None:
    """The log that now holds the traceback; None when no log is open or it cannot be written."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile):
            logging.getLogger("ragstone").critical("unexpected error", exc_info=error)
            return handler.written
    return None
