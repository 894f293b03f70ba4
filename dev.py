"""Set up this clone and run it: `python3 dev.py demo`, `test` or `check`. Needs Python 3.11 and nothing else.

demo   index examples/sample-docs and serve it with the page open (`--no-open` for no page)
test   run the tests; further arguments go to pytest
check  everything a change must pass: lint, format, types, layers, tests
setup  only make .venv and install into it

Knows the standard library only. The environment is `.venv`; what goes into it is `requirements.lock`,
each file checked by its hash.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the point is to say so on an older interpreter
    sys.exit(
        f"error: ragstone needs Python 3.11 or newer, this is {sys.version.split()[0]} ({sys.executable})\n"
        "hint: run this file with a newer one, for example: python3.12 dev.py demo"
    )

import hashlib
import importlib.util
import json
import os
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = BIN / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / ".ragstone-lock"  # hash of the files that decided what was installed
DEMO_DATA = ROOT / ".ragstone-demo"
DEMO_DOCUMENTS = ROOT / "examples" / "sample-docs"

LAST_FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
TESTS_FAILED = 1  # pytest's status for that; others mean that it could not run them
ALONE_MAX = 3

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-logo"),
)


def fail(message: str, hint: str) -> NoReturn:
    sys.exit(f"error: {message}\nhint: {hint}")


def say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def environment() -> dict[str, str]:
    """The caller's environment without what would make pip or Python look elsewhere than `.venv`."""
    dropped = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {
        "VIRTUAL_ENV": str(VENV),
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PIP_ROOT_USER_ACTION": "ignore",  # root in a venv of its own is fine
    }


def run(*command: str | Path) -> int:
    """The exit status of `command`, run in the root of the clone."""
    return subprocess.run(
        [str(word) for word in command], check=False, env=environment(), cwd=ROOT
    ).returncode


def become(*command: str | Path) -> NoReturn:
    """Replace this process, so that Ctrl-C and the exit status are the command's own."""
    os.chdir(ROOT)
    os.execve(command[0], [str(word) for word in command], environment())  # noqa: S606


def installed_key() -> str:
    """Hash of what decides the content of `.venv`; the package is editable and not part of it."""
    digest = hashlib.sha256(str(ROOT).encode())  # a moved clone needs its editable install again
    for path in (LOCK, ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_venv() -> None:
    if importlib.util.find_spec("ensurepip") is None:  # Debian and Ubuntu ship it apart
        fail(
            "this Python cannot make virtual environments (no ensurepip)",
            "on Debian or Ubuntu: sudo apt-get install python3-venv, then run the same command again",
        )
    say("making .venv")
    venv.create(VENV, with_pip=True, symlinks=True)


def pip(*arguments: str | Path) -> None:
    if run(PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments):
        fail(
            "an install step failed, see above",
            "a package index must be reachable once; run the same command again to go on, "
            "or delete .venv to start over",
        )


def set_up() -> None:
    """Make `.venv` hold the lock's packages and this package; returns at once when it does already."""
    if not PYTHON.exists():
        make_venv()
    key = installed_key()
    if STAMP.is_file() and STAMP.read_text() == key:
        return
    if run(PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
        fail("the Python in .venv does not run or is older than 3.11", "delete .venv and run this again")
    if run(PYTHON, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('pip') is None)"):
        run(PYTHON, "-m", "ensurepip")  # an earlier run was stopped half-way
    say("installing what requirements.lock names (hashes checked; a minute or two the first time)")
    pip("install", "-qq", "--require-hashes", "--requirement", LOCK)
    pip("install", "-qq", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    STAMP.write_text(key)


def pytest_command(arguments: Sequence[str]) -> tuple[str | Path, ...]:
    # The long tier takes minutes; a `-m` among the arguments comes later and wins, and so does `-n 0`, one process.
    # A file's tests stay together: many share a service or a collection.
    return (PYTHON, "-m", "pytest", "-m", "not long", "-n", "auto", "--dist", "loadfile", *arguments)


def passes_tests(arguments: Sequence[str]) -> bool:
    """Run the tests. Up to three that fail beside others are named and get one more run, alone.

    Many keep real servers to a second or less, which two busy cores do not always give them.
    """
    LAST_FAILED.unlink(missing_ok=True)
    status = run(*pytest_command(arguments))
    if status != TESTS_FAILED or not LAST_FAILED.is_file():
        return status == 0
    failed = list(json.loads(LAST_FAILED.read_text()))
    if len(failed) > ALONE_MAX:
        return False
    say(f"failed beside others, run again alone: {', '.join(failed)}")
    return run(PYTHON, "-m", "pytest", "-n", "0", *failed) == 0


def check(arguments: Sequence[str]) -> int:
    """Run every check even after one failed, so that one run tells all; 1 when any failed."""
    failed = []
    for program, *options in CHECKS:
        name = " ".join([program, *options])
        say(name)
        if run(BIN / program, *options):
            failed.append(name)
    say("pytest")
    if not passes_tests(arguments):
        failed.append("pytest")
    say(f"failed: {', '.join(failed)}" if failed else "every check passed")
    return 1 if failed else 0


def main(arguments: Sequence[str]) -> int:
    command, *rest = arguments or ["help"]
    if command not in {"demo", "test", "check", "setup"}:
        print(__doc__)
        return 0 if command in {"help", "-h", "--help"} else 2
    set_up()
    if command == "demo":
        become(BIN / "ragstone", "--data-dir", DEMO_DATA, "serve", DEMO_DOCUMENTS, "--open", *rest)
    if command == "test":
        become(*pytest_command(rest))
    return check(rest) if command == "check" else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
