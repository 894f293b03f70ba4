"""The official MCP client over HTTP and over stdio: both find the same tools and get the same from them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import NotFoundError
from ragstone.mcp.tools import Toolbox
from ragstone.server.access import ANSWER_COST, Caller
from ragstone.server.app import create_app
from ragstone.server.mcp_route import TOOL_ROUTES, tool_costs
from ragstone.settings import Settings
from ragstone.types import Embedder
from server.keyed import HOURS, Keyed, fill, keyed
from server.live import LIBRARY, DrippingModel, LiveService, running, wait_until

QUESTION = "Who finished the third lighthouse?"
READING = ["search", "fetch", "ask", "list_documents", "list_collections", "memory_search"]
WRITING = ["memory_add", "add_document", "delete_document"]
PROGRAM = "import sys; from ragstone.cli.app import main; sys.exit(main())"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ASK = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "ask", "arguments": {"question": QUESTION}},
}
MCP_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

T = TypeVar("T")
Server = str | StdioServerParameters


@pytest.fixture(scope="module")
def stdio_data(data_dir: Path, models_dir: Path, embedder: Embedder) -> Path:
    """The indexed library, with the model's files where a process of its own looks for them."""
    assert embedder.dim
    if not (data_dir / "models").exists():
        (data_dir / "models").symlink_to(models_dir)
    return data_dir


def command(data_dir: Path, *more: str) -> list[str]:
    return ["-c", PROGRAM, "mcp", "--data-dir", str(data_dir), *more]


def stdio(data_dir: Path, *more: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=command(data_dir, *more), env=dict(os.environ), cwd=str(data_dir)
    )


@pytest.fixture
def server(service: LiveService) -> Server:
    return f"{service.url}/mcp"


def with_client(server: Server, use: Callable[[Client], Awaitable[T]], *, mode: str = "auto") -> T:
    async def run() -> T:
        async with Client(server, mode=mode, read_timeout_seconds=20) as client:
            return await use(client)

    return asyncio.run(run())


def called(server: Server, name: str, arguments: Mapping[str, Any]) -> Any:
    """A tool's structured result, which its text says too; the client has held it to the tool's schema."""

    async def use(client: Client) -> Any:
        await client.list_tools()  # so that the client knows the schema
        return await client.call_tool(name, dict(arguments))

    result = with_client(server, use)
    text = result.content[0].text
    assert not result.is_error, text
    assert json.loads(text) == result.structured_content
    return result.structured_content


def refused(server: Server, name: str, arguments: Mapping[str, Any]) -> str:
    async def use(client: Client) -> Any:
        return await client.call_tool(name, dict(arguments))

    result = with_client(server, use)
    assert result.is_error
    return str(result.content[0].text)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_reading_tools_are_there_and_say_that_they_only_read(server: Server, mode: str) -> None:
    listed = with_client(server, lambda client: client.list_tools(), mode=mode)
    assert [tool.name for tool in listed.tools] == READING
    for tool in listed.tools:
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.output_schema


def test_search_gives_passages_that_stand_where_it_says(server: Server) -> None:
    found = called(server, "search", {"query": "granite lighthouse", "k": 2})
    best = found["results"][0]
    assert best["id"].endswith("lighthouse.md")
    assert best["url"] == f"file://{best['id']}"
    assert LIBRARY["lighthouse.md"][best["start"] : best["end"]] == best["text"]
    assert called(server, "search", {"query": "lighthouse", "filter": "type:pdf"})["results"] == []


def test_fetch_reads_a_document_in_pieces(server: Server) -> None:
    uri = called(server, "search", {"query": "waggle dance"})["results"][0]["id"]
    text = ""
    start: int | None = 0
    while start is not None:
        piece = called(server, "fetch", {"id": uri, "start": start, "length": 50})
        assert len(piece["text"]) <= 50
        text, start = text + piece["text"], piece["next_start"]
    assert text == LIBRARY["bees.md"]


