"""The five scenarios run to their end without a network, and say what happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "rag_optimizations_example.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_all_five_scenarios_run() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    titles = [line for line in said if line[:1].isdigit() and line[1] == "."]
    assert titles == ["1. batches", "2. memory", "3. monitoring", "4. queries", "5. together"]
    for fact in (
        "asked for 12 vectors, embedded 4",
        "2 memories, 1 moved up",
        "3 queries, 2 searches: timetable, fares, timetable",
        "after a change 3 searches",
        "cited: fares",
        "remembered: The reader travels with a bicycle.",
    ):
        assert fact in said


def test_some_can_be_chosen_and_others_are_refused() -> None:
    assert "4. queries" in run("4").stdout
    assert run("6").returncode == 2
