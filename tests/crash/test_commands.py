"""The proofs of safety, a few tries of each: every change runs them. `docs/reliability.md` has the long ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NEED_STRACE = {"kill_at_calls", "io_errors"}
# Tries that take 3 to 5 seconds each on one core.
QUICK = {
    "kill_loop": ["--tries", "12"],
    "kill_large_index": ["--tries", "3", "--files", "400"],
    "kill_at_calls": ["--tries", "16"],
    "io_errors": ["--tries", "12"],
    "damaged_files": ["--tries", "30"],
    "divergences": ["--tries", "27"],  # each kind once
    "openers": ["--tries", "8"],
    "deleted_text": ["--tries", "6"],
    "kill_restore": ["--tries", "8"],
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", QUICK)
def test_no_promise_is_broken_by(name: str) -> None:
    if name in NEED_STRACE and shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    # The same tries each time: that a change is refused has to be that change's fault. Long runs choose others.
    command = [sys.executable, "-m", f"tests.crash.{name}", *QUICK[name], "--seed", "1", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=220)
    if "crash.children.TracingError" in done.stderr:
        pytest.skip(f"strace cannot attach here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found["tries"] == int(QUICK[name][1])
    assert found["failures"] == 0


def test_a_broken_promise_ends_the_command_with_one(tmp_path: Path) -> None:
    """The proofs themselves can fail: a keyword index that lacks a chunk, with nobody to mend it."""
    code = (
        "import sys; sys.argv = ['divergences', '--kind', 'keyword_has_another', '--tries', '1', '--seed', '1']\n"
        "import tests.crash\n"
        "from ragstone import maintenance; maintenance._MENDERS.clear()\n"
        "from crash import divergences as d\n"
        "sys.exit(d.main(d.__doc__, d.prepare, tries=1, add_options=d.add_options))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={"PATH": "", "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 1, done.stderr
    assert "1 tries, 1 failures" in done.stdout
    assert "cannot be repaired" in done.stderr
