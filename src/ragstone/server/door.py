"""The one door: finds the route's policy and the caller, and refuses who may not pass, before a body is read.

What no route of the application declares does not exist: a path that matches none is answered here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from ragstone.errors import StoreError
from ragstone.server.access import Caller, Policy, policy_of
from ragstone.server.identity import Identity
from ragstone.server.problems import problem
from ragstone.server.rates import Rates


class Door:
    """ASGI. Leaves `policy`, `route` and `caller` in the request's state for what comes after.

    Raises `LookupError` when it is made for a route without a policy.
    """

    def __init__(
        self, app: ASGIApp, *, routes: Sequence[BaseRoute], identity: Identity, rates: Rates
    ) -> None:
        self._app = app
        self._policies = [(route, policy_of(route)) for route in routes]
        self._identity = identity
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = await self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Why this request goes no further; None when it does."""
        found = self._route(scope)
        if found is None:
            return problem(404, code="not_found", detail="Not Found")
        route, policy, serves = found
        state = scope.setdefault("state", {})
        state["serves_method"] = serves
        state["policy"], state["route"] = policy, getattr(route, "path", "unknown")
        if policy.needs == "open":
            return None
        try:
            caller = self._identity.caller(scope)
        except StoreError as error:
            return problem(
                503, code=error.code, detail="The keys cannot be read.", hint="See: ragstone keys list"
            )
        if caller is not None:
            state["caller"] = caller
        return await self._too_often(scope, caller, policy) or _not_allowed(caller, policy)

    async def _too_often(self, scope: Scope, caller: Caller | None, policy: Policy) -> Response | None:
        """Whoever has no key is counted by address, so that guessing is slow; on an open loopback nobody is."""
        if caller is None:
            wait_s = await self._rates.take(f"address:{self._identity.address(scope)}")
        else:
            wait_s = await self._rates.take(f"key:{caller.id}", policy.cost) if caller.id else 0.0
        if wait_s == 0:
            return None
        seconds = max(1, math.ceil(wait_s))
        return problem(
            429,
            code="too_many_requests",
            detail="This key, or this address, has asked too often.",
            hint=f"Try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
        )

    def _route(self, scope: Scope) -> tuple[BaseRoute, Policy, bool] | None:
        """The route which will serve the request, its policy, and whether it serves this method: if not, it will say
        so; None where there is no such path."""
        partial = None
        for route, declared in self._policies:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return route, declared, True
            if match is Match.PARTIAL and partial is None:
                partial = route, declared, False
        return partial


def _not_allowed(caller: Caller | None, policy: Policy) -> Response | None:
    if caller is None:
        return problem(
            401,
            code="key_required",
            detail="This needs a key that is valid now.",
            hint="Send it as: Authorization: Bearer <key>. Make one with: ragstone keys add NAME",
            headers={"WWW-Authenticate": 'Bearer realm="ragstone"'},
        )
    if not caller.may(policy.needs):
        return problem(
            403,
            code="not_allowed",
            detail=f"This key may {caller.permission}; this needs one that may {policy.needs}.",
            hint="Make one with: ragstone keys add NAME --may " + policy.needs,
        )
    return None
