"""The guides' code about words and names runs as printed."""

from __future__ import annotations

from pathlib import Path

from guides import DOCS, printed_by


def test_the_guide_to_acronyms_and_synonyms_runs(tmp_path: Path) -> None:
    assert printed_by("acronyms-and-synonyms.md", tmp_path) == [
        "['history', 'aerial']",
        "[('HRU', 'Harbour Radar Unit', 'collection')]",
        "['yard']",
    ]


def test_the_guide_to_names_runs(tmp_path: Path) -> None:
    assert printed_by("names.md", tmp_path) == [
        "['Emil Krantz', 'Velvet Harbour (band)']",
        "['Emil Krantz', 'Velvet Harbour']",
    ]


def test_the_guides_name_the_settings() -> None:
    words, names = ((DOCS / name).read_text() for name in ("acronyms-and-synonyms.md", "names.md"))
    assert all(name in words for name in ("`acronyms = false`", "RAGSTONE_ACRONYMS", "RAGSTONE_SYNONYMS"))
    assert all(name in names for name in ("graph_extractor", "--llm", "`graph`", "chat_timeout_s"))
