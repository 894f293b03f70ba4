"""Every file that names the version names the same one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ragstone.version import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("path", "pattern", "times"),
    [
        ("deploy/helm/ragstone/Chart.yaml", r"^(?:version|appVersion): (\S+)$", 2),
        ("deploy/compose.yaml", r"image: ragstone:(\S+)$", None),
        ("docs/operations.md", r"ragstone:([\d.]+\d)", None),
        ("CHANGELOG.md", r"\A# Changelog\n\n## (\S+) ", 1),
    ],
)
def test_it_is_the_packages(path: str, pattern: str, times: int | None) -> None:
    found = re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)
    assert set(found) == {__version__}
    assert times is None or len(found) == times


def test_it_is_the_javascript_clients() -> None:
    folder = ROOT / "sdk" / "javascript"
    package = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())
    assert {package["version"], lock["version"], lock["packages"][""]["version"]} == {__version__}


def test_the_release_checklist_names_every_file_that_has_it() -> None:
    checklist = (ROOT / "docs" / "releasing.md").read_text()
    for path in (
        "src/ragstone/version.py", "sdk/javascript/package.json", "deploy/helm/ragstone/Chart.yaml",
        "deploy/compose.yaml", "docs/operations.md", "CHANGELOG.md",
    ):  # fmt: skip
        assert (ROOT / path).is_file()
        assert path in checklist
