"""The service under attack and load, as commands: `python -m tests.load.<name>`; what each proves is in
docs/reliability.md.
"""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).resolve().parents[1])
if _TESTS not in sys.path:  # run as a command; pytest puts it there by itself
    sys.path.append(_TESTS)
