"""A real service for tests: uvicorn on loopback over a real engine, and a plain HTTP client."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from ragstone.answering.chat_model import ChatDelta, Message
from ragstone.engine import Ragstone
from ragstone.errors import CancelledError
from ragstone.server.access import MAX_BODY_BYTES
from ragstone.server.app import create_app
from ragstone.server.connections import ConnectionLimits, connections_with

HOSTILE_NAME = "<img src=x onerror=alert(1)>.md"
LIBRARY = {
    "lighthouse.md": (
        "# Eddystone Lighthouse\n\nFour lighthouses have stood on the Eddystone Rocks off Cornwall.\n\n"
        "## Smeaton's tower\n\nJohn Smeaton finished the third lighthouse in 1759. He cut the granite blocks "
        "with dovetail joints and set them in hydraulic lime.\n\nThe tower was taken down in 1882 because the "
        "rock beneath it was eroding.\n"
    ),
    "bridge.md": (
        "# Forth Bridge\n\nThe Forth Bridge carries the railway over the Firth of Forth. It was opened on "
        "4 March 1890 by the Prince of Wales.\n\nAbout 4600 workers built it, and painting it never ends.\n"
    ),
    "bees.md": (
        "# Bees 🐝🐝🐝\n\n🐝 A honey bee colony holds up to 60000 workers in summer. 🐝 The waggle dance tells "
        "the other bees how far away the nectar is.\n"
    ),
    HOSTILE_NAME: (
        "# <script>alert('title')</script>\n\nThe kraken sleeps under the <img src=x onerror=alert(2)> sea of "
        "Norway. <script>fetch('http://192.0.2.1/')</script> Its arms are as long as a <b>ship</b>.\n\n"
        "<svg onload=alert(3)><a href='javascript:alert(4)'>kraken lore</a>\n"
    ),
}


def write_library(folder: Path) -> Path:
    """A small folder of documents with known facts; one of them is hostile in name, title and text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in LIBRARY.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@dataclass
class DrippingModel:
    """A chat model that says one word every `pause_s` and notes when it was told to stop."""

    text: str = "John Smeaton finished the third lighthouse in 1759 [1]."
    pause_s: float = 0.02
    repeat: int = 1
    calls: int = 0
    said: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return "dripping"

    def stream(
        self,
        messages: Sequence[Message],
        *,
        timeout_s: float,
        max_tokens: int,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[ChatDelta]:
        self.calls += 1
        try:
            for word in self.text.split(" ") * self.repeat:
                self._wait(cancelled)
                self.said += 1
                yield ChatDelta(text=word + " ")
        finally:
            self.stopped.set()

    def _wait(self, cancelled: Callable[[], bool] | None) -> None:
        ends_s = time.monotonic() + self.pause_s
        while time.monotonic() < ends_s:
            if cancelled is not None and cancelled():
                raise CancelledError("the client left")
            time.sleep(min(0.02, self.pause_s))


@dataclass(frozen=True)
class Reply:
    """One HTTP response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """The server-sent events of the body as (name, data)."""
        return [parse_event(frame) for frame in self.body.decode().split("\n\n") if frame]


def parse_event(frame: str) -> tuple[str, Any]:
    first, second = frame.split("\n")
    return first.removeprefix("event: "), json.loads(second.removeprefix("data: "))


@dataclass(frozen=True)
class LiveService:
    """Where a running service listens."""

    port: int
    app: Any
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        with closing(self.connect()) as connection:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, content)

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: object, **headers: str) -> Reply:
        sent = {"Content-Type": "application/json", **headers}
        return self.request("POST", path, json.dumps(body).encode(), sent)

    def wait_ready(self) -> None:
        wait_until(lambda: self.get("/health/startup").status == 200, "the service is ready")


@contextmanager
def running(
    engine: Ragstone, *, port: int = 0, limits: ConnectionLimits | None = None, **options: Any
) -> Iterator[LiveService]:
    """The service over `engine` on loopback until the block ends; `options` go to `create_app`."""
    app = create_app(engine, **options)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            log_level="warning",
            lifespan="on",
            server_header=False,
            proxy_headers=False,
            ws="websockets-sansio",
            ws_max_size=MAX_BODY_BYTES,
            timeout_graceful_shutdown=1,
            http=connections_with(limits or ConnectionLimits(), app.state.shedding),
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "uvicorn listens")
        yield LiveService(server.servers[0].sockets[0].getsockname()[1], app, server)
    finally:
        service = app.state.service
        service.loop.call_soon_threadsafe(lambda: service.stop_soon(grace_s=0.0))
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 20.0) -> float:
    """Seconds until `condition` held; fails after `timeout_s`."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, f"waited {timeout_s} s until {what}"
        time.sleep(0.02)
    return time.monotonic() - started_s
