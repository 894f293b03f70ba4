"""Who may do what: every route declares a policy, and `door.Door` looks at it before anything else is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from ragstone.errors import NoCollectionError

Permission: TypeAlias = Literal["open", "read", "write", "admin"]
"""What a route asks for and a caller holds, each including those before it; `open` asks for no caller."""

PERMISSIONS: tuple[Permission, ...] = ("open", "read", "write", "admin")

MAX_BODY_BYTES = 64 * 1024  # a question is ≤ 1000 characters; the rest is room for the conversation
ANSWER_COST = 10  # tokens of rate; a search costs one, and a chat model takes seconds

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Policy:
    """What a route lets in: who, and how large a body of which type.

    A `streamed` body is handed on as it comes and counted by the route; others are read whole before it is called.
    A request takes `cost` tokens of its caller's rate.
    """

    needs: Permission
    body_bytes: int = MAX_BODY_BYTES
    media_type: str = "application/json"
    streamed: bool = False
    cost: int = 1


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: a name for logs, and what it may do; `collections` None: all of them.

    `id` is the key's, empty without one. What takes longer than a moment asks `current` as it goes on: the key may
    have been revoked since.
    """

    name: str
    permission: Permission
    collections: frozenset[str] | None = None
    id: str = ""
    current: Callable[[], bool] = field(default=_always, compare=False, repr=False)

    def may(self, needed: Permission) -> bool:
        """Whether the permission held includes the one needed."""
        return PERMISSIONS.index(self.permission) >= PERMISSIONS.index(needed)

    def sees(self, collection: str) -> bool:
        """Whether the collection is one of the caller's."""
        return self.collections is None or collection in self.collections

    def check(self, collections: Iterable[str]) -> None:
        """Raise the `NoCollectionError` of a missing one for the first that is not the caller's."""
        for name in collections:
            if not self.sees(name):
                raise NoCollectionError(f"no collection {name!r}")


LOCAL = Caller("local", "admin")  # whoever may reach a loopback address without keys


def policy(
    needs: Permission,
    *,
    body_bytes: int = MAX_BODY_BYTES,
    media_type: str = "application/json",
    streamed: bool = False,
    cost: int = 1,
) -> Callable[[Endpoint], Endpoint]:
    """Declare a route's policy; stands under the router's decorator, on the function itself."""
    declared = Policy(needs, body_bytes=body_bytes, media_type=media_type, streamed=streamed, cost=cost)

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


def caller_of(connection: HTTPConnection) -> Caller:
    """Who makes the request, as the door found."""
    caller: Caller = connection.state.caller
    return caller


async def _caller(connection: HTTPConnection) -> Caller:
    # Not `caller_of` itself: what is not a coroutine, FastAPI calls in a thread.
    return caller_of(connection)


TheCaller = Annotated[Caller, Depends(_caller)]
