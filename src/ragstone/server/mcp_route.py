"""`/mcp`: the Model Context Protocol over HTTP, with the keys, limits and threads of the other interfaces.

Without sessions: each request stands for itself, so nothing is kept for clients that go away, and any replica may
answer. Needs the package `mcp`; without it the route says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from ragstone.server.access import caller_of, policy, policy_of
from ragstone.server.problems import problem
from ragstone.server.rates import Rates
from ragstone.server.replying import PROBLEMS
from ragstone.server.service import Service
from ragstone.server.streaming import first_of, until_disconnect

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from ragstone.mcp.tool import Cancelled
    from ragstone.mcp.tools import Toolbox

BODY_BYTES = 4 << 20  # a text of 500,000 characters to add, escaped
REQUEST_COST = 1  # of a message, whatever it says

# The route that each tool stands for: a call takes as many tokens of the caller's rate.
TOOL_ROUTES = {
    "search": ("GET", "/api/search"),
    "fetch": ("GET", "/api/document"),
    "ask": ("POST", "/api/ask"),
    "list_documents": ("GET", "/api/documents"),
    "list_collections": ("GET", "/api/collections"),
    "memory_search": ("GET", "/api/memory/search"),
    "memory_add": ("POST", "/api/memory"),
    "add_document": ("POST", "/api/texts"),
    "delete_document": ("DELETE", "/api/documents"),
}

T = TypeVar("T")
Handle: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

mcp_api = APIRouter(responses=PROBLEMS)


@mcp_api.post("/mcp", summary="The Model Context Protocol (streamable HTTP)")
@policy("read", body_bytes=BODY_BYTES, cost=REQUEST_COST)
async def mcp(request: Request) -> Response:
    """One JSON-RPC message in, one out; what each tool asks of the caller it declares itself.

    It costs as much as the route that it stands for.
    """
    handling: McpHandling = request.app.state.mcp
    try:
        handle = await handling.handle()
    except ModuleNotFoundError as error:
        return problem(
            501,
            code="extra_missing",
            detail=f"The Model Context Protocol needs a package that is not installed: {error.name}.",
            hint="Install it with: pip install 'ragstone[mcp]'.",
        )
    return _Handled(handle, await request.body())


class _Handled(Response):
    """The protocol's own answer to a request; a client that leaves before it is there stops the work for it."""

    def __init__(self, handle: Handle, asked: bytes) -> None:
        super().__init__()
        self._handle = handle
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pending: list[Message] = [{"type": "http.request", "body": self._asked, "more_body": False}]
        forever = asyncio.Event()

        async def replay() -> Message:
            if not pending:
                await forever.wait()
            return pending.pop()

        async def work() -> None:
            await self._handle(scope, replay, send)

        working = asyncio.create_task(work())
        await first_of(working, asyncio.create_task(until_disconnect(receive)))
        if not working.cancelled():
            working.result()


class McpHandling:
    """What answers requests to `/mcp`, begun by the first one: the package takes a second to load."""

    def __init__(self, service: Service, rates: Rates, routes: Sequence[BaseRoute]) -> None:
        """`routes` are the service's own, which say what a tool costs."""
        self._service = service
        self._rates = rates
        self._costs = tool_costs(routes)
        self._begun: asyncio.Future[Handle] = asyncio.get_running_loop().create_future()
        self._running: asyncio.Task[None] | None = None

    async def handle(self) -> Handle:
        """The handler; raises `ModuleNotFoundError` where the package is not installed."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await asyncio.shield(self._begun)

    async def close(self) -> None:
        """Cancel what is still answered and let go of the memory; returns when all tasks have ended."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        """In a task of its own, because the protocol's tasks have to be begun and ended by the same one."""
        try:
            toolbox, manager = await asyncio.to_thread(_prepared, self._service, self._admit)
        except Exception as error:  # noqa: BLE001 - told to each who asks
            self._begun.set_exception(error)
            return
        try:
            async with manager.run():
                self._begun.set_result(manager.handle_request)
                await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(toolbox.close)

    async def _admit(self, request: Request, tool: str) -> float:
        """The request has been paid for at the door, what its tool costs beyond that has not."""
        caller = caller_of(request)
        if not caller.id:
            return 0.0
        return await self._rates.take(f"key:{caller.id}", self._costs[tool], paid=REQUEST_COST)


def tool_costs(routes: Sequence[BaseRoute]) -> dict[str, int]:
    """What each tool costs in tokens of rate: as much as its route."""
    by_place = {
        (method, getattr(route, "path", "")): policy_of(route).cost
        for route in routes
        for method in getattr(route, "methods", None) or ()
    }
    return {tool: by_place[place] for tool, place in TOOL_ROUTES.items()}


def _prepared(
    service: Service, admit: Callable[[Request, str], Awaitable[float]]
) -> tuple[Toolbox, StreamableHTTPSessionManager]:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from ragstone.mcp.protocol import mcp_server
    from ragstone.mcp.tools import Toolbox

    async def run(call: Callable[[Cancelled], T], *, slow: bool) -> T:
        return await (service.run_long(call) if slow else service.read(lambda: call(lambda: False)))

    toolbox = Toolbox(service.engine, writes=service.engine.settings.mcp_writes)
    manager = StreamableHTTPSessionManager(
        mcp_server(toolbox, run=run, visitor=caller_of, admit=admit),
        json_response=True,
        stateless=True,
        max_request_body_size=BODY_BYTES,
    )
    return toolbox, manager
