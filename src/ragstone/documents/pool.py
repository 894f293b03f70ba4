"""Reads files in child processes, so that nothing a file does reaches this process.

A child is a fresh interpreter (not a fork: no shared memory, no copied locks) that gives up its rights before the
first file (`sandbox`) and serves many. This side trusts it with nothing: lengths are checked before memory is
taken, results are checked (`blocks`), and a child that dies, hangs or grows is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from ragstone.documents.blocks import document_from, image_from
from ragstone.documents.frames import FrameError, FrameTimeoutError, read_frame, write_frame
from ragstone.documents.limits import ReadLimits
from ragstone.errors import DocumentError, RagstoneError
from ragstone.types import ParsedDocument

_CHILD = Path(__file__).with_name("child.py")
# A start takes 40 ms; a machine can be very busy.
_START_TIMEOUT_S = 30.0
# 192 MiB: a child that has read all formats rests at 60 MiB; what is above that is one file's debris.
_RESTART_RESIDENT_BYTES = 192 << 20
# Files that may be read ahead of the caller, per worker, and the text they may hold together: enough that the
# child never waits while the caller works on a batch, and a bound on memory.
_AHEAD_FILES = 16
_AHEAD_CHARS = 16_000_000


class ReaderPool:
    """`workers` children that turn files into documents. Thread-safe; a context manager.

    Children start when first needed. Cost: 0.1–0.2 ms a file beyond the reading itself, and the start of a child.
    """

    def __init__(self, *, workers: int = 1, limits: ReadLimits | None = None) -> None:
        self._limits = limits or ReadLimits()
        self._workers = workers
        self._children: list[_Child] = []
        self._lock = threading.Lock()
        self._own = threading.local()
        self._closed = False
        # A child dies with the *thread* that started it (PR_SET_PDEATHSIG), so each of these threads owns one
        # child for its whole life; a caller's thread may end at any time.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="ragstone-reader")

    def read(self, path: Path) -> ParsedDocument:
        """The document in the file at `path`. Raises `DocumentError`, whose `code` says why not."""
        result = _result(self._submit(path))
        if isinstance(result, DocumentError):
            raise result
        return result

    def page_image(self, path: Path, *, page: int, width_px: int) -> bytes:
        """Page `page` (from 1) of the PDF at `path` as PNG, `width_px` wide, of 2 million pixels at the most.

        Raises `DocumentError`. The file is not looked at outside the child, but its picture is: give it only to
        something that decodes PNG as carefully as a browser does.
        """
        with self._lock:
            if self._closed:
                raise _closed()
            drawing = self._threads.submit(self._draw, path, page, width_px)
        try:
            return drawing.result()
        except CancelledError as error:
            raise _closed() from error

    def read_many(self, paths: Iterable[Path]) -> Iterator[tuple[Path, ParsedDocument | DocumentError]]:
        """Each path with its document or error, in the order given.

        Files are read ahead while the caller works on earlier ones: at most 16 per worker, and no further
        once 16 million characters wait. Closing the iterator drops what was read ahead.
        """
        waiting: deque[tuple[Path, Future[ParsedDocument | DocumentError]]] = deque()
        remaining = iter(paths)
        try:
            while True:
                while len(waiting) < _AHEAD_FILES * self._workers and _chars(waiting) < _AHEAD_CHARS:
                    path = next(remaining, None)
                    if path is None:
                        break
                    waiting.append((path, self._submit(path)))
                if not waiting:
                    return
                path, future = waiting.popleft()
                yield path, _result(future)
        finally:
            for _, future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the children, also one in the middle of a file; further calls raise `RagstoneError`."""
        with self._lock:
            self._closed = True
            children = list(self._children)
        for child in children:
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in children:
            child.stop()

    def __enter__(self) -> ReaderPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, path: Path) -> Future[ParsedDocument | DocumentError]:
        with self._lock:
            if self._closed:
                raise _closed()
            return self._threads.submit(self._read, path)

    def _read(self, path: Path) -> ParsedDocument | DocumentError:
        try:
            if not self._closed:
                return document_from(self._child().ask(path))
        except DocumentError as error:
            if not self._closed:  # else the child was ended by us, and the file is not to blame
                return error
        raise _closed()

    def _draw(self, path: Path, page: int, width_px: int) -> bytes:
        try:
            if not self._closed:
                return image_from(self._child().ask(path, page=page, width_px=width_px))
        except DocumentError:
            if not self._closed:
                raise
        raise _closed()

    def _child(self) -> _Child:
        """The calling thread's child."""
        child: _Child | None = getattr(self._own, "child", None)
        if child is None:
            child = self._own.child = _Child(self._limits)
            with self._lock:
                self._children.append(child)
        return child


