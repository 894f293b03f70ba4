"""Work done in forked children that may be killed, crash or hang, and that speak through memory they share
with us.

What a child has said is in the shared memory whatever becomes of it, and saying it is no system call, so that
counts and faults of system calls hit the store's alone. The parent starts no threads: it forks before
anything is opened.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from crash.command import BrokenPromiseError

BOARD_BYTES = 1 << 20  # 3,000 acknowledgements and a trace
_POLL_S = 0.002
_PR_SET_PDEATHSIG = 1
_PR_SET_PTRACER, _ANY = 0x59616D61, ctypes.c_ulong(-1)  # linux/prctl.h: let the tracer beside us attach


class Board:
    """Lines that one child writes and its parent reads, also after the child is gone."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, BOARD_BYTES)

    def say(self, line: str) -> None:
        """Add a line; the last write makes it count. What does not fit is left out."""
        data = line.replace("\n", "\x1f").encode("utf-8", "replace")
        end = 8 + int.from_bytes(self._memory[:8], "little")
        if end + len(data) + 1 < BOARD_BYTES:
            self._memory[end : end + len(data) + 1] = data + b"\n"
            self._memory[:8] = (end + len(data) + 1 - 8).to_bytes(8, "little")

    def has(self, line: str) -> bool:
        """Whether a line was said; cheap enough to ask often."""
        return self._memory.find(line.encode() + b"\n", 8) >= 0

    def lines(self) -> list[str]:
        """What was said so far."""
        end = int.from_bytes(self._memory[:8], "little")
        said = self._memory[8 : 8 + end].decode("utf-8", "replace")
        return [line.replace("\x1f", "\n") for line in said.split("\n") if line]


Work = Callable[[Board], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit status (a signal's is negative), what it said, and the seconds it took."""

    status: int
    said: list[str]
    seconds: float

    def checked(self, what: str) -> list[str]:
        """What it said, if it ended as it should. Raises `BrokenPromiseError` with its trace otherwise."""
        if self.status:
            name = signal.Signals(-self.status).name if self.status < 0 else f"status {self.status}"
            raise BrokenPromiseError(f"{what} ended with {name} after {self.seconds:.1f} s: {self.said[-1:]}")
        return self.said


class Child:
    """A forked child at work. It is killed when it has used up its time."""

    def __init__(
        self, work: Work, *, trace: Sequence[str] | None = None, trace_file: Path | None = None
    ) -> None:
        """Start `work`; under `strace` with the options `trace`, where given, from its first call on."""
        self.board = Board()
        self._started_s = time.monotonic()
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(write_end)
            _work(work, self.board, read_end)
        os.close(read_end)
        self._tracer = None
        if trace is not None:
            self._tracer = _attached(self.pid, trace, trace_file or Path(os.devnull))
        os.close(write_end)  # go

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill(self) -> None:
        """SIGKILL, now."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self, *, limit_s: float) -> Ended:
        """Wait for its end. One that takes longer than `limit_s` since its start is killed and says `hung`."""
        status = self._wait(self._started_s + limit_s)
        said = self.board.lines()
        if status is None:
            self.kill()
            status = self._wait(float("inf"))
            said.append("hung")
        if self._tracer is not None:
            self._tracer.wait(timeout=30)
        return Ended(os.waitstatus_to_exitcode(status or 0), said, time.monotonic() - self._started_s)

    def _wait(self, until_s: float) -> int | None:
        pause_s = _POLL_S
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            if time.monotonic() > until_s:
                return None
            time.sleep(pause_s)
            pause_s = min(0.02, pause_s * 1.2)


def in_child(work: Work, *, limit_s: float = 60.0) -> Ended:
    """Do `work` in a child of its own and wait for its end."""
    return Child(work).end(limit_s=limit_s)


def _work(work: Work, board: Board, gate: int) -> None:
    status = 1
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # no child outlives a command that was stopped
        libc.prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)  # without Yama it is not needed and fails
        os.read(gate, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what Rust says when it panics
        logging.disable(logging.CRITICAL)
        work(board)
        status = 0
    except BaseException:  # noqa: BLE001  - also a Rust panic, which is no Exception; the parent judges
        board.say("error " + traceback.format_exc())
    finally:
        os._exit(status)


def _attached(pid: int, options: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    command = ["strace", "-f", "-qq", "-o", str(output), *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    give_up_s = time.monotonic() + 10
    while f"TracerPid:\t{tracer.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
        if tracer.poll() is not None or time.monotonic() > give_up_s:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            said = (
                tracer.stderr.read().decode() if tracer.stderr and tracer.poll() is not None else "too late"
            )
            raise TracingError(said)
        time.sleep(_POLL_S)
    return tracer


class TracingError(Exception):
    """strace cannot attach here."""
