"""The example with the shipped data: all five sources answer, in the language asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "parallel_sources.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


def _asked(folder: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, EXAMPLE, folder, *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def test_all_five_sources_give_something(folder: Path) -> None:
    data = _asked(folder)
    for key in ("graph_nodes", "graph_context", "graph_rules", "corpus_quotes", "persona_context"):
        assert data[key], key
    assert data["domain_knowledge"]
    assert "seasick" in data["cross_analysis"]
    assert {name: source["status"] for name, source in data["sources"].items()} == dict.fromkeys(
        ("graph", "corpus", "persona", "domain", "cross"), "ok"
    )
    assert data["degraded"] == []
    assert set(data["persona_context"]) == {"health", "habits", "plans"}


def test_locale_and_theme_change_what_is_found(folder: Path) -> None:
    data = _asked(folder, "--locale", "de", "--theme", "safety")
    assert {quote["metadata"]["locale"] for quote in data["corpus_quotes"]} == {"de"}
    assert {known["collection"] for known in data["domain_knowledge"]} == {"safety"}
    assert "Außendeck" in data["cross_analysis"]