def test_ask_gives_quotes_that_are_in_the_documents(server: Server) -> None:
    answer = called(server, "ask", {"question": QUESTION})
    assert answer["grounded"]
    assert "Smeaton" in answer["answer"]
    assert answer["citations"][0]["quote"] in LIBRARY["lighthouse.md"]


def test_documents_and_collections_are_listed(server: Server) -> None:
    first = called(server, "list_documents", {"limit": 3})
    rest = called(server, "list_documents", {"offset": first["next_offset"]})
    assert first["total"] == len(LIBRARY) == len(first["documents"]) + len(rest["documents"])
    assert rest["next_offset"] is None
    assert called(server, "list_collections", {}) == {"collections": ["default"], "usual": "default"}


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("search", {"query": "x" * 1001}, "query: String should have at most 1000 characters"),
        ("search", {"query": "bee", "k": 21}, "k: "),
        ("search", {"query": "bee", "depth": 3}, "depth: Extra inputs"),
        ("search", {"query": "bee", "filter": "type"}, "filter"),
        ("search", {"query": "bee", "collection": "trips"}, "no collection 'trips'"),
        ("search", {"query": "bee", "collection": "../x"}, "no name for a collection"),
        ("search", {}, "query: Field required"),
        ("search", {str(n): n for n in range(100_000)}, "search takes query, k, mode"),
        ("fetch", {"id": "/etc/passwd"}, "/etc/passwd"),
        ("fetch", {"id": "x" * 5000}, "id: "),
        ("memory_search", {"query": "boiler"}, "nothing has been remembered"),
    ],
)
def test_what_a_tool_refuses_the_model_is_told(
    server: Server, name: str, arguments: dict[str, Any], says: str
) -> None:
    assert says in refused(server, name, arguments)


@pytest.mark.parametrize("name", ["nothing", "delete_document"])
def test_a_tool_that_is_not_there_cannot_be_called(server: Server, name: str) -> None:
    async def use(client: Client) -> None:
        with pytest.raises(MCPError, match="there is no tool"):
            await client.call_tool(name, {"text": "x", "id": "x"})

    with_client(server, use)


def test_stdio_gives_what_http_gives(server: Server, stdio_data: Path) -> None:
    async def use(client: Client) -> list[Any]:
        tools = (await client.list_tools()).model_dump()
        calls: list[tuple[str, dict[str, Any]]] = [
            ("search", {"query": "granite lighthouse"}),
            ("ask", {"question": QUESTION}),
            ("list_documents", {"limit": 2}),
            ("search", {"query": "bee", "filter": "type"}),
        ]
        return [tools, *[(await client.call_tool(name, given)).model_dump() for name, given in calls]]

    over_http, over_stdio = with_client(server, use), with_client(stdio(stdio_data), use)
    assert over_stdio == over_http


def test_documents_are_resources(service: LiveService) -> None:
    async def use(client: Client) -> tuple[Any, Any]:
        listed = await client.list_resources()
        bees = next(found for found in listed.resources if "bees.md" in unquote(str(found.uri)))
        return listed, await client.read_resource(bees.uri)

    listed, read = with_client(f"{service.url}/mcp", use)
    assert len(listed.resources) == len(LIBRARY)
    assert read.contents[0].text == LIBRARY["bees.md"]


def test_what_is_no_document_is_no_resource(service: LiveService) -> None:
    async def use(client: Client) -> None:
        for uri in ("ragstone://default/nothing", "file:///etc/passwd", "ragstone://", "ragstone://x/y"):
            with pytest.raises(MCPError):
                await client.read_resource(uri)

    with_client(f"{service.url}/mcp", use)


@contextmanager
def serving_writes(data_dir: Path, embedder: Embedder, **options: Any) -> Iterator[str]:
    settings = Settings(data_dir=data_dir, mcp_writes=True)
    with Ragstone(settings=settings, embedder=embedder, **options) as engine, running(engine) as live:
        live.wait_ready()
        yield f"{live.url}/mcp"


