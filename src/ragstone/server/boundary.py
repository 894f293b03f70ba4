"""What every request passes before a route sees it: its id, host and origin, the door, its deadline, its body.

Plain ASGI, outermost first: `SecurityHeaders` → `request_log.RequestLog` → `problems.UnexpectedErrors` →
`origins.Origins` → `Crowd` → `shedding.FullLane` → `door.Door` → `patience.Patience` → `BoundedBody` → the application.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone.server.access import Policy
from ragstone.server.problems import RETRY_AFTER_S, SlowBodyError, problem

BODY_TIMEOUT_S = (
    10.0  # the usual 64 KiB take under a second on any line; slower senders only hold a connection
)
MIN_BODY_RATE = 4096  # bytes a second: a tenth of the slowest mobile line; 50 MB would take three hours
# Answers 16 and searches some 70 at once, the rest waits for clients; each holds 0.1 MB or so.
MAX_REQUESTS = 256

# No inline script or style, nothing from elsewhere, and no string may become markup (trusted types).
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


_SECURITY_LINES = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_UNKEPT = (b"cache-control", b"no-store")  # answers quote private documents
_SECURITY_NAMES = frozenset(name for name, _ in _SECURITY_LINES)


class SecurityHeaders:
    """Adds the security headers to every response, error responses included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                message["headers"] = secured(message.get("headers", ()))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def secured(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Response headers, their names in small letters as ASGI has them, with ours in place of any of the same name."""
    others = [(name, value) for name, value in headers if name not in _SECURITY_NAMES]
    kept = any(name == b"cache-control" for name, _ in others)
    return others + _SECURITY_LINES + ([] if kept else [_UNKEPT])


class Crowd:
    """Refuses requests beyond a number that are being served at once; probes of health are always answered."""

    def __init__(self, app: ASGIApp, *, most: int = MAX_REQUESTS) -> None:
        self._app = app
        self._most = most
        self._here = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].startswith("/health/"):
            await self._app(scope, receive, send)
            return
        if self._here >= self._most:
            await problem(
                503,
                code="busy",
                detail=f"{self._most} requests are being served already.",
                hint="Try again in a second.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )(scope, receive, send)
            return
        self._here += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._here -= 1


class BoundedBody:
    """Reads the body before the route does, as its policy says: counted while reading, one type, in bounded time."""

    def __init__(self, app: ASGIApp, *, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body = scope["type"] == "http" and scope["method"] in {"POST", "PUT", "PATCH"}
        if not (has_body and scope["state"]["serves_method"]):  # or the route says 405
            await self._app(scope, receive, send)
            return
        policy: Policy = scope["state"]["policy"]
        kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        if kind != policy.media_type:
            await problem(
                415,
                code="unsupported_media_type",
                detail=f"The body must be {policy.media_type}.",
                hint=f"Send the header Content-Type: {policy.media_type}.",
            )(scope, receive, send)
            return
        if policy.streamed:
            await self._app(scope, paced(receive, timeout_s=self._timeout_s), send)
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await _read(receive, policy.body_bytes)
        except TimeoutError:
            await problem(
                408, code="request_timeout", detail=f"The body took longer than {self._timeout_s:g} s."
            )(scope, receive, send)
            return
        if body is None:
            await problem(
                413, code="too_large", detail=f"The body is larger than {policy.body_bytes} bytes."
            )(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """The whole body; None as soon as it is larger than allowed."""
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > max_bytes:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once and then what the connection says (that it closed)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def paced(receive: Receive, *, timeout_s: float) -> Receive:
    """A `receive` for a body of any length that raises `SlowBodyError` for one that comes too slowly.

    Each part has to come within `timeout_s`, and all so far at `MIN_BODY_RATE` on average after that time.
    """
    started_s = time.monotonic()
    size_bytes = 0
    whole = False

    async def receive_in_time() -> Message:
        nonlocal size_bytes, whole
        if whole:
            return await receive()  # only that the client has left, which may come at any time
        try:
            async with asyncio.timeout(timeout_s):
                message = await receive()
        except TimeoutError:
            raise SlowBodyError(f"Nothing of the body came for {timeout_s:g} s.") from None
        size_bytes += len(message.get("body", b""))
        whole = message["type"] != "http.request" or not message.get("more_body", False)
        taken_s = time.monotonic() - started_s
        if not whole and taken_s > timeout_s and size_bytes < MIN_BODY_RATE * taken_s:
            raise SlowBodyError(f"The body came at less than {MIN_BODY_RATE} bytes a second.")
        return message

    return receive_in_time
