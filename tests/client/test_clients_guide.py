"""The blocks of docs/clients.md run as printed, against a running service."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from javascript.test_javascript_client import CLIENT, NODE
from ragstone.client import calls
from ragstone.client.blocking import Client
from server.live import LiveService

GUIDE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()


def blocks(language: str, url: str) -> str:
    """The guide's code, top to bottom, for the service at `url`."""
    code = "\n".join(re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL))
    return code.replace("http://127.0.0.1:8000", url)


def printed(command: list[str | Path], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_blocks_run(service: LiveService, tmp_path: Path) -> None:
    said = printed([sys.executable, "-W", "error", "-c", blocks("python", service.url)], tmp_path)
    assert "dovetail" in said
    assert said.count("Smeaton") >= 3
    assert said.endswith("AnswerToken\nAnswerDone\n")


@pytest.mark.skipif(NODE is None, reason="node (Debian: nodejs) is not installed")
def test_the_javascript_blocks_run(service: LiveService) -> None:
    said = printed([str(NODE), "--input-type=module", "-e", blocks("javascript", service.url)], CLIENT)
    assert "dovetail" in said
    assert said.count("Smeaton") >= 3


def test_the_guide_names_every_call_of_both_clients() -> None:
    in_tables = set(re.findall(r"`(\w+)\(", GUIDE))
    named = {name for name in vars(Client) if not name.startswith("_")}
    assert named <= in_tables
    javascript = (CLIENT / "src" / "client.js").read_text()
    methods = set(re.findall(r"^  (?:async )?(\w+)\(", javascript, re.MULTILINE)) - {"constructor"}
    assert methods <= in_tables
    assert len(methods) == len(named)
    assert calls.search.__doc__
