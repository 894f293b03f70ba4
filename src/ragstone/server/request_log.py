"""An id for every request, in and out, and one line in the log when it is over.

The line holds the route as declared, never the path or the query that was sent, and the caller's name, never its key.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone.logs import request_id

HEADER = "x-request-id"
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # what may stand in a log line as it is

logger = logging.getLogger("ragstone.access")


class RequestLog:
    """ASGI, around everything that answers: sets the request's id, and logs how it went."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        known = given if _ACCEPTED.fullmatch(given) else new_id()
        token = request_id.set(known)
        status, started_s = 0, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] in {
                "http.response.start",
                "websocket.http.response.start",
                "websocket.accept",
            }:
                MutableHeaders(scope=message)[HEADER] = known
                status = message.get("status", 101)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            _tell(scope, status, (time.perf_counter() - started_s) * 1e3)
            request_id.reset(token)


def new_id() -> str:
    """An id for a request that came without one."""
    return secrets.token_hex(8)


def log_request(method: str, route: str, status: int, took_ms: float, *, caller: str = "-") -> None:
    """The line for a request that is over; `caller` is the name of its key."""
    # A probe every few seconds would be most of the log.
    level = logging.DEBUG if route.startswith("/health/") and status < 400 else logging.INFO
    if not logger.isEnabledFor(level):
        return
    logger.log(
        level,
        "%s %s %d %.1f ms %s",
        method if method.isalpha() and len(method) < 10 else "?",
        route,
        status,
        took_ms,
        caller,
        extra={
            "method": method[:10],
            "route": route,
            "status": status,
            "ms": round(took_ms, 1),
            "caller": caller,
        },
    )


def _tell(scope: Scope, status: int, took_ms: float) -> None:
    state = scope.get("state", {})
    caller = state.get("caller")
    log_request(
        scope.get("method", "WS"),
        state.get("route", "unknown"),
        status,
        took_ms,
        caller="-" if caller is None else caller.name,
    )
