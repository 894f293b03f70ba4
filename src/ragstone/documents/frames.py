"""Messages between a pool and its children: four bytes of length, then JSON. Standard library only.

The reader of a frame checks the length before it allocates anything.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

_LENGTH = struct.Struct(">I")
# 1 MiB: one read of a pipe gives at most its buffer (64 KiB, at most 1 MiB without privileges).
_READ_BYTES = 1 << 20


class FrameError(Exception):
    """The other side closed, sent a length beyond the limit, or something that is not JSON."""


class FrameTimeoutError(Exception):
    """The other side did not send a whole frame in time."""


def framed(body: bytes) -> bytes:
    """The frame of what is JSON already."""
    return _LENGTH.pack(len(body)) + body


def write_frame(descriptor: int, message: Any) -> None:
    """Send `message`, which must be JSON; blocks until the other side has taken it. Raises `OSError`."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    write_all(descriptor, framed(body))


def write_all(descriptor: int, frames: bytes) -> None:
    """Send whole frames; blocks until the other side has taken them. Raises `OSError`."""
    view = memoryview(frames)
    while view:
        view = view[os.write(descriptor, view) :]


def read_frame(descriptor: int, *, max_bytes: int, timeout_s: float | None = None) -> Any:
    """The next message. `timeout_s` None waits for ever.

    Raises `FrameError` at the end of the stream, for a longer frame and for what is not JSON, and
    `FrameTimeoutError` when the frame is not complete in time.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    (length,) = _LENGTH.unpack(_read_exactly(descriptor, _LENGTH.size, deadline))
    if length > max_bytes:
        raise FrameError(f"a frame of {length:,} bytes, the limit is {max_bytes:,}")
    try:
        return json.loads(_read_exactly(descriptor, length, deadline))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame that is not JSON: {error}") from error


def _read_exactly(descriptor: int, length: int, deadline: float | None) -> bytearray:
    # Grows with what arrives: a length alone makes no one allocate.
    data = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(data) < length:
        if deadline is not None:
            left_ms = (deadline - time.monotonic()) * 1_000
            if left_ms <= 0 or not poll.poll(left_ms):
                raise FrameTimeoutError
        piece = os.read(descriptor, min(_READ_BYTES, length - len(data)))
        if not piece:
            raise FrameError("the stream ended")
        data += piece
    return data
