"""The guide's code does what the guide says, and names settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

from guides import DOCS, printed_by
from ragstone.settings import Settings


def test_the_code_of_the_guide_runs(tmp_path: Path) -> None:
    assert printed_by("service.md", tmp_path) == ["laptop read True", "None", "ragstone"]


def test_every_setting_of_the_guide_exists_with_that_default() -> None:
    text = (DOCS / "service.md").read_text()
    fields = Settings.model_fields
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text)) - {"data_dir", "search_died"}
    assert {name for name in named if name not in fields} == set()
    assert {"require_key", "allowed_origins", "trusted_proxies", "rate_per_minute", "log_levels"} <= set(
        fields
    )
    for name, default in re.findall(r"`([a-z_]+)` \((\d+)", text):
        assert fields[name].default == float(default)