@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_writes_are_allowed_by_a_flag_and_last(
    transport: str, tmp_path: Path, models_dir: Path, embedder: Embedder
) -> None:
    if transport == "stdio":
        (tmp_path / "models").symlink_to(models_dir)
        _write_and_read(stdio(tmp_path, "--allow-writes"))
    else:
        with serving_writes(tmp_path, embedder) as url:
            _write_and_read(url)


def _write_and_read(server: Server) -> None:
    async def use(client: Client) -> None:
        tools = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
        assert list(tools) == [*READING, *WRITING]
        added = await client.call_tool(
            "add_document", {"text": "The ferry to Skye leaves Mallaig at 9.", "title": "Skye", "id": "trip"}
        )
        assert added.structured_content == {"id": "trip"}
        nothing = await client.call_tool("ask", {"question": "Who sings?", "memory": True})
        assert nothing.structured_content["memories"] == []  # nothing has been remembered
        found = await client.call_tool("search", {"query": "ferry to Skye"})
        assert [hit["id"] for hit in found.structured_content["results"]] == ["trip"]
        kept = await client.call_tool("memory_add", {"text": "The boiler was serviced in May."})
        assert kept.structured_content["outcome"] == "added"
        recalled = await client.call_tool("memory_search", {"query": "boiler"})
        assert [one["text"] for one in recalled.structured_content["memories"]] == [
            "The boiler was serviced in May."
        ]
        question = {"question": "When was the boiler serviced?"}
        plain = await client.call_tool("ask", question)
        assert plain.structured_content["memories"] == []
        knowing = await client.call_tool("ask", {**question, "memory": True})
        assert knowing.structured_content["memories"] == ["The boiler was serviced in May."]
        assert "May" in knowing.structured_content["answer"]
        there = await client.call_tool("list_collections", {})
        assert there.structured_content["collections"] == ["default"]
        peeked = await client.call_tool("search", {"query": "boiler", "collection": "default.memory"})
        assert peeked.is_error
        deleted = await client.call_tool("delete_document", {"id": "trip"})
        assert deleted.structured_content == {"deleted": 1}
        again = await client.call_tool("delete_document", {"id": "trip"})
        assert again.is_error

    with_client(server, use)


def test_a_client_that_leaves_stops_the_model(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(repeat=10_000)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        live.wait_ready()
        with closing(live.connect()) as connection:
            connection.request("POST", "/mcp", json.dumps(ASK).encode(), MCP_HEADERS)
            wait_until(lambda: model.said > 0, "the model speaks")
        wait_until(model.stopped.is_set, "the model stops", timeout_s=1.0)


def test_an_answer_that_takes_too_long_is_an_error_of_the_tool(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(repeat=10_000)
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine, answer_limit_s=0.3) as live,
    ):
        live.wait_ready()
        said = refused(f"{live.url}/mcp", "ask", {"question": QUESTION})
        assert "was not ready after" in said or "time for this request is over" in said
        wait_until(model.stopped.is_set, "the model stops", timeout_s=1.0)


