"""The guide's code runs as printed, and names every statistic and setting."""

from __future__ import annotations

from pathlib import Path

from guides import DOCS, printed_by
from hashing_embedder import HashingEmbedder
from ragstone import BatchEmbedder, QueryOptimizer

GUIDE = (DOCS / "caching.md").read_text()


def test_the_guides_code_runs(tmp_path: Path) -> None:
    assert printed_by("caching.md", tmp_path) == ["3 (384,) 1", "asked for ferry", "asked for ferry"]


def test_the_guide_names_every_statistic_and_setting() -> None:
    for stats in (BatchEmbedder(HashingEmbedder()).get_stats(), QueryOptimizer().get_stats()):
        assert not [name for name in stats if f"`{name}`" not in GUIDE]
    for setting in ("answer_cache_s", "search_cache", "cache_redis_url"):
        assert f"`{setting}`" in GUIDE
