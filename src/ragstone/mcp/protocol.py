"""The toolbox as a server of the Model Context Protocol, by the official SDK; the transport is the caller's.

A tool's result is said twice: as structured content after its schema, and as the same JSON in text for clients that
read no other. What a tool refuses is an error of the tool, which the model reads and can act upon.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, unquote

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool
from pydantic import ValidationError

from ragstone.errors import InputError, NotFoundError, RagstoneError
from ragstone.mcp import forms
from ragstone.mcp.tool import Cancelled, Tool, Visitor
from ragstone.mcp.tools import Toolbox
from ragstone.version import __version__
from ragstone.wire import encode

logger = logging.getLogger("ragstone.mcp")

SCHEME = "ragstone://"  # a resource is `ragstone://<collection>/<a document's id, percent-encoded>`
RESOURCES_A_PAGE = 100
MAX_ARGUMENTS = 20  # no tool has as many; a report of a million unknown ones would take seconds
SHOWN_ERRORS = 5  # a wrong call has one or two; five say what is meant

INSTRUCTIONS = (
    "The user's own documents, indexed on this machine. Search first; quote what you use and name the document and "
    "page. `ask` answers by itself, with checked quotes."
)

T = TypeVar("T")


class Run(Protocol):
    """Calls a blocking function in a thread; `slow` ones may take as long as an answer.

    When the caller of `run` is cancelled, the function is told so by its argument.
    """

    def __call__(self, call: Callable[[Cancelled], T], *, slow: bool) -> Awaitable[T]:
        """What `call` returns."""


async def _at_once(_request: Any, _tool: str) -> float:
    return 0.0


def mcp_server(
    toolbox: Toolbox,
    *,
    run: Run,
    visitor: Callable[[Any], Visitor],
    admit: Callable[[Any, str], Awaitable[float]] = _at_once,
) -> Server[Any]:
    """The protocol's server over a toolbox.

    Given the transport's own request, `visitor` says who sent it, and `admit` in how many seconds (0: now) the tool of
    that name may be called.
    """
    return _Handlers(toolbox, run, visitor, admit).server()


class _Handlers:
    def __init__(
        self,
        toolbox: Toolbox,
        run: Run,
        visitor: Callable[[Any], Visitor],
        admit: Callable[[Any, str], Awaitable[float]],
    ) -> None:
        self._toolbox = toolbox
        self._run = run
        self._visitor = visitor
        self._admit = admit

    def server(self) -> Server[Any]:
        return Server(
            "ragstone",
            version=__version__,
            title="ragstone",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(
        self, context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(
            tools=[_described(tool) for tool in self._toolbox.tools(self._visitor(context.request))]
        )

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        visitor = self._visitor(context.request)
        tool = self._toolbox.tool(params.name, visitor)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"there is no tool {params.name[:100]!r}")
        if wait_s := await self._admit(context.request, tool.name):
            return _failed(f"This key has asked too often.\nTry again in {math.ceil(wait_s)} s.")
        arguments = params.arguments or {}
        if len(arguments) > MAX_ARGUMENTS:
            return _failed(f"{tool.name} takes {', '.join(tool.takes.model_fields) or 'nothing'}")
        try:
            given = tool.takes.model_validate(arguments)
            result = await self._run(partial(_called, tool, given, visitor), slow=tool.slow)
        except ValidationError as error:
            return _failed(_faults(error))
        except RagstoneError as error:
            return _failed(f"{error.message}\n{error.hint}".strip())
        except Exception as error:  # noqa: BLE001 - the client is told, the log has the rest
            return _failed(_unexpected(error))
        text = encode(result.model_dump(mode="json")).decode()
        return CallToolResult(
            content=[TextContent(type="text", text=text)], structured_content=result.model_dump(mode="json")
        )

    async def _list_resources(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        """The usual collection's documents; others are read by the uris that can be made of `list_documents`."""
        cursor = (params.cursor if params else None) or "0"
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
            raise MCPError(INVALID_PARAMS, "the cursor is none that this server gave")
        visitor = self._visitor(context.request)
        asked = forms.ListArguments(offset=int(cursor), limit=RESOURCES_A_PAGE)
        try:
            page = await self._run(
                lambda _cancelled: self._toolbox.list_documents(asked, visitor), slow=False
            )
        except NotFoundError:
            return ListResourcesResult(resources=[])  # nothing indexed yet
        except RagstoneError as error:
            raise MCPError(INVALID_PARAMS, error.message) from error
        return ListResourcesResult(
            resources=[
                Resource(
                    uri=resource_uri(self._toolbox.collection, document.id),
                    name=document.title or document.id,
                    mime_type="text/plain",
                    size=document.size_bytes,
                )
                for document in page.documents
            ],
            next_cursor=None if page.next_offset is None else str(page.next_offset),
        )

    async def _read_resource(
        self, context: ServerRequestContext[Any], params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        visitor = self._visitor(context.request)
        try:
            collection, uri = _resource(params.uri)
            asked = forms.FetchArguments(id=uri, collection=collection, length=forms.MAX_FETCHED_CHARACTERS)
            found = await self._run(lambda _cancelled: self._toolbox.fetch(asked, visitor), slow=False)
            if found.next_start is not None:
                raise InputError(f"the document has {found.length:,} characters; read it with the tool fetch")
        except ValidationError as error:
            raise MCPError(INVALID_PARAMS, _faults(error)) from error
        except RagstoneError as error:
            raise MCPError(INVALID_PARAMS, error.message, {"uri": params.uri[:1000]}) from error
        content = TextResourceContents(uri=params.uri, text=found.text, mime_type="text/plain")
        return ReadResourceResult(contents=[content])


def resource_uri(collection: str, uri: str) -> str:
    """The resource that a document is."""
    return f"{SCHEME}{collection}/{quote(uri, safe='', errors='surrogateescape')}"


def _resource(uri: str) -> tuple[str, str]:
    """The collection and the document's id of a resource; raises `NotFoundError` for another kind."""
    collection, slash, document = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not slash:
        raise NotFoundError("no such resource", hint="resources/list says which there are")
    return collection, unquote(document, errors="surrogateescape")


def _described(tool: Tool[Any]) -> ListedTool:
    reads = tool.needs == "read"
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.takes.model_json_schema(),
        output_schema=tool.gives.model_json_schema(mode="serialization"),
        annotations=ToolAnnotations(
            title=tool.title,
            read_only_hint=reads,
            destructive_hint=tool.destructive,
            idempotent_hint=reads,
            open_world_hint=False,
        ),
    )


def _called(tool: Tool[Any], given: forms.Arguments, visitor: Visitor, cancelled: Cancelled) -> forms.Result:
    return tool.call(given, visitor, cancelled)


def _failed(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=message)], is_error=True)


def _faults(error: ValidationError) -> str:
    """Which arguments are wrong and how; never their values, which are the caller's."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)[:SHOWN_ERRORS]
    return "; ".join(f"{'.'.join(map(str, fault['loc']))[:100]}: {fault['msg']}" for fault in faults)


def _unexpected(error: Exception) -> str:
    reference = secrets.token_hex(4)
    logger.error("a tool failed unexpectedly, reference %s", reference, exc_info=error)
    return f"Something failed that should not (reference {reference}); ragstone's log has the details."
