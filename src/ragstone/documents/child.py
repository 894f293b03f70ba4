"""The reading child's program: take a path, read the file, send its text and marks, or a page's picture; over and over.

Started by `pool` as a script in a fresh interpreter (`-I -S`): arguments are the import path and the parent's
limits as JSON. Knows no numpy and no other package of ragstone: it must start within milliseconds.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import types
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until the parent closes the pipe."""
    start = json.loads(sys.argv[1])
    sys.path[:] = start["import_path"]
    # The package root may one day import the whole engine; its submodules are all that is needed here.
    root = types.ModuleType("ragstone")
    root.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["ragstone"] = root

    from ragstone.documents import frames, sandbox
    from ragstone.documents.limits import ReadLimits

    limits = ReadLimits(**start["limits"])
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # whatever a library prints goes nowhere instead of into a frame
    measures = sandbox.enter(
        memory_bytes=limits.memory_bytes, open_files=limits.open_files, parent=start["parent"]
    )
    frames.write_frame(replies, {"ready": measures})
    message = f"reading the file takes more than {limits.memory_bytes >> 20} MB of memory"
    out_of_memory = {"error": ["too_large", message, ""], "resident_bytes": limits.memory_bytes}
    while True:
        try:
            # 64 KiB: a path has at most 4,096 bytes
            request = frames.read_frame(requests, max_bytes=65_536)
        except frames.FrameError:
            return
        sandbox.limit_cpu(request["cpu_s"])
        if not _answer(replies, request, limits):
            # Said here, where the exception is gone with all that its frames held: before, no memory was left.
            frames.write_frame(replies, out_of_memory)


def _answer(replies: int, request: dict[str, Any], limits: Any) -> bool:
    """Read a file and send the result; False if the memory did not suffice, and then nothing has been sent."""
    from ragstone.documents import frames

    try:
        frames.write_frame(replies, _reply(request, limits))
    except MemoryError:
        return False
    return True


def _reply(request: dict[str, Any], limits: Any) -> dict[str, Any]:
    """The answer for one file: `document` or `png` (base64), or `error`; with the resident memory afterwards."""
    from ragstone.documents import readers
    from ragstone.errors import DocumentError

    path = request["path"]
    try:
        data = _file_bytes(path, limits.file_bytes)
        if "page" in request:
            from ragstone.documents import page_image

            drawn = page_image.draw(data, page=request["page"], width_px=request["width_px"])
            answer: dict[str, Any] = {"png": base64.b64encode(drawn).decode("ascii")}
        else:
            answer = {"document": readers.read(data, Path(path).name, limits)}
    except DocumentError as error:
        answer = {"error": [error.code, error.message, error.hint]}
    except ImportError as error:
        answer = {
            "error": [
                "unsupported",
                f"a library for this format is missing: {error}",
                "install ragstone again",
            ]
        }
    except MemoryError:
        raise
    except RecursionError:
        answer = {"error": ["malformed", "the file is nested too deeply", ""]}
    except OSError as error:
        answer = {"error": ["unreadable", f"the file cannot be read: {error.strerror or error}", ""]}
    except Exception as error:  # noqa: BLE001 - the parser of a hostile file may raise anything; it is reported
        answer = {"error": ["malformed", f"{type(error).__name__}: {_brief(error)}", ""]}
    return {**answer, "resident_bytes": _resident_bytes()}


def _file_bytes(path: str, max_bytes: int) -> bytes:
    from ragstone.errors import DocumentError

    # O_NONBLOCK: opening a pipe that no one writes to must not wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DocumentError("it is not a regular file", code="unreadable")
        if status.st_size <= max_bytes:
            data = file.read(max_bytes + 1)
            if len(data) <= max_bytes:
                return data
    raise DocumentError(
        f"the file has {status.st_size:,} bytes, the limit is {max_bytes:,}",
        hint="split it, or raise the size limit",
        code="too_large",
    )


def _brief(error: Exception) -> str:
    return " ".join(str(error)[:300].split())


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - one call instead of three, for each file
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    main()
