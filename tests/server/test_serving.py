"""Starting and stopping: which addresses are refused, and that a signal ends everything in order."""

from __future__ import annotations

import gc
import http.client
import json
import os
import signal
import socket
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.server.serving import GRACE_S, serve
from ragstone.types import Embedder
from server.live import wait_until
from server.serving_process import serving_process


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org", ""])  # noqa: S104
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, embedder: Embedder, host: str) -> None:
    with (
        Ragstone(tmp_path, embedder=embedder) as engine,
        pytest.raises(InputError, match="no keys") as refused,
    ):
        serve(engine, host=host, port=0)
    assert "127.0.0.1" in refused.value.hint


def test_a_taken_port_is_named(tmp_path: Path, embedder: Embedder) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with (
            Ragstone(tmp_path, embedder=embedder) as engine,
            pytest.raises(InputError, match=str(port)),
        ):
            serve(engine, port=port)


def test_a_program_gets_its_interpreter_back_as_it_was(tmp_path: Path, embedder: Embedder) -> None:
    def state() -> tuple[object, ...]:
        return sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()

    served: list[tuple[object, ...]] = []

    def announce(_url: str) -> None:
        served.append(state())
        os.kill(os.getpid(), signal.SIGTERM)

    before = state()
    with Ragstone(tmp_path, embedder=embedder) as engine:
        serve(engine, port=0, announce=announce)
    assert state() == before
    assert all(now != then for now, then in zip(served[0][:3], before[:3], strict=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_and_closes_the_engine(
    data_dir: Path, library: Path, models_dir: Path, embedder: Embedder, number: signal.Signals
) -> None:
    assert embedder.dim  # the fixture has made the model's files, so the start below is a quick one
    with serving_process(data_dir, models_dir, library) as (process, url):
        wait_until(lambda: _ready(url), "the service is ready")
        assert _usual_s(url) < 0.03  # 40 ms: a client's kernel waiting for a second packet
        process.send_signal(number)
        started_s = time.monotonic()
        out, err = process.communicate(timeout=GRACE_S + 5)
        assert time.monotonic() - started_s < GRACE_S + 2
        assert (process.returncode, out.strip(), err) == (0, "closed", "")


def _usual_s(url: str) -> float:
    """Seconds of a request that costs nothing, on a connection that is kept."""
    took = []
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)) as connection:
        for _ in range(21):
            started_s = time.perf_counter()
            connection.request("GET", "/health/live")
            assert connection.getresponse().read()
            took.append(time.perf_counter() - started_s)
    return statistics.median(took)


def _ready(url: str) -> bool:
    try:
        with urlopen(url + "health/ready", timeout=5) as response:
            return bool(json.load(response)["status"] == "ok")
    except OSError:
        return False
