"""Who may do what: every route declares a policy, and one door looks at it before anything else is read.

What no route of the application declares does not exist: a path that matches none is answered by the door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.errors import NotFoundError
from ragstone.server.problems import problem

Permission: TypeAlias = Literal["open", "read", "write", "admin"]
"""What a route asks for and a caller holds, each including those before it; `open` asks for no caller."""

PERMISSIONS: tuple[Permission, ...] = ("open", "read", "write", "admin")

MAX_BODY_BYTES = 64 * 1024  # a question is ≤ 1000 characters; the rest is room for the conversation

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Policy:
    """What a route lets in: who, and how large a body of which type.

    A `streamed` body is handed on as it comes and counted by the route; others are read whole before it is called.
    """

    needs: Permission
    body_bytes: int = MAX_BODY_BYTES
    media_type: str = "application/json"
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: a name for logs and limits, and what it may do; `collections` None: all of them."""

    name: str
    permission: Permission
    collections: frozenset[str] | None = None

    def may(self, needed: Permission) -> bool:
        """Whether the permission held includes the one needed."""
        return PERMISSIONS.index(self.permission) >= PERMISSIONS.index(needed)

    def sees(self, collection: str) -> bool:
        """Whether the collection is one of the caller's."""
        return self.collections is None or collection in self.collections

    def check(self, collections: Iterable[str]) -> None:
        """Raise the `NotFoundError` of a missing collection for the first that is not the caller's."""
        for name in collections:
            if not self.sees(name):
                raise NotFoundError(f"no collection {name!r}", hint="list them with: GET /api/collections")


LOCAL = Caller("local", "admin")  # whoever may reach a loopback address without keys


def policy(
    needs: Permission,
    *,
    body_bytes: int = MAX_BODY_BYTES,
    media_type: str = "application/json",
    streamed: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Declare a route's policy; stands under the router's decorator, on the function itself."""
    declared = Policy(needs, body_bytes=body_bytes, media_type=media_type, streamed=streamed)

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["ragstone_policy"] = declared
        return endpoint

    return declare


def policy_of(route: BaseRoute) -> Policy:
    """The policy that a route's function declares; raises `LookupError` if it declares none."""
    declared = getattr(getattr(route, "endpoint", None), "ragstone_policy", None)
    if declared is None:
        raise LookupError(f"the route {getattr(route, 'path', route)!r} declares no policy")
    known: Policy = declared
    return known


class Door:
    """Finds the route's policy and the caller, and refuses who may not pass; ASGI, before the body is read.

    Leaves `policy` and `caller` in the request's state for what comes after. Raises `LookupError` when it is made
    for a route without a policy.
    """

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._policies = [(route, policy_of(route)) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        known = self._policy(scope)
        if known is None:
            await problem(404, code="not_found", detail="Not Found")(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["policy"], state["caller"] = known, LOCAL
        await self._app(scope, receive, send)

    def _policy(self, scope: Scope) -> Policy | None:
        """That of the route which will serve the request; of one with another method, which will be told so."""
        partial = None
        for route, declared in self._policies:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return declared
            if match is Match.PARTIAL and partial is None:
                partial = declared
        return partial


def caller_of(connection: HTTPConnection) -> Caller:
    """Who makes the request, as the door found."""
    caller: Caller = connection.state.caller
    return caller


TheCaller = Annotated[Caller, Depends(caller_of)]
