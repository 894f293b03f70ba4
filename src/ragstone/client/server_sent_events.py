"""Server-sent events from bytes that arrive in any pieces.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation ; ids and retry times
are left out, for nothing here uses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ragstone.client.errors import ClientError

EVENT_BYTES_MAX = 8 << 20  # `done` repeats text and passages: some 100 KB at the most
_LINE_END = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)  # a last \r may be half of \r\n


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; `name` is `message` where none was given."""

    name: str
    data: str


class EventParser:
    """Takes pieces, gives events. What stands at the end without an empty line behind it is no event."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the line that has not ended
        self._name = ""
        self._data: list[str] = []
        self._size_bytes = 0
        self._first_line = True

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """The events that end in this piece. Raises `ClientError` for an event of more than `EVENT_BYTES_MAX`."""
        self._size_bytes += len(piece)
        if self._pieces and self._pieces[-1].endswith(b"\r"):
            piece = self._pieces.pop() + piece
        lines = _LINE_END.split(piece)
        self._pieces.append(lines[0])
        for following in lines[1:]:
            line = b"".join(self._pieces)
            self._pieces = [following]
            yield from self._line(line.decode("utf-8", "replace"))
        if self._size_bytes > EVENT_BYTES_MAX:
            raise ClientError(f"an event is longer than {EVENT_BYTES_MAX:,} bytes", code="protocol")

    def _line(self, line: str) -> Iterator[ServerEvent]:
        if self._first_line:
            line = line.removeprefix("\ufeff")
            self._first_line = False
        if not line:
            if self._data:
                yield ServerEvent(self._name or "message", "\n".join(self._data))
            self._name, self._data = "", []
            self._size_bytes = sum(map(len, self._pieces))
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
