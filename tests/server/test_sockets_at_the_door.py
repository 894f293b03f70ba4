"""WebSockets pass the same checks: host, origin, key and rate, before they are accepted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi import APIRouter, WebSocket
from starlette.types import Message

from ragstone.keys import KeyStore
from ragstone.server.access import policy
from ragstone.server.door import Door
from ragstone.server.identity import Identity
from ragstone.server.origins import Origins, OwnNames
from ragstone.server.rates import Rate, Rates
from ragstone.server.request_log import RequestLog

router = APIRouter()


@router.websocket("/ws/chat")
@policy("write", cost=2)
async def chat(socket: WebSocket) -> None:
    """Accepts, and says who called."""
    await socket.accept()
    await socket.send_text(socket.state.caller.name)
    await socket.close()


def _asked(app: RequestLog, **headers: str) -> list[Message]:
    """What the server is told for one handshake from this machine."""
    sent: list[Message] = []
    given = {"host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in headers.items()}}

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/ws/chat",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "extensions": {"websocket.http.response": {}},
        "subprotocols": [],
    }
    asyncio.run(app(scope, receive, send))
    return sent


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path)


def _app(keys: KeyStore, rates: Rates | None = None) -> RequestLog:
    door = Door(router, routes=router.routes, identity=Identity(keys), rates=rates or Rates(None))
    return RequestLog(Origins(door, names=OwnNames(), origins=["https://example.org"]))


def test_a_socket_needs_a_key_that_may(keys: KeyStore) -> None:
    app = _app(keys)
    assert _asked(app)[1] == {"type": "websocket.send", "text": "local"}  # no key was ever made
    _, writer = keys.add("writer", permission="write")
    _, reader = keys.add("reader")
    for headers, status in (
        ({}, 401),
        ({"authorization": f"Bearer {reader}"}, 403),
        ({"sec_websocket_protocol": f"chat, ragstone-key.{reader}"}, 403),
        ({"sec_websocket_protocol": f"ragstone-key.{writer}x"}, 401),
        ({"sec_websocket_protocol": f"ragstone-key.{writer}", "authorization": f"Bearer {reader}"}, 401),
    ):
        (start, *_) = _asked(app, **headers)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", status), headers
    for headers in (
        {"authorization": f"Bearer {writer}"},
        {"sec_websocket_protocol": f"chat, ragstone-key.{writer}"},
    ):
        accepted, said, _ = _asked(app, **headers)
        assert (accepted["type"], said.get("text")) == ("websocket.accept", "writer")
        assert b"x-request-id" in dict(accepted["headers"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
    ],
)
def test_a_socket_of_another_site_is_not_accepted(
    keys: KeyStore, headers: dict[str, str], status: int
) -> None:
    (start, *_) = _asked(_app(keys), **headers)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)


def test_a_socket_of_a_listed_site_is_accepted(keys: KeyStore) -> None:
    (start, *_) = _asked(_app(keys), origin="https://example.org", sec_fetch_site="cross-site")
    assert start["type"] == "websocket.accept"


def test_sockets_are_counted(keys: KeyStore) -> None:
    _, secret = keys.add("writer", permission="write")
    app = _app(keys, Rates(Rate(1, 4)))
    opened = [_asked(app, authorization=f"Bearer {secret}")[0] for _ in range(3)]
    assert [start["type"] for start in opened[:2]] == ["websocket.accept"] * 2
    assert opened[2]["status"] == 429
    assert b"retry-after" in dict(opened[2]["headers"])
