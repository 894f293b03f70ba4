"""The commands of this folder, a few tries of each; `docs/reliability.md` has the long runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_attacks() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.load.attacks",
            "--tries",
            "4",
            "--seed",
            "5",
            "--slack-s",
            "2",
            "--json",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["facts"] == {"deadline": 1, "slow": 1, "stop": 1, "vanish": 1}
