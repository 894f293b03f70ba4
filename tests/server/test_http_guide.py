"""The code in docs/http.md, run as a reader would."""

from __future__ import annotations

from pathlib import Path

from guides import printed_by


def test_the_guide_does_what_it_says(tmp_path: Path) -> None:
    printed = printed_by("http.md", tmp_path)
    assert printed[0] == "note:1"
    assert "7:40" in printed[1]
    assert printed[2].startswith("From memory") and printed[2].endswith("number 12. ['m1'] []")
    assert printed[3:] == ["['upload:tower.md']", "1", "404 not_found", "False"]
