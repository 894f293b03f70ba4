"""SIGKILL at random moments: nothing acknowledged is lost, nothing deleted comes back, the store mends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
def test_thirty_kills_break_no_promise() -> None:
    command = [sys.executable, "-m", "tests.crash.kill_loop", "--kills", "30", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] == 30
    assert counts["acknowledged"] > 100
