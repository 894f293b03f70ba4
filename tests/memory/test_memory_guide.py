"""The guide's code runs as printed, and names every statistic."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ragstone import MemoryBackend, MemoryConsolidator, Settings
from ragstone.memory.tiers import TIERS

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "memory.md").read_text()


def test_the_guides_code_runs_and_the_newer_time_is_recalled_first(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "m2 The ferry to Holm leaves at 8:10. None",
        "m1 The ferry to Holm leaves at 7:40. m2",
    ]


def test_the_guide_names_every_statistic_setting_and_tier() -> None:
    consolidator = MemoryConsolidator(MemoryBackend(settings=Settings()))
    settings = [name for name in Settings.model_fields if name.startswith("memory_")]
    tiers = [f"{tier.name}` | " for tier in TIERS]
    for name in (*consolidator.get_stats(), *settings, *tiers):
        assert f"`{name}" in GUIDE, name
