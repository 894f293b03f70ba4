"""A real Redis on a free port, to be stopped, killed and filled with garbage."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

HOST = "127.0.0.1"


class RedisServer:
    """One process; `close` when done."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Starts it with further `options` of its command line; skips the test where it is not installed."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self._command = [program, "--port", str(self.port), "--bind", HOST, "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no", *options]
        self._process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Returns when it accepts connections."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Ready to accept connections" in line:
                return
        self.kill()
        raise AssertionError("redis-server did not start:\n" + "".join(said))

    def client(self, **options: Any) -> Redis:
        """A plain client of the server, to look and to spoil."""
        return Redis(host=HOST, port=self.port, **options)

    def freeze(self) -> None:
        """It accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It answers again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a crash does; `start` brings it back, with what was on disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    close = kill


def _free_port() -> int:
    """Below 55,536: a cluster node listens 10,000 higher too."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port < 55_536:
            return port
