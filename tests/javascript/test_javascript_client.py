"""The JavaScript client: its own tests against a running service, and its types as TypeScript's compiler sees them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ragstone.embedding import load_embedder
from ragstone.engine import Ragstone
from server.live import DrippingModel, running, write_library

CLIENT = Path(__file__).parents[2] / "sdk" / "javascript"
NODE = shutil.which("node")
TSC = shutil.which("tsc") or shutil.which("tsc", path=CLIENT / "node_modules" / ".bin")


@pytest.mark.skipif(NODE is None, reason="node (Debian: nodejs) is not installed")
def test_its_tests_pass_against_a_running_service(tmp_path: Path) -> None:
    model = DrippingModel(repeat=10_000)
    embedder = load_embedder("minilm", cache_dir=tmp_path / "models")
    with (
        Ragstone(tmp_path / "data", embedder=embedder) as engine,
        Ragstone(tmp_path / "data", embedder=embedder, chat_model=model) as talking,
        Ragstone(tmp_path / "own", embedder=embedder) as empty,
    ):
        engine.index([write_library(tmp_path / "library")])
        with running(engine) as live, running(talking) as endless, running(empty) as own:
            for service in (live, endless, own):
                service.wait_ready()
            assert own.post("/api/texts", {"texts": [{"text": "x", "uri": "first"}]}).status == 200
            assert (
                own.post("/api/memory", {"text": "The harbour master's dog is called Odalys."}).status == 200
            )
            printed = _run(
                str(NODE),
                "--test",
                *map(str, sorted((CLIENT / "test").glob("*.test.js"))),
                RAGSTONE_URL=live.url,
                RAGSTONE_ENDLESS_URL=endless.url,
                RAGSTONE_OWN_URL=own.url,
                RAGSTONE_FOLDER=str(tmp_path / "library"),
            )
            assert "# skipped 0\n" in printed
            assert model.stopped.wait(5)  # the test that leaves a stream has left it
    embedder.close()


@pytest.mark.skipif(TSC is None, reason="tsc is not installed (npm ci in sdk/javascript)")
def test_its_types_hold() -> None:
    _run(str(TSC), "--project", str(CLIENT / "test" / "tsconfig.json"))


def _run(*command: str, **variables: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=CLIENT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    return done.stdout
