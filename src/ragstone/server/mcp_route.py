"""`/mcp`: the Model Context Protocol over HTTP, with the keys, limits and threads of the other interfaces.

Without sessions: each request stands for itself, so nothing is kept for clients that go away, and any replica may
answer. Needs the package `mcp`; without it the route says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ragstone.server.access import caller_of, policy
from ragstone.server.problems import problem
from ragstone.server.service import Service
from ragstone.server.streaming import first_of, until_disconnect

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from ragstone.mcp.tool import Cancelled
    from ragstone.mcp.tools import Toolbox

BODY_BYTES = 4 << 20  # a text of 500,000 characters to add, escaped

T = TypeVar("T")
Handle: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

mcp_api = APIRouter()


@mcp_api.post("/mcp", summary="The Model Context Protocol (streamable HTTP)")
@policy("read", body_bytes=BODY_BYTES)
async def mcp(request: Request) -> Response:
    """One JSON-RPC message in, one out; what each tool asks of the caller it declares itself."""
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

    def __init__(self, service: Service) -> None:
        self._service = service
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
            toolbox, manager = await asyncio.to_thread(_prepared, self._service)
        except Exception as error:  # noqa: BLE001 - told to each who asks
            self._begun.set_exception(error)
            return
        try:
            async with manager.run():
                self._begun.set_result(manager.handle_request)
                await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(toolbox.close)


def _prepared(service: Service) -> tuple[Toolbox, StreamableHTTPSessionManager]:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from ragstone.mcp.protocol import mcp_server
    from ragstone.mcp.tools import Toolbox

    async def run(call: Callable[[Cancelled], T], *, slow: bool) -> T:
        return await (service.run_long(call) if slow else service.read(lambda: call(lambda: False)))

    toolbox = Toolbox(service.engine, writes=service.engine.settings.mcp_writes)
    manager = StreamableHTTPSessionManager(
        mcp_server(toolbox, run=run, visitor=caller_of),
        json_response=True,
        stateless=True,
        max_request_body_size=BODY_BYTES,
    )
    return toolbox, manager
