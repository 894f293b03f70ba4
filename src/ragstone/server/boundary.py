"""What every request passes before a route sees it: host, origin, body limits; and headers on the way out.

Plain ASGI, outermost first: `SecurityHeaders` → `LocalCallers` → `access.Door` → `BoundedBody` → the application.
A page of another site must not reach a service on the reader's own machine: the Host check stops names
that were re-pointed at 127.0.0.1, the Origin check stops forms and scripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone.server.access import Policy
from ragstone.server.problems import problem

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
BODY_TIMEOUT_S = (
    10.0  # the usual 64 KiB take under a second on any line; slower senders only hold a connection
)

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


class SecurityHeaders:
    """Adds the security headers to every response, error responses included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"  # answers quote private documents
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class LocalCallers:
    """Refuses requests for another host name and requests that a page of another site makes."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = LOOPBACK_HOSTS) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or host_name(hosts[0]) not in self._hosts:
            refusal = problem(
                421,
                code="host_not_allowed",
                detail="This service answers only to its own names.",
                hint="Open it as http://127.0.0.1 or http://localhost with its port.",
            )
            await refusal(scope, receive, send)
        elif scope["path"].startswith("/api/") and not same_origin(headers, host=hosts[0]):
            refusal = problem(
                403,
                code="origin_not_allowed",
                detail="Another site may not use this service.",
                hint="Use the service's own page, or a client that sends no Origin header.",
            )
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def host_name(host: str) -> str:
    """The lower-case name of a Host header without its port; empty when the header is malformed.

    Any port is right: the check is about names, and a tunnel may change the port.
    """
    name, bracket, rest = host.rpartition("]")
    if bracket:
        name, port = name + bracket, rest.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    well_formed = port == "" or (port.isascii() and port.isdigit() and len(port) <= 5)
    return name.lower() if well_formed else ""


def same_origin(headers: Headers, *, host: str) -> bool:
    """Whether a browser says that the request comes from our own page; clients without one may ask."""
    if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        return False
    origins = headers.getlist("origin")
    if not origins:
        return True
    try:
        origin = urlsplit(origins[0])
    except ValueError:
        return False
    return len(origins) == 1 and origin.scheme in {"http", "https"} and origin.netloc == host


class BoundedBody:
    """Reads the body before the route does, as its policy says: counted while reading, one type, in bounded time."""

    def __init__(self, app: ASGIApp, *, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
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
            await self._app(scope, receive, send)
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
