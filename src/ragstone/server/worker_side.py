"""A worker's end of the link to the process that started it; see `worker_process`."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

from ragstone import wire
from ragstone.documents.frames import FrameError, framed, read_frame, write_all

MAX_FRAME_BYTES = 1 << 20  # a question and a filter of 1,000 characters, or all settings
END_S = 2.0  # a search that runs ends by itself


class Link:
    """Frames over the socket that is standard input. Any thread may send."""

    def __init__(self) -> None:
        """Take the socket over and read the first frame, `start`. Raises `FrameError`."""
        self._socket = os.dup(0)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is wanted
            os.dup2(nothing.fileno(), 0)
        self._sending = threading.Lock()
        self.start = self._frame()

    def receive(self) -> Any | None:
        """The next frame; None once the other side is gone."""
        try:
            return self._frame()
        except (FrameError, OSError):
            return None

    def send(self, message: Any, body: bytes | None = None) -> None:
        """Send a frame, and right behind it `body`, which is JSON already; whoever is gone hears nothing."""
        frames = framed(wire.encode(message)) + (b"" if body is None else framed(body))
        with self._sending:
            try:
                write_all(self._socket, frames)
            except OSError:
                return

    def at_end(self, call: Callable[[], None]) -> None:
        """`call()` in a thread as soon as the other side is gone, also in the middle of some work."""
        threading.Thread(target=self._await_end, args=(call,), name="ragstone-link", daemon=True).start()

    def _await_end(self, call: Callable[[], None]) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        poll.poll()
        call()

    def _frame(self) -> Any:
        return read_frame(self._socket, max_bytes=MAX_FRAME_BYTES)
