"""A real HTTP server on a loopback port that plays a chat endpoint, well or badly, one script per request."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Script = Callable[["Peer"], None]


@dataclass
class Peer:
    """The server's end of one connection, with the request it read."""

    connection: socket.socket
    headers: dict[str, str]
    body: dict[str, object]
    closed_after_s: list[float]

    def send(self, text: str) -> None:
        self.connection.sendall(text.encode())

    def respond(self, status: str, body: str = "", *headers: str, kind: str = "application/json") -> None:
        lines = [
            f"HTTP/1.1 {status}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body.encode())}",
            *headers,
        ]
        self.send("\r\n".join(lines) + "\r\n\r\n" + body)

    def begin_stream(self) -> None:
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")

    def delta(self, text: str | None = None, **extra: object) -> None:
        choice = {
            "index": 0,
            "delta": {} if text is None else {"content": text},
            "finish_reason": None,
        } | extra
        self.event({"choices": [choice]})

    def event(self, value: object) -> None:
        self.send(f"data: {json.dumps(value)}\n\n")

    def finish(self, *, usage: dict[str, int] | None = None) -> None:
        self.delta(finish_reason="stop")
        if usage:
            self.event({"choices": [], "usage": usage})
        self.send("data: [DONE]\n\n")

    def wait_for_hang_up(self, limit_s: float = 5.0) -> None:
        """Note how long it takes until the client closes the connection (it sends nothing more before that)."""
        start = time.monotonic()
        self.connection.settimeout(limit_s)
        try:
            while self.connection.recv(1024):
                pass
        except ConnectionError:
            pass
        self.closed_after_s.append(time.monotonic() - start)


@dataclass
class ChatServer:
    """Plays `scripts` in order, the last one for every further request; keeps what it was asked."""

    scripts: list[Script]
    requests: list[Peer] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    closed_after_s: list[float] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_for_hang_ups(self, count: int, limit_s: float = 5.0) -> list[float]:
        end = time.monotonic() + limit_s
        while len(self.closed_after_s) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.closed_after_s


@contextmanager
def chat_server(*scripts: Script) -> Iterator[ChatServer]:
    server = ChatServer(list(scripts))
    listener = socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=_serve, args=(server, connection), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)


def _serve(server: ChatServer, connection: socket.socket) -> None:
    with connection:
        connection.settimeout(10)
        try:
            peer = _read(server, connection)
            if peer is None:
                return
            script = server.scripts[min(len(server.requests), len(server.scripts) - 1)]
            server.requests.append(peer)
            server.times.append(time.monotonic())
            script(peer)
        except OSError:  # the client left: many tests are about just that
            return


def _read(server: ChatServer, connection: socket.socket) -> Peer | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while len(body) < int(headers["Content-Length"]):
        body += connection.recv(65536)
    return Peer(connection, headers, json.loads(body), server.closed_after_s)
