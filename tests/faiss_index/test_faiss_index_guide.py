"""The guide's blocks and the example run as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ragstone import FAISSIndex

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = (REPOSITORY / "docs" / "faiss-index.md").read_text()


def run(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_code_runs_from_top_to_bottom(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    printed = run("-c", "\n".join(blocks), cwd=tmp_path)
    assert printed.startswith("5 1.0 {'kind': 5}")


def test_the_guide_names_every_statistic() -> None:
    described = GUIDE[GUIDE.index("## `get_stats()`") :]
    for key in FAISSIndex().get_stats():
        assert f"`{key}`" in described or f"`{key.removesuffix('query_time_ms')}`" in described, key


def test_the_example_finds_the_nearest_spelling(tmp_path: Path) -> None:
    lines = run(str(REPOSITORY / "examples" / "nearest_words.py"), cwd=tmp_path).splitlines()
    assert lines[0].endswith("harbour (7 letters)") and lines[-1] == "then harbours"
