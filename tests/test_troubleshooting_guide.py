"""The code of the troubleshooting guide runs as printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from guides import printed_by


def test_the_guides_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_DATA_DIR", str(tmp_path / "data"))
    assert printed_by("troubleshooting.md", tmp_path) == ["True", "search"]