def test_a_stopping_service_ends_an_answer(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(repeat=10_000)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        live.wait_ready()
        with closing(live.connect()) as connection:
            connection.request("POST", "/mcp", json.dumps(ASK).encode(), MCP_HEADERS)
            wait_until(lambda: model.said > 0, "the model speaks")
            service = live.app.state.service
            service.loop.call_soon_threadsafe(lambda: service.stop_soon(grace_s=0.0))
            answer = json.loads(connection.getresponse().read())
        assert "shutting down" in answer["result"]["content"][0]["text"]
        wait_until(model.stopped.is_set, "the model stops", timeout_s=1.0)


def test_requests_leave_no_task_and_neither_does_the_service(data_dir: Path, embedder: Embedder) -> None:
    async def life(app: FastAPI) -> tuple[list[int], int]:
        async with app.router.lifespan_context(app):
            handle = await app.state.mcp.handle()
            counts = []
            for _ in range(4):
                await handle(*_asked())
                await asyncio.sleep(0)
                counts.append(len(asyncio.all_tasks()))
        return counts, len(asyncio.all_tasks())

    with Ragstone(data_dir, embedder=embedder) as engine:
        counts, left = asyncio.run(life(create_app(engine)))
    assert max(counts) == counts[0]  # the warm-up may end meanwhile
    assert left == 1  # the one that counts


def _asked() -> tuple[Any, Any, Any]:
    """A request to initialize as the application gets it."""
    headers = [(name.lower().encode(), value.encode()) for name, value in MCP_HEADERS.items()]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers, "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(INITIALIZE).encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    return scope, receive, send


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("POST", {"Host": "evil.example"}, b"{}", 421),
        ("POST", {"Origin": "https://evil.example"}, b"{}", 403),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, b"{}", 403),
        ("POST", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", {}, b"{" * (5 << 20), 413),
        ("POST", {}, b"\xff{garbage", 400),
        ("POST", {}, b"[]", 400),
        ("POST", {}, b'{"jsonrpc": "2.0"}', 400),
        ("POST", {}, b"[" * 100_000, 400),
        ("GET", {}, None, 405),
        ("DELETE", {}, None, 405),
    ],
)
def test_what_is_no_message_is_refused(
    service: LiveService, method: str, headers: dict[str, str], body: bytes | None, status: int
) -> None:
    assert service.request(method, "/mcp", body, {**MCP_HEADERS, **headers}).status == status
    assert service.post("/mcp", INITIALIZE, **MCP_HEADERS).status == 200  # and others are still served


def call_over_http(service: Keyed, secret: str, name: str, arguments: Mapping[str, Any]) -> tuple[int, str]:
    """The status, and the text of the tool's result."""
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }
    reply = service.post("/mcp", message, secret, **MCP_HEADERS)
    return reply.status, reply.json()["result"]["content"][0]["text"] if reply.status == 200 else ""


def test_a_tool_costs_as_much_of_the_rate_as_its_route(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path, rate_per_minute=1, rate_burst=2 * ANSWER_COST + 1) as service:
        secret = service.key("reader")
        question = {"question": "When does the observatory open?"}
        for name, arguments in (("ask", question), ("ask", question), ("list_collections", {})):
            status, text = call_over_http(service, secret, name, arguments)
            assert (status, "too often" in text) == (200, False)
        assert call_over_http(service, secret, "list_collections", {})[0] == 429
    with keyed(tmp_path, rate_per_minute=1, rate_burst=ANSWER_COST + 1) as service:
        secret = service.key("slower")
        assert "too often" not in call_over_http(service, secret, "ask", question)[1]
        status, text = call_over_http(service, secret, "ask", question)  # one token is left, for the message
        assert (status, "too often" in text, "Try again in" in text) == (200, True, True)


