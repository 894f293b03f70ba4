"""Refusals before a request is parsed: the same as behind the parser, and only of what the parser would take whole."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.server.connections import ConnectionLimits
from ragstone.server.metrics import ServiceMetrics
from ragstone.server.origins import OwnNames
from ragstone.server.problems import BusyError
from ragstone.server.search_lane import THREADS, WAITING
from ragstone.server.shedding import MOST_BYTES, LoadShedding
from ragstone.types import Vector
from server.keyed import HOURS, fill
from server.live import LiveService, running, wait_until

LIMITS = ConnectionLimits(reader_s=0.4)
LINE = b"GET /api/search?q=when+nine HTTP/1.1\r\n"
HOST = b"Host: 127.0.0.1\r\n"
AS_CURL = LINE + HOST + b"User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
AS_A_LIBRARY = (
    LINE + HOST + b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nX-API-Key: k\r\n\r\n"
)
# What the boundary, or the protocol, answers in a way of its own.
NOT_PLAIN = {
    "an id of the client's": LINE + HOST + b"X-Request-ID: my.own\r\n\r\n",
    "closes": LINE + HOST + b"Connection: close\r\n\r\n",
    "upgrade": LINE + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "origin": LINE + HOST + b"Origin: https://evil.example\r\n\r\n",
    "another site": LINE + HOST + b"Sec-Fetch-Site: cross-site\r\n\r\n",
    "body": LINE + HOST + b"Content-Length: 2\r\n\r\n{}",
    "empty body": LINE + HOST + b"Content-Length: 0\r\n\r\n",
    "chunks": LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "expects": LINE + HOST + b"Expect: 100-continue\r\n\r\n",
    "two hosts": LINE + HOST + HOST + b"\r\n",
    "a foreign host": LINE + b"Host: evil.example\r\n\r\n",
    "no host": LINE + b"\r\n",
    "no colon": LINE + HOST + b"Broken\r\n\r\n",
    "a zero byte": LINE + HOST + b"A: b\x00\r\n\r\n",
    "a folded line": LINE + HOST + b"A: b\r\n folded\r\n\r\n",
    "a space before the colon": LINE + HOST + b"A : b\r\n\r\n",
    "HTTP/1.0": LINE.replace(b"1.1", b"1.0") + HOST + b"\r\n",
    "HEAD": LINE.replace(b"GET", b"HEAD") + HOST + b"\r\n",
    "get": LINE.replace(b"GET", b"get") + HOST + b"\r\n",
    "another path": LINE.replace(b"search?", b"search/x?") + HOST + b"\r\n",
    "large": LINE + HOST + b"A: " + b"b" * MOST_BYTES + b"\r\n\r\n",
    "two": AS_CURL + AS_CURL,
    "half": AS_CURL[:-2],
}
_NAMES = [
    b"Host",
    b"connection",
    b"Content-Length",
    b"transfer-encoding",
    b"Accept",
    b"x",
    b"Origin",
    b"Keep-Alive",
]
_VALUES = [
    b"",
    b"127.0.0.1",
    b"localhost:80",
    b"keep-alive",
    b"close",
    b"keep-alive, close",
    b"chunked",
    b"0",
    b" y\t",
    b"\xff",
]


class GatedEmbedder(HashingEmbedder):
    """Embeds queries while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def embed_query(self, text: str) -> Vector:
        assert self.gate.wait(60)
        return super().embed_query(text)


@pytest.fixture(scope="module")
def embedder() -> GatedEmbedder:
    return GatedEmbedder()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, embedder: GatedEmbedder) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("shedding")
    fill(folder, {"default": [HOURS]})
    with Ragstone(folder, embedder=embedder) as engine, running(engine, limits=LIMITS) as live:
        live.wait_ready()
        yield live


def _connected(service: LiveService) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=10)


