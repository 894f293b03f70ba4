"""A worker's end of the link to the process that started it; see `worker_process`."""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections.abc import Callable

from ragstone import wire
from ragstone.documents.frames import FrameError, framed, read_frame, write_all
from ragstone.logs import request_id, set_levels
from ragstone.settings import Settings

MAX_FRAME_BYTES = 1 << 20  # a question and a filter of 1,000 characters, or all settings
END_S = 2.0  # a search that runs ends by itself


class Link:
    """Frames over the socket that is standard input. Any thread may send."""

    def __init__(self) -> None:
        """Take the socket over and read the first frame, `start`. Raises `SystemExit` if the other side is gone."""
        self._socket = os.dup(0)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is wanted
            os.dup2(nothing.fileno(), 0)
        self._sending = threading.Lock()
        start = self.receive()
        if start is None:
            sys.exit(0)
        self.start: wire.Json = start

    def receive(self) -> wire.Json | None:
        """The next frame; None once the other side is gone."""
        try:
            found: wire.Json = read_frame(self._socket, max_bytes=MAX_FRAME_BYTES)
        except (FrameError, OSError):
            return None
        return found

    def send(self, message: wire.Json, body: bytes | None = None) -> None:
        """Send a frame, and right behind it `body`, which is JSON already; whoever is gone hears nothing."""
        frames = framed(wire.encode(message)) + (b"" if body is None else framed(body))
        with self._sending:
            try:
                write_all(self._socket, frames)
            except OSError:
                return

    def take_log(self, settings: Settings) -> None:
        """Log lines go over the link from now on, those that the settings want."""
        logging.getLogger().addHandler(_Forwarding(self))
        set_levels(settings.log_level, dict(entry.split("=") for entry in settings.log_levels))

    def at_end(self, call: Callable[[], None]) -> None:
        """`call()` in a thread as soon as the other side is gone, also in the middle of some work."""
        threading.Thread(target=self._await_end, args=(call,), name="ragstone-link", daemon=True).start()

    def _await_end(self, call: Callable[[], None]) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        poll.poll()
        call()


class _Forwarding(logging.Handler):
    """Sends lines to the service, which has the log: two processes must not turn one file over."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send it as text, with the traceback."""
        self._link.send(
            {
                "log": {
                    "name": record.name,
                    "levelno": record.levelno,
                    "levelname": record.levelname,
                    "msg": self.format(record),
                    "created": record.created,
                    "process": record.process,
                },
                "request_id": request_id.get(),
            }
        )
