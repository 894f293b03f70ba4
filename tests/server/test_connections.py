"""Connections that send or take nothing are closed, and in their place the others are served."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.server.connections import ConnectionLimits
from server.keyed import HOURS, fill
from server.live import LiveService, running, wait_until

LIMITS = ConnectionLimits(head_s=0.4, reader_s=0.4, refused_body_s=0.3, connections=20)
HEAD = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("connections")
    fill(folder, {"default": [HOURS, *(f"A long text {number}. " + "word " * 60_000 for number in range(2))]})
    with (
        Ragstone(folder, embedder=HashingEmbedder()) as engine,
        running(engine, limits=LIMITS) as live,
    ):
        live.wait_ready()
        yield live


def _connected(service: LiveService) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=10)


@pytest.mark.parametrize("sent", [b"", b"GET", HEAD, HEAD + b"X: " + b"y" * 500])
def test_half_a_request_is_closed_in_time(service: LiveService, sent: bytes) -> None:
    with closing(_connected(service)) as raw:
        started_s = time.monotonic()
        raw.sendall(sent)
        said = raw.recv(4096)
        assert said.startswith(b"HTTP/1.1 408") if sent else said == b""
        assert raw.recv(4096) == b""
        assert 0.3 < time.monotonic() - started_s < 2


def test_a_head_that_drips_is_closed_as_well(service: LiveService) -> None:
    with closing(_connected(service)) as raw:
        started_s = time.monotonic()
        raw.settimeout(0.05)
        said = b""
        for byte in HEAD * 20:
            try:
                raw.sendall(bytes([byte]))
                said += raw.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if said:
                break
        assert time.monotonic() - started_s < 2
        assert said == b"" or said.startswith(b"HTTP/1.1 408")


def test_the_next_request_on_a_connection_has_its_own_time(service: LiveService) -> None:
    with closing(_connected(service)) as raw:
        for _ in range(3):
            raw.sendall(HEAD + b"\r\n")
            said = b""
            while not said.endswith(b"}"):
                said += raw.recv(4096)
            assert said.startswith(b"HTTP/1.1 200")
        raw.sendall(HEAD)  # and the fourth never ends
        assert raw.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_response_leaves_in_one_piece(service: LiveService) -> None:
    with closing(_connected(service)) as raw:
        for _ in range(50):
            raw.sendall(HEAD + b"\r\n")
            said = raw.recv(4096)
            assert said.startswith(b"HTTP/1.1 200")
            assert said.endswith(b"}")


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (
            b"GET /api/search?q=" + b"x" * 400_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            431,
            "head_too_large",
        ),
        (HEAD + b"X: " + b"y" * 3_000_000 + b"\r\n\r\n", 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n", 400, "bad_request"),
    ],
)
def test_a_refused_head_is_told_why_even_while_it_is_being_sent(
    service: LiveService, head: bytes, status: int, code: str
) -> None:
    with closing(_connected(service)) as raw:
        raw.sendall(head)
        said = b""
        while got := raw.recv(65_536):
            said += got
    told, _, body = said.partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in told.lower()
    assert b"content-security-policy: default-src 'none'" in told.lower()
    assert json.loads(body)["code"] == code
    wait_until(lambda: not service.server.server_state.connections, "it is closed")


def test_a_body_that_is_none_is_refused_once(service: LiveService, caplog: pytest.LogCaptureFixture) -> None:
    """The route that would refuse it, too, hears that the client is gone: two answers to one request are an error."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with closing(_connected(service)) as raw:
        raw.sendall(head + b"5\r\nhello\r\nzzz\r\n")
        said = b""
        while got := raw.recv(4096):
            said += got
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1") == 1
    assert b"application/problem+json" in said
    wait_until(lambda: not service.server.server_state.connections, "it is closed")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("sends_on", [True, False])
def test_the_rest_of_a_refused_body_is_not_waited_for(service: LiveService, *, sends_on: bool) -> None:
    with closing(_connected(service)) as raw:
        started_s = time.monotonic()
        raw.sendall(b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000000\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 404")
        if sends_on:
            with pytest.raises(OSError):
                while time.monotonic() - started_s < 5:
                    raw.sendall(b"x" * 1000)
        else:
            while raw.recv(4096):
                pass
        assert time.monotonic() - started_s < 3  # an idle connection has five seconds


def test_a_reader_that_takes_nothing_is_cut(service: LiveService) -> None:
    with closing(socket.socket()) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(10)
        raw.connect(("127.0.0.1", service.port))
        request = b"GET /api/document?uri=default/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        raw.sendall(request * 10)  # 3 MB and more, of which nothing is read
        connections = service.server.server_state.connections

        def accepted() -> list[object]:
            return [
                found for found in connections.copy() if getattr(found, "client", None) == raw.getsockname()
            ]

        wait_until(lambda: bool(accepted()), "it is accepted")
        (mine,) = accepted()
        assert wait_until(lambda: mine not in connections, "it is cut") < 2


def test_a_slow_but_steady_reader_gets_everything(service: LiveService) -> None:
    with closing(socket.socket()) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(10)
        raw.connect(("127.0.0.1", service.port))
        raw.sendall(
            b"GET /api/document?uri=default/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
        size, started_s = 0, time.monotonic()
        while part := raw.recv(2048):
            size += len(part)
            if time.monotonic() - started_s < 1.2:  # three times what a reader who takes nothing has
                time.sleep(0.01)
        assert size > 300_000


def test_the_longest_waiting_connection_makes_room(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    limits = ConnectionLimits(head_s=60.0, connections=20)  # none of them is closed for its own time
    with (
        Ragstone(tmp_path, embedder=HashingEmbedder()) as engine,
        running(engine, limits=limits) as service,
        ExitStack() as stack,
    ):
        waiting = [stack.enter_context(closing(_connected(service))) for _ in range(60)]
        for raw in waiting:
            raw.sendall(b"GET /")
        assert service.get("/health/live").status == 200
        assert len(service.server.server_state.connections) <= 2 * limits.connections
        waiting[0].settimeout(10)
        with suppress(ConnectionResetError):  # when its few bytes had not been read yet
            assert waiting[0].recv(100)[:12] in {b"", b"HTTP/1.1 408"}
        for raw in waiting:  # or stopping the service would wait for them
            raw.close()