def _closed() -> RagstoneError:
    return RagstoneError("the reader pool is closed", hint="open a new one", code="closed")


def _result(future: Future[ParsedDocument | DocumentError]) -> ParsedDocument | DocumentError:
    try:
        return future.result()
    except CancelledError as error:
        raise _closed() from error


def _chars(waiting: Iterable[tuple[Path, Future[ParsedDocument | DocumentError]]]) -> int:
    """Characters of the documents that are read and wait for the caller."""
    total = 0
    for _, future in waiting:
        if future.done() and not future.cancelled() and future.exception() is None:
            result = future.result()
            total += len(result.text) if isinstance(result, ParsedDocument) else 0
    return total


class _Child:
    """One child process, restarted as needed. Used by one thread, except for `kill`."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        # Text in UTF-8 with escapes takes at most 6 bytes a character; marks 60 bytes each.
        self._reply_bytes = 6 * limits.text_chars + 60 * 3 * limits.blocks

    def ask(self, path: Path, **wanted: int) -> Any:
        """The child's reply for `path`, as JSON: whatever it is. Raises `DocumentError` if there is none.

        `wanted` is `page` and `width_px` for a picture, nothing for the document.
        """
        process = self._running()
        megabytes = _size_bytes(path) / 1e6
        timeout_s = self._limits.wall_s + self._limits.wall_s_per_mb * megabytes
        cpu_s = self._limits.cpu_s + self._limits.cpu_s_per_mb * megabytes
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
        try:
            request = {"path": os.path.abspath(path), "cpu_s": cpu_s, **wanted}  # noqa: PTH100
            write_frame(process.stdin.fileno(), request)
            reply = read_frame(process.stdout.fileno(), max_bytes=self._reply_bytes, timeout_s=timeout_s)
        except FrameTimeoutError:
            self.stop()
            raise DocumentError(f"reading took longer than {timeout_s:.0f} s", code="timeout") from None
        except (FrameError, OSError) as error:
            raise self._died(error, cpu_s) from error
        resident_bytes = reply.get("resident_bytes") if isinstance(reply, dict) else None
        if not isinstance(resident_bytes, int) or resident_bytes > _RESTART_RESIDENT_BYTES:
            self.stop()
        return reply

    def kill(self) -> None:
        """End the process at once; from any thread."""
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the process and free its pipes; the next `ask` starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # the other end is gone
                    pipe.close()
        process.wait()

    def _died(self, error: Exception, cpu_s: float) -> DocumentError:
        """What to say of a file during which the child went away."""
        process = self._process
        self.kill_unless_ended()
        status = process.returncode if process is not None else 0
        self.stop()
        if status == -signal.SIGXCPU:
            return DocumentError(f"reading took more than {cpu_s:.0f} s of processor time", code="timeout")
        if status < 0:
            return DocumentError(f"the reader ended by {_signal_name(-status)} on this file")
        return DocumentError(f"the reader ended on this file: {error}")

    def kill_unless_ended(self) -> None:
        """Give a process whose pipe has closed a moment to end by itself, so that its status is its own."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        self._process = _start(self._limits)
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            read_frame(self._process.stdout.fileno(), max_bytes=65_536, timeout_s=_START_TIMEOUT_S)
        except (FrameError, FrameTimeoutError) as error:
            self.stop()
            raise RagstoneError(
                f"the reading process does not start: {error}",
                hint=f"run `{sys.executable} {_CHILD}` to see why; 1 GB of address space must be free",
                code="reader",
            ) from error
        return self._process


def _start(limits: ReadLimits) -> subprocess.Popen[bytes]:
    start = {
        "import_path": [entry or str(Path.cwd()) for entry in sys.path],
        "limits": asdict(limits),
        "parent": os.getpid(),
    }
    # The only variable that survives is the one that finds the interpreter's own library.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_CHILD), json.dumps(start)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept,
        cwd="/",
        start_new_session=True,  # Ctrl-C on the terminal reaches this process only
    )


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the child says what is wrong with it


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
