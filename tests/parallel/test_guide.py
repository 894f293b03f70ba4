"""The guide's blocks run as printed, and what it says of names, keys and settings is so."""

from __future__ import annotations

import re
from pathlib import Path

from guides import printed_by
from ragstone.parallel.fetched import Fetched
from ragstone.parallel.retriever import KEPT, KEPT_S, SOURCE_TIMEOUT_S, TOTAL_TIMEOUT_S, WORKERS
from ragstone.parallel.runner import FAILURES, LEFT_BEHIND_MAX, RECOVERY_S
from ragstone.setting_sources import SUPERSEDED, WELL_KNOWN

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = (REPOSITORY / "docs" / "parallel-retrieval.md").read_text()


def test_the_guides_code_runs_from_top_to_bottom(tmp_path: Path) -> None:
    assert printed_by("parallel-retrieval.md", tmp_path) == [
        "The ferry to Skarholm leaves at 7:40. Bicycles travel free on every ferry. []",
        "ok True",
        "['corpus', 'domain', 'graph']",
        "a swell of 1.8 m (de)",
    ]


def test_the_guide_names_every_key() -> None:
    table = GUIDE[GUIDE.index("## What comes back") : GUIDE.index("## Sources")]
    assert set(Fetched({}, 0.0).to_dict()) <= set(re.findall(r"`(\w+)`", table))


def test_the_guide_gives_the_defaults_as_they_are() -> None:
    said = " ".join(GUIDE.split())
    assert (
        f"`source_timeout_s` {SOURCE_TIMEOUT_S:g} from its beginning, `total_timeout_s` {TOTAL_TIMEOUT_S:g}"
        in said
    )
    assert f"after {FAILURES} failures in a row" in said
    assert f"is not asked for {RECOVERY_S:g} s" in said
    assert f"{KEPT} for {KEPT_S:g} s" in said
    assert f"workers + {LEFT_BEHIND_MAX} × sources" in said
    assert f"| {WORKERS}, or one a source |" in said


def test_every_variable_of_document_001_is_read_and_in_the_guide() -> None:
    for name in ("RAG_DISABLE", "RAG_DEVICE", "RAG_CPU_THREADS", "RAG_MODEL", "RAG_EXECUTOR_WORKERS"):
        assert name in WELL_KNOWN
        assert name in SUPERSEDED
        assert f"`{name}" in GUIDE


def test_the_files_that_the_guide_names_are_there() -> None:
    for path in re.findall(r"`((?:examples|tests|benchmarks)/[\w/.]+)`", GUIDE):
        assert (REPOSITORY / path).exists(), path
