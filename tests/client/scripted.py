"""A server on loopback that answers each connection with the next of its scripts: bytes, then a closed connection."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from typing import Any, Self


def response(status: int, body: bytes, *headers: str) -> bytes:
    """A whole HTTP response."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def json_response(value: Any, *, status: int = 200) -> bytes:
    """A JSON document."""
    return response(status, json.dumps(value).encode(), "Content-Type: application/json")


def refusal(status: int, *, retry_after: str | None = None, code: str = "busy") -> bytes:
    """A problem document."""
    body = {"status": status, "code": code, "detail": "Not now.", "hint": "Later.", "request_id": "r-1"}
    headers = ["Content-Type: application/problem+json"]
    if retry_after is not None:
        headers.append(f"Retry-After: {retry_after}")
    return response(status, json.dumps(body).encode(), *headers)


def stream(*events: tuple[str, Any]) -> bytes:
    """The beginning of an event stream; it ends where the connection does, in the middle of a chunked body."""
    frames = b"".join(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + (f"{len(frames):x}\r\n".encode() + frames + b"\r\n" if frames else b"")


class Held(bytes):
    """Sent, and then nothing more comes: the connection stays open until the client goes."""


class ScriptedServer:
    """Scripts are used in order, the last one again and again; `None` says nothing and waits for the client to go."""

    def __init__(self) -> None:
        self.scripts: Sequence[bytes | None] = ()
        self.requests: list[bytes] = []
        self.left = threading.Event()  # a client that was answered nothing, or not to the end, has gone
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def plays(self, *scripts: bytes | None) -> None:
        """What it says from now on."""
        self.scripts = scripts

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                self.requests.append(_request(connection))
                script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
                connection.sendall(script or b"")
                if script is None or isinstance(script, Held):
                    while connection.recv(4096):
                        pass
                    self.left.set()


def _request(connection: socket.socket) -> bytes:
    """Everything up to the end of the body, as long as Content-Length says."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < wanted:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
