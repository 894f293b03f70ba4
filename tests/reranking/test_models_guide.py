"""The guide's code runs as printed, and names every setting and every file that is read."""

from __future__ import annotations

from pathlib import Path

from guides import DOCS, printed_by
from ragstone import Settings

GUIDE = (DOCS / "models.md").read_text()


def test_the_guides_code_runs(tmp_path: Path) -> None:
    assert printed_by("models.md", tmp_path) == ["short -25.0", "long -54.0"]


def test_the_guide_names_every_setting_of_rerankers() -> None:
    named = [name for name in Settings.model_fields if name.startswith("rerank")]
    assert len(named) == 5
    assert not [name for name in named if f"`{name}`" not in GUIDE]
    for name, field in Settings.model_fields.items():
        if name in {"rerank_depth", "rerank_timeout_s"}:
            assert f"({field.default:g})" in GUIDE
