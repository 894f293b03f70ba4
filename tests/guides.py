"""The code in our guides, run as a reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def printed_by(guide: str, folder: Path, *, instead: Mapping[str, str] | None = None) -> list[str]:
    """The lines that the guide's Python blocks print, from top to bottom, in one process that begins in `folder`.

    `instead` replaces texts of the guide, such as an address, by those that hold in the test.
    """
    code = "\n".join(
        re.findall(r"^```python\n(.*?)^```", (DOCS / guide).read_text(), re.MULTILINE | re.DOTALL)
    )
    for text, other in (instead or {}).items():
        assert text in code
        code = code.replace(text, other)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