def _response(raw: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next response on a connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += raw.recv(1) or pytest.fail(f"closed after {received!r}")
    status_line, *lines = received[:-4].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = raw.recv(int(headers["content-length"]), socket.MSG_WAITALL)
    return int(status_line.split()[1]), headers, body


@contextmanager
def full(service: LiveService, embedder: GatedEmbedder) -> Iterator[None]:
    """Every place for searches is taken until the block ends."""
    searches = service.app.state.service.searches
    embedder.gate.clear()
    waiting = [_connected(service) for _ in range(THREADS + WAITING)]
    try:
        for number, raw in enumerate(waiting):
            raw.sendall(b"GET /api/search?q=taken+%d HTTP/1.1\r\n%b\r\n" % (number, HOST))
        wait_until(lambda: searches._threads.taken >= 2 * THREADS, "the places are taken")
        with closing(_connected(service)) as raw:
            wait_until(lambda: _asked(raw, AS_CURL)[0] == 503, "the lane is full")
        yield
    finally:
        embedder.gate.set()
        for raw in waiting:
            _response(raw)
            raw.close()


def _asked(raw: socket.socket, request: bytes) -> tuple[int, dict[str, str], bytes]:
    raw.sendall(request)
    return _response(raw)


def test_a_plain_search_is_refused_as_one_that_is_parsed(
    service: LiveService, embedder: GatedEmbedder
) -> None:
    parsed = LINE + HOST + b"X-Request-ID: my.own\r\n\r\n"
    shedding: LoadShedding = service.app.state.shedding
    with full(service, embedder), closing(_connected(service)) as raw:
        assert shedding.refusal(parsed) is None
        expected = _asked(raw, parsed)
        assert (expected[0], expected[1].pop("x-request-id")) == (503, "my.own")
        for plain in (AS_CURL, AS_A_LIBRARY):
            assert shedding.refusal(plain) is not None
            status, headers, body = _asked(raw, plain)
            told, wanted = json.loads(body), json.loads(expected[2])
            assert told.pop("request_id") == headers.pop("x-request-id")
            assert wanted.pop("request_id") == "my.own"
            assert {**headers, "date": "", "content-length": ""} == {
                **expected[1],
                "date": "",
                "content-length": "",
            }
            assert (status, told) == (503, wanted)


def test_a_connection_goes_on_after_refusals_however_they_come(
    service: LiveService, embedder: GatedEmbedder
) -> None:
    with closing(_connected(service)) as raw:
        with full(service, embedder):
            for _ in range(3):
                assert _asked(raw, AS_CURL)[0] == 503
            raw.sendall(AS_CURL + AS_CURL)
            assert [_response(raw)[0], _response(raw)[0]] == [503, 503]
            raw.sendall(AS_CURL[:30])
            wait_until(lambda: _received(service) >= 30, "half a request is there")
            raw.sendall(AS_CURL[30:])
            assert _response(raw)[0] == 503
            assert _asked(raw, AS_CURL)[0] == 503
        assert json.loads(_asked(raw, AS_CURL)[2])["hits"]


def test_refusals_count_and_are_logged_and_a_foreign_host_or_site_is_told_as_ever(
    service: LiveService, embedder: GatedEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    with full(service, embedder), closing(_connected(service)) as raw:
        before = _refused(service)
        with caplog.at_level(logging.INFO, "ragstone.access"):
            assert _asked(raw, AS_CURL)[0] == 503
        assert _refused(service) == before + 1
        assert [record.getMessage()[:19] for record in caplog.records] == ["GET /api/search 503"]
        assert _asked(raw, AS_CURL.replace(b"127.0.0.1", b"evil.example"))[0] == 421
        assert _asked(raw, LINE + HOST + b"Origin: https://evil.example\r\n\r\n")[0] == 403


def test_a_client_that_reads_no_refusal_is_closed(service: LiveService, embedder: GatedEmbedder) -> None:
    with full(service, embedder), closing(_connected(service)) as raw:
        client = raw.getsockname()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(1)
        wait_until(lambda: client in _clients(service), "it is accepted")
        with suppress(OSError):  # nothing is taken any more, or it is cut
            for _ in range(200_000):
                raw.sendall(AS_CURL)
        wait_until(lambda: client not in _clients(service), "it is cut")


def _clients(service: LiveService) -> list[Any]:
    connections: list[Any] = list(service.server.server_state.connections)
    return [one.client for one in connections]


def _received(service: LiveService) -> int:
    """Bytes of heads that are not whole, over all connections."""
    connections: list[Any] = list(service.server.server_state.connections)
    return sum(len(one.conn.trailing_data[0]) for one in connections)


def _refused(service: LiveService) -> float:
    line = r'^ragstone_http_requests_total\{method="GET",route="/api/search",status="503"\} (\S+)$'
    found = re.search(line, service.app.state.service.metrics.text(), re.MULTILINE)
    return float(found[1]) if found else 0.0


# -- what is recognised ----------------------------------------------------------------------------------


def _busy() -> None:
    raise BusyError("All places for searches are taken.", hint="Try again in a second.")


@pytest.fixture(scope="module")
def shedding() -> LoadShedding:
    return LoadShedding(check=_busy, names=OwnNames(), metrics=ServiceMetrics())


@pytest.mark.parametrize("request_bytes", NOT_PLAIN.values(), ids=list(NOT_PLAIN))
def test_what_is_answered_in_another_way_is_parsed(shedding: LoadShedding, request_bytes: bytes) -> None:
    assert shedding.refusal(request_bytes) is None


def test_a_refusal_is_one_whole_response_after_which_the_connection_goes_on(shedding: LoadShedding) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/api/search?q=x", headers=[("Host", "127.0.0.1")]))
    client.send(h11.EndOfMessage())
    client.receive_data(shedding.refusal(AS_CURL) or b"")
    response, data = client.next_event(), client.next_event()
    assert isinstance(response, h11.Response)
    assert isinstance(data, h11.Data)
    assert (response.status_code, dict(response.headers)[b"retry-after"]) == (503, b"1")
    assert json.loads(bytes(data.data))["code"] == "busy"
    assert isinstance(client.next_event(), h11.EndOfMessage)
    assert client.trailing_data == (b"", False)
    client.start_next_cycle()


_HEADERS = st.lists(
    st.one_of(
        st.just(HOST),
        st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES)).map(
            lambda header: b"%b: %b\r\n" % header
        ),
    ),
    max_size=3,
)
_NOISE = st.one_of(
    st.just(b""),
    st.binary(max_size=3),
    st.sampled_from([b"\r\n", b"\n", b" ", b"\t", AS_CURL, *NOT_PLAIN.values()]),
)


@settings(max_examples=500)
@given(_HEADERS, _NOISE, _HEADERS, _NOISE)
def test_what_is_recognised_is_one_whole_request_that_the_parser_takes(
    shedding: LoadShedding, first: list[bytes], noise: bytes, rest: list[bytes], end: bytes
) -> None:
    received = LINE + b"".join([*first, noise, *rest]) + b"\r\n" + end
    if shedding.refusal(received) is None:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(received)
    request, over = connection.next_event(), connection.next_event()
    assert isinstance(request, h11.Request)
    assert isinstance(over, h11.EndOfMessage)
    assert (request.method, request.target.partition(b"?")[0]) == (b"GET", b"/api/search")
    names = [name for name, _ in request.headers]
    assert names.count(b"host") == 1
    assert dict(request.headers)[b"host"].startswith((b"127.0.0.1", b"localhost", b"[::1]"))
    assert not {b"origin", b"sec-fetch-site", b"x-request-id", b"upgrade", b"expect"} & set(names)
    assert connection.trailing_data == (b"", False)
    assert (connection.their_state, connection.our_state) == (h11.DONE, h11.SEND_RESPONSE)  # and it is kept
