"""Which names the service answers to, and the pages of which sites may use it.

A page of another site must not reach a service on the reader's own machine: the Host check stops names that were
re-pointed at its address, the Origin check stops forms and scripts. The pages of `origins` are let in by CORS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone.server.problems import problem

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_NAVIGATED = (
    "/ui/",
    "/health/",
)  # with "/" what a link on another site may lead to: nothing of anybody's is there
PREFLIGHT_S = 600
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
    "access-control-allow-headers": "Authorization, Content-Type, X-API-Key, X-Request-ID, X-Request-Timeout",
    "access-control-max-age": str(PREFLIGHT_S),
}


class OwnNames:
    """The names that the service answers to: `host in names` of a Host header."""

    def __init__(self, names: Collection[str] = LOOPBACK_HOSTS, *, any_address: bool = False) -> None:
        """`names` are without port; with `any_address` every IP address is one too: only names can be re-pointed."""
        self._names = frozenset(name.lower() for name in names)
        self._any_address = any_address

    def __contains__(self, host: str) -> bool:
        name = host_name(host)
        return name in self._names or (self._any_address and _is_address(name))


class Origins:
    """ASGI: refuses requests for another host name, and those that a page of another site makes."""

    def __init__(self, app: ASGIApp, *, names: OwnNames, origins: Collection[str] = ()) -> None:
        """`origins` are of the form `https://example.org`."""
        self._app = app
        self._names = names
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin if origin in self._origins and len(headers.getlist("origin")) == 1 else None
        app = self._checked(scope, headers, allowed=allowed is not None)
        await app(scope, receive, _sharing(send, allowed) if self._origins else send)

    def _checked(self, scope: Scope, headers: Headers, *, allowed: bool) -> ASGIApp:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._names:
            return problem(
                421,
                code="host_not_allowed",
                detail="This service answers only to its own names.",
                hint="Open it by an address it listens on, or add the name to the setting allowed_hosts.",
            )
        if allowed and scope.get("method") == "OPTIONS" and "access-control-request-method" in headers:
            return Response(status_code=204, headers=_PREFLIGHT)
        path = scope["path"]
        if allowed or path == "/" or path.startswith(_NAVIGATED) or same_origin(headers, host=hosts[0]):
            return self._app
        return problem(
            403,
            code="origin_not_allowed",
            detail="Another site may not use this service.",
            hint="Use the service's own page, or add the site to the setting allowed_origins.",
        )


def _sharing(send: Send, origin: str | None) -> Send:
    """A `send` that lets the page of `origin` read the response."""

    async def shared(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.add_vary_header("Origin")
            if origin is not None:
                headers["access-control-allow-origin"] = origin
                headers["access-control-expose-headers"] = "X-Request-ID, Retry-After"
        await send(message)

    return shared


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


def _is_address(name: str) -> bool:
    try:
        if name.startswith("[") and name.endswith("]"):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
