"""How long a request may take in all: the service's limit, or less if the caller says so in `X-Request-Timeout`.

Work in threads looks at `ragstone.deadlines` and starts nothing more once the time is over; what then has still not
answered is left, and the caller told. A stream that has begun ends itself, with an event that says why.
"""

from __future__ import annotations

import asyncio
import math

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone import deadlines
from ragstone.server.access import Policy
from ragstone.server.problems import problem

HEADER = "x-request-timeout"
# Whatever ends itself in time says more than this can; a deadline is kept within 100 ms (RELIABILITY B3).
BACKSTOP_S = 0.05


class Patience:
    """ASGI, behind the door: gives the request its deadline, and answers 504 when nothing else has."""

    def __init__(self, app: ASGIApp, *, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked_s = _asked_s(Headers(scope=scope))
        if asked_s is None:
            await problem(
                422,
                code="invalid_input",
                detail="X-Request-Timeout is not a number of seconds above 0.",
                hint="For example: X-Request-Timeout: 2.5",
            )(scope, receive, send)
            return
        policy: Policy = scope["state"]["policy"]
        # A large upload may take long; its pace is watched instead.
        most_s = math.inf if policy.streamed else self._timeout_s
        await self._within(min(asked_s, most_s), scope, receive, send)

    async def _within(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                limit.reschedule(None)
            await send(message)

        delay_s = None if math.isinf(seconds) else seconds + BACKSTOP_S
        try:
            with deadlines.within(seconds):
                async with asyncio.timeout(delay_s) as limit:
                    await self._app(scope, receive, noted)
        except TimeoutError:
            if started or not limit.expired():
                raise
            await problem(
                504,
                code="deadline",
                detail=f"The request was not answered within {seconds:g} s.",
                hint="Give it more time, or ask for less.",
            )(scope, receive, send)


def _asked_s(headers: Headers) -> float | None:
    """Seconds; infinite if the header is not there, None if it is no such number."""
    given = headers.get(HEADER)
    if given is None:
        return math.inf
    try:
        seconds = float(given) if len(given) <= 20 else math.nan
    except ValueError:
        return None
    return seconds if seconds > 0 else None  # a NaN is not
