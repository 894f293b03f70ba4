"""The guide's code runs as printed, and names every statistic and setting."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hashing_embedder import HashingEmbedder
from ragstone import BatchEmbedder, QueryOptimizer

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "caching.md").read_text()


def test_the_guides_code_runs(tmp_path: Path) -> None:
    printed = []
    for block in re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout.splitlines()
    assert printed == ["3 (384,) 1", "asked for ferry", "asked for ferry"]


def test_the_guide_names_every_statistic_and_setting() -> None:
    for stats in (BatchEmbedder(HashingEmbedder()).get_stats(), QueryOptimizer().get_stats()):
        assert not [name for name in stats if f"`{name}`" not in GUIDE]
    for setting in ("answer_cache_s", "search_cache", "cache_redis_url"):
        assert f"`{setting}`" in GUIDE
