"""Worker processes: a fresh interpreter each, at the other end of a socket pair, watched and started again.

A worker is a module run as a program; `worker_side` is its end. The first frame says what to do, its first answer that
it is ready, and it ends when the pair is closed, by whatever way this process goes. Not `multiprocessing`: that imports
the caller's main module into every worker, which costs memory and makes a program without a guard start itself again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from ragstone import wire
from ragstone.documents.frames import framed
from ragstone.errors import RagstoneError
from ragstone.logs import request_id
from ragstone.settings import Settings

START_S = 120.0  # a large model from a slow disk
# A worker that dies so soon after its start would do so again.
EARLY_S = 5.0
MAX_FRAME_BYTES = 1 << 26  # a hundred hits of a long chunk each are 1 MB
_LENGTH = struct.Struct(">I")

logger = logging.getLogger("ragstone.server")


@dataclass(frozen=True, slots=True)
class Program:
    """What a worker runs: a module, its first frame, and what it inherits beside our environment."""

    module: str
    start: wire.Json
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that ended unasked, with the status of `subprocess`, None if it could not be started; `early` such in a
    row died as they started."""

    status: int | None
    lived_s: float
    early: int


class WorkerProcess:
    """A process that runs `program`; belongs to the event loop it is made in."""

    def __init__(self, program: Program) -> None:
        """Start it; raises `OSError`, `ValueError`."""
        self._link, theirs = socket.socketpair()
        with theirs, ExitStack() as unless_started:
            unless_started.enter_context(self._link)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", program.module],
                stdin=theirs.fileno(),
                stdout=2,  # what a library prints must not come between our own lines
                pass_fds=program.descriptors,
                env={**os.environ, "PYTHONPATH": _import_path(), **program.environment},
                start_new_session=True,  # Ctrl-C on the terminal reaches this process only
            )
            unless_started.pop_all()
        self._first = program.start
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ready(self) -> None:
        """Until it has said so. Raises `EOFError` when it ends before, or takes longer than `START_S`."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._link)
        self.send(self._first)
        try:
            async with asyncio.timeout(START_S):
                await self.receive()
        except TimeoutError as error:
            raise EOFError(f"a worker did not start within {START_S:g} s") from error

    def send(self, message: wire.Json) -> None:
        """Send a frame, once it is ready."""
        if self._writer is not None:
            self._writer.write(framed(wire.encode(message)))

    async def receive(self) -> wire.Json:
        """The next frame, but lines of its log, which are logged. Raises `EOFError` as `receive_body`."""
        while True:
            found: wire.Json = json.loads(await self.receive_body())
            if "log" not in found:
                return found
            _log(found)

    async def receive_body(self) -> bytes:
        """The next frame as it is. Raises `EOFError` when the worker has ended, or sends what is no frame."""
        if self._reader is None:
            raise EOFError
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > MAX_FRAME_BYTES:
                raise EOFError(f"a frame of {length:,} bytes, the limit is {MAX_FRAME_BYTES:,}")
            return await self._reader.readexactly(length)
        except OSError as error:
            raise EOFError from error

    def kill(self) -> None:
        """End it at once; its link says so then."""
        self.process.kill()

    async def stop(self, grace_s: float) -> int:
        """Close the link, and kill what has not ended after `grace_s`; the process's status."""
        if self._reader is not None and self._writer is not None:
            self._writer.write_eof()
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(grace_s):
                    while await self._reader.read(1 << 16):
                        pass
            self._writer.transport.abort()
        self._link.close()
        self.process.kill()  # changes nothing where it has ended, which its end of the link said
        return await asyncio.to_thread(self.process.wait)


async def keep_running(
    program: Program,
    use: Callable[[WorkerProcess], Awaitable[None]],
    *,
    ended: Callable[[Death], Awaitable[None]],
    grace_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Start a worker, `use` it once it is ready until that raises an error, `EOFError` at its end; tell `ended`, begin
    again.

    Goes on until it is cancelled or `ended` raises; the worker then has `grace_s` seconds to end.
    """
    early = 0
    while True:
        started_s, ready = clock(), False
        worker: WorkerProcess | None = None
        try:
            worker = WorkerProcess(program)
            await worker.ready()
            ready = True
            await use(worker)
        except EOFError:
            pass
        except (
            Exception
        ):  # it could not be started, or says what nobody understands: another one may do better
            logger.exception("a worker process is given up")
        finally:
            status = None if worker is None else await _stopped(worker, grace_s)
        lived_s = clock() - started_s
        early = 0 if ready and lived_s >= EARLY_S else early + 1
        await ended(Death(status, lived_s, early))


async def _stopped(worker: WorkerProcess, grace_s: float) -> int:
    """`stop`, to its end also when it is cancelled on the way: no process may be left."""
    stopping = asyncio.ensure_future(worker.stop(grace_s))
    try:
        return await asyncio.shield(stopping)
    except asyncio.CancelledError:
        await stopping
        raise


def _log(found: wire.Json) -> None:
    """Log what a worker did; it has looked at the levels."""
    known = request_id.set(found["request_id"])
    record = logging.makeLogRecord(found["log"])
    logging.getLogger(record.name).handle(record)
    request_id.reset(known)


def settings_frame(settings: Settings) -> wire.Json:
    """Settings as JSON with their secrets, for a worker's own `Settings.model_validate`."""
    return {name: _plain(value) for name, value in settings}


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


def unexpected_end(death: Death) -> RagstoneError:
    """What to raise, or to say, of workers that end as they start."""
    return RagstoneError(
        f"worker processes end as soon as they start, the last with status {death.status}",
        hint="look at what they printed, and at the memory that is free",
    )


def _import_path() -> str:
    return os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
