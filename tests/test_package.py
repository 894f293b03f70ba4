"""What a newcomer meets first: importing is cheap, and the README's code runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
IMPORT_MS_MAX = 150

TIMED_IMPORT = """
import sys, time
started = time.perf_counter()
import ragstone
print((time.perf_counter() - started) * 1e3)
heavy = {"numpy", "faiss", "onnxruntime", "tantivy", "apsw", "pydantic", "fastapi", "typer"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_the_package_is_cheap_and_loads_nothing_heavy() -> None:
    best_ms = min(float(_python(TIMED_IMPORT)) for _ in range(3))
    assert best_ms <= IMPORT_MS_MAX


def test_every_public_name_can_be_imported() -> None:
    _python("import ragstone\nfor name in ragstone.__all__: assert getattr(ragstone, name) is not None")


@pytest.mark.parametrize(
    "code", re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
)
def test_the_readmes_code_runs(code: str, tmp_path: Path) -> None:
    printed = _python(code, cwd=tmp_path)
    assert "The ferry to Skarholm leaves at 7:40." in printed


def _python(code: str, cwd: Path | None = None) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
