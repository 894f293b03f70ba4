"""The guides for other people's clients: their code runs as printed, and they name what there is."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from guides import DOCS, printed_by
from ragstone.engine import Ragstone
from ragstone.mcp.tools import Toolbox
from ragstone.types import Embedder
from server.live import LiveService

MCP_GUIDE = (DOCS / "mcp.md").read_text()


class Anyone:
    """May do and see everything."""

    def may(self, _needed: str, /) -> bool:
        return True

    def sees(self, _collection: str, /) -> bool:
        return True


@pytest.fixture(autouse=True)
def commands_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ragstone` on the path, as after an installation."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def test_the_openai_guides_code_runs(service: LiveService, tmp_path: Path) -> None:
    printed = printed_by("openai.md", tmp_path, instead={"http://127.0.0.1:8000": service.url})
    assert printed[0] == "['ragstone', 'ragstone:default', 'minilm']"
    assert "Smeaton" in printed[1]
    assert "Smeaton" in printed[2]
    assert printed[3] == "False"
    assert printed[4] == printed[1]  # streamed
    assert printed[-1] == "2 384 9"


def test_the_mcp_guides_code_runs(tmp_path: Path, models_dir: Path, embedder: Embedder) -> None:
    assert embedder.dim
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(models_dir)
    text = "The ferry to Skye leaves Mallaig at 9."
    assert printed_by("mcp.md", tmp_path) == [f"trip 0 {len(text)} {text}"]


def test_the_mcp_guides_settings_start_a_server(
    tmp_path: Path, service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop, http = (
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", MCP_GUIDE, re.M | re.S)
    )
    started = StdioServerParameters(
        **desktop["mcpServers"]["ragstone"], env={**os.environ, "RAGSTONE_DATA_DIR": str(tmp_path)}
    )
    url = http["servers"]["ragstone"]["url"].replace("http://127.0.0.1:8000", service.url)
    assert asyncio.run(_names(started)) == asyncio.run(_names(url))


async def _names(server: Any) -> list[str]:
    async with Client(server) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


def test_the_mcp_guide_names_every_tool_with_what_it_takes_and_gives(tmp_path: Path) -> None:
    rows = {
        name: (takes, gives)
        for name, takes, gives in re.findall(r"^\| `(\w+)`[^|]*\|([^|]*)\|([^|]*)\|$", MCP_GUIDE, re.M)
    }
    with Ragstone(tmp_path) as engine:
        tools = Toolbox(engine, writes=True).tools(Anyone())
    assert list(rows) == [tool.name for tool in tools]
    for tool in tools:
        takes, gives = rows[tool.name]
        assert [name for name in tool.takes.model_fields if f"`{name}`" not in takes] == []
        if tool.name != "fetch":  # its row says how they belong together
            assert [name for name in tool.gives.model_fields if f"`{name}`" not in gives] == []