def test_a_bucket_smaller_than_an_answer_still_holds_one(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path, rate_per_minute=1, rate_burst=ANSWER_COST // 2) as service:
        secret = service.key("reader")
        status, text = call_over_http(service, secret, "ask", {"question": "When does the observatory open?"})
        assert (status, "too often" in text) == (200, False)
        assert call_over_http(service, secret, "list_collections", {})[0] == 429


def test_every_tool_stands_for_a_route(service: LiveService) -> None:
    assert set(TOOL_ROUTES) == {*READING, *WRITING}
    costs = tool_costs(service.app.state.declared_routes)
    assert {name for name, cost in costs.items() if cost == ANSWER_COST} == {"ask"}


def test_garbage_on_stdin_harms_nothing_and_stdout_carries_messages_only(stdio_data: Path) -> None:
    lines = [
        b"garbage",
        b"\xff\xfe\x00",
        b"[" * 10_000,
        b'{"jsonrpc": "2.0", "id": 9, "method": "no/such"}',
        json.dumps(INITIALIZE).encode(),
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        json.dumps(ASK).encode(),
    ]
    process = subprocess.Popen(
        [sys.executable, *command(stdio_data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.stdin.write(b"\n".join(lines) + b"\n")
        process.stdin.flush()
        said = [json.loads(line) for line in iter(lambda: _answer(process), b"")]
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()
    assert all(message["jsonrpc"] == "2.0" for message in said)
    (answer,) = [message for message in said if message.get("id") == 2]
    assert answer["result"]["structuredContent"]["grounded"]
    assert out == b""
    assert b"Traceback" not in err


def _answer(process: subprocess.Popen[bytes]) -> bytes:
    """The next line of the server; nothing once the call was answered, after which standard input is closed."""
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdin.closed:
        return b""
    line = process.stdout.readline()
    if json.loads(line).get("id") == 2:
        process.stdin.close()
    return line


def test_ctrl_c_ends_a_process_that_waits_for_its_client(stdio_data: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, *command(stdio_data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT
    finally:
        process.kill()
        process.communicate()


def test_a_visitor_gets_its_own_collections_and_the_tools_it_may_call(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        engine.add(["A secret of the house."], uris=["secret"])
    with Ragstone(tmp_path, collection="trips", embedder=HashingEmbedder()) as engine:
        engine.add(["The ferry leaves at 9."], uris=["trip"])
        toolbox = Toolbox(engine, writes=True)
        guest = Caller("guest", "read", frozenset({"trips"}))
        assert [tool.name for tool in toolbox.tools(guest)] == READING
        assert toolbox.tool("delete_document", guest) is None
        assert toolbox.tool("delete_document", Caller("friend", "write")) is not None
        assert _run(toolbox, guest, "list_collections").collections == ["trips"]
        assert _run(toolbox, guest, "search", query="ferry").results[0].id == "trip"
        for name, given in (
            ("search", {"query": "secret", "collection": "default"}),
            ("ask", {"question": "What is the secret?", "collection": "default"}),
            ("fetch", {"id": "secret", "collection": "default"}),
            ("list_documents", {"collection": "default"}),
        ):
            with pytest.raises(NotFoundError, match="no collection 'default'"):
                _run(toolbox, guest, name, **given)
        stranger = Caller("stranger", "write", frozenset({"other"}))
        with pytest.raises(NotFoundError):
            _run(toolbox, stranger, "memory_add", text="The boiler was serviced in May.")
        with pytest.raises(NotFoundError):
            _run(toolbox, stranger, "delete_document", id="trip")
        toolbox.close()


def test_the_tools_are_those_that_the_key_may_call(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    with keyed(tmp_path, mcp_writes=True) as service:
        assert service.post("/mcp", listing, **MCP_HEADERS).status == 401
        for may, names in (("read", READING), ("write", [*READING, *WRITING])):
            reply = service.post("/mcp", listing, service.key(may, may=may), **MCP_HEADERS)  # type: ignore[arg-type]
            assert [tool["name"] for tool in reply.json()["result"]["tools"]] == names


def _run(toolbox: Toolbox, caller: Caller, name: str, **given: Any) -> Any:
    tool = toolbox.tool(name, caller)
    assert tool is not None
    return tool.call(tool.takes.model_validate(given), caller, lambda: False)


WITHOUT_THE_PACKAGE = """
import asyncio, sys
sys.modules["mcp"] = None
from ragstone.cli.app import main
from ragstone.engine import Ragstone
from ragstone.server.app import create_app
print(main(["mcp", "--data-dir", sys.argv[1]]))

async def ask(app):
    sent = []
    async with app.router.lifespan_context(app):
        scope = {"type": "http", "method": "POST", "path": "/mcp", "query_string": b"",
                 "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")]}
        async def receive():
            return {"type": "http.request", "body": b"{}", "more_body": False}
        async def send(message):
            sent.append(message)
        await app(scope, receive, send)
    return sent[0]["status"], sent[1]["body"].decode()

with Ragstone(sys.argv[1]) as engine:
    print(*asyncio.run(ask(create_app(engine))))
"""


def test_without_the_package_both_say_how_to_install_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    status, reply = done.stdout.splitlines()
    assert status == "1"
    assert "pip install 'ragstone[mcp]'" in done.stderr
    assert reply.startswith("501 ")
    assert "pip install 'ragstone[mcp]'" in reply
