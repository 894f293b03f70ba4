"""`mcp`: the documents as tools for a program that speaks the Model Context Protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from ragstone.cli import invocation
from ragstone.errors import RagstoneError


def mcp(
    context: typer.Context,
    *,
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Also tools that add and delete.")
    ] = False,
) -> int:
    """Serve the Model Context Protocol on standard input and output, for Claude Desktop and its like."""
    try:
        from ragstone.mcp.stdio import serve_stdio
    except ModuleNotFoundError as error:
        raise RagstoneError(
            f"the Model Context Protocol needs a package that is not installed: {error.name}",
            hint="install it with: pip install 'ragstone[mcp]'",
            code="extra_missing",
        ) from error
    with invocation.of(context).engine(mcp_writes=allow_writes or None) as engine:
        serve_stdio(engine, writes=engine.settings.mcp_writes)
    return 0
