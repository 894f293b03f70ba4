"""Searches that would find no room are refused as early as that can be seen: what a refusal costs is taken from the
searches that are served. Who has no key learns that the service is busy, and nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.logs import request_id
from ragstone.server.boundary import secured
from ragstone.server.metrics import ServiceMetrics
from ragstone.server.origins import OwnNames
from ragstone.server.problems import BusyError, error_problem
from ragstone.server.request_log import HEADER, log_request, new_id

METHOD, PATH = "GET", "/api/search"
STATUS = int(HTTPStatus.SERVICE_UNAVAILABLE)
MOST_BYTES = 8192  # of a request that is looked at before it is parsed

_ID = b"-" * 16  # where the id of the request goes, which is as long
_BEGINNING = f"{METHOD} {PATH}?".encode()
# One whole request without a body, whose connection is kept, and which the boundary lets through to the lane.
_HEADER = rb"""
    (?! (?: host|connection|content-length|transfer-encoding|expect|upgrade|origin|sec-fetch-site|x-request-id ) : )
    [a-z0-9-]+ : [\t -~]* \r\n
    | connection: [\t ]* keep-alive [\t ]* \r\n
"""
_REQUEST = re.compile(
    rb"(?-i: %b [!-~]* [ ] HTTP/1\.1 \r\n ) (?: %b )*+ host: [\t ]* ([!-~]+) [\t ]* \r\n (?: %b )*+ \r\n"
    % (re.escape(_BEGINNING), _HEADER, _HEADER),
    re.IGNORECASE | re.VERBOSE,
)


class LoadShedding:
    """Refuses before the request is parsed, at a quarter of what that and the layers around the application cost.

    Only what is recognised byte by byte as one plain search: any other request goes the usual way. To its client, in
    the log and in the metrics the refusal is the one that `FullLane` gives.
    """

    def __init__(self, *, check: Callable[[], None], names: OwnNames, metrics: ServiceMetrics) -> None:
        """`check` raises `BusyError` when a search that came now would be refused."""
        self._check = check
        self._names = names
        self._metrics = metrics

    def refusal(self, received: bytes) -> bytes | None:
        """The whole response to what has come on a connection between two requests; None if it is to be parsed."""
        if not received.startswith(_BEGINNING) or len(received) > MOST_BYTES:
            return None
        try:
            self._check()
        except BusyError as error:
            found = _REQUEST.fullmatch(received)
            return self._refused(error) if found and found[1].decode() in self._names else None
        return None

    def _refused(self, error: BusyError) -> bytes:
        started_s = time.perf_counter()
        token = request_id.set(known := new_id())
        response = _response(error.message, error.hint).replace(_ID, known.encode())
        took_ms = (time.perf_counter() - started_s) * 1e3
        log_request(METHOD, PATH, STATUS, took_ms)
        request_id.reset(token)
        self._metrics.request(METHOD, PATH, STATUS, took_ms)
        return response


@lru_cache(maxsize=128)  # they differ in how many places are taken
def _response(message: str, hint: str) -> bytes:
    """The refusal as it is sent, with `_ID` as the request's id; without a date, which 5xx need not have."""
    token = request_id.set(_ID.decode())
    response = error_problem(BusyError(message, hint=hint))
    response.headers[HEADER] = _ID.decode()
    request_id.reset(token)
    headers = b"".join(b"%b: %b\r\n" % header for header in secured(response.raw_headers))
    reason = HTTPStatus(STATUS).phrase.encode()
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (STATUS, reason, headers, bytes(response.body))


class FullLane:
    """ASGI: refuses a search before it is routed, let in and validated, at half the cost."""

    def __init__(self, app: ASGIApp, *, check: Callable[[], None]) -> None:
        """`check` raises `BusyError` when a search that came now would be refused."""
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            try:
                self._check()
            except BusyError as error:
                scope.setdefault("state", {})["route"] = PATH
                await error_problem(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
