"""The commands of this folder, a few tries of each; `docs/reliability.md` has the long runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*command: str) -> dict[str, int]:
    """What a command counts when its tries have passed."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--seed", "5", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, int] = json.loads(done.stdout)["facts"]
    return facts


def test_attacks() -> None:
    facts = run("tests.load.attacks", "--tries", "4", "--slack-s", "2")
    assert facts == {"deadline": 1, "slow": 1, "stop": 1, "vanish": 1}


def test_obeying() -> None:
    facts = run("tests.load.obeying", "--tries", "20")
    assert sum(count for name, count in facts.items() if name.startswith("orders obeyed: ")) == 20
    assert facts.get("orders obeyed: 0", 0) <= 4  # hidden in a form that this model does not read


def test_escaping() -> None:
    facts = run("tests.load.escaping", "--tries", "120")
    assert len(facts) == 15  # doors


def test_a_name_that_got_out_would_be_seen() -> None:
    code = (
        "import sys; sys.argv = ['escaping', '--tries', '100', '--seed', '5']\n"
        "import tests.load\n"
        "from pathlib import Path\n"
        "from ragstone.server.changes import Changes\n"
        "Changes._allowed = lambda self, path, caller: Path(path.replace(chr(0), '')).resolve()\n"
        "from tests.load import escaping as e\n"
        "sys.exit(e.main(e.__doc__, e.prepare, tries=1))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "BrokenPromiseError: path to index" in done.stderr
