"""The protocol over standard input and output: one client, which started this process and ends it by closing them.

Standard output carries the protocol only; what else would be printed there goes to standard error.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import anyio
import anyio.to_thread
from mcp.server.stdio import stdio_server

from ragstone.engine import Ragstone
from ragstone.mcp.protocol import mcp_server
from ragstone.mcp.tool import Cancelled
from ragstone.mcp.tools import Toolbox

T = TypeVar("T")

THREADS = 8  # one client; models call a few tools at once


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whoever started the process may read every file that it may."""

    def may(self, _needed: Literal["read", "write"], /) -> bool:
        return True

    def sees(self, _collection: str, /) -> bool:
        return True


def serve_stdio(engine: Ragstone, *, writes: bool) -> None:
    """Answer the client until it closes standard input; the engine stays open.

    Ctrl-C ends the process at once, which the store survives: a thread that waits for a line cannot be told to stop. To
    be called from the main thread.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        anyio.run(partial(_serve, engine, writes=writes))
    finally:
        signal.signal(signal.SIGINT, before)


async def _serve(engine: Ragstone, *, writes: bool) -> None:
    limiter = anyio.CapacityLimiter(THREADS)
    owner = _Owner()
    toolbox = Toolbox(engine, writes=writes)

    async def run(call: Callable[[Cancelled], T], *, slow: bool) -> T:
        gone = threading.Event()
        try:
            return await anyio.to_thread.run_sync(
                partial(call, gone.is_set), abandon_on_cancel=True, limiter=limiter
            )
        finally:
            gone.set()

    server = mcp_server(toolbox, run=run, visitor=lambda _request: owner)
    try:
        async with stdio_server() as (received, sent):
            await server.run(received, sent, server.create_initialization_options())
    finally:
        toolbox.close()
