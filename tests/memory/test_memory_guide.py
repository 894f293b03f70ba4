"""The guide's code runs as printed, and names every statistic."""

from __future__ import annotations

from pathlib import Path

from guides import DOCS, printed_by
from ragstone import MemoryBackend, MemoryConsolidator, Settings
from ragstone.memory.tiers import TIERS

GUIDE = (DOCS / "memory.md").read_text()


def test_the_guides_code_runs_and_the_newer_time_is_recalled_first(tmp_path: Path) -> None:
    assert printed_by("memory.md", tmp_path) == [
        "m2 The ferry to Holm leaves at 8:10. None",
        "m1 The ferry to Holm leaves at 7:40. m2",
    ]


def test_the_guide_names_every_statistic_setting_and_tier() -> None:
    consolidator = MemoryConsolidator(MemoryBackend(settings=Settings()))
    settings = [name for name in Settings.model_fields if name.startswith("memory_")]
    tiers = [f"{tier.name}` | " for tier in TIERS]
    for name in (*consolidator.get_stats(), *settings, *tiers):
        assert f"`{name}" in GUIDE, name
