"""The real command in a child process, with a home and a working folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("ragstone")

FERRY = """# Ferry handbook

The ferry Aurelia was launched in 1987 in the yard of Holm. She carries 240 passengers and 38 cars.

## Maintenance

The maintenance log is signed off by the chief engineer, Mara Lindqvist, every Friday.
"""
KEEPER = "The lighthouse keeper is called Tom Arkwright. He lights the lamp at dusk.\n"


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Finished]  # (*arguments: str | Path, env: Mapping[str, str] | None = None)


@dataclass(frozen=True)
class Shell:
    """Runs `ragstone` in `folder` on the store `data_dir`, in an environment without anyone's settings."""

    folder: Path
    data_dir: Path
    home: Path

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        base = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "COLUMNS": "80"}
        return base | {"RAGSTONE_DATA_DIR": str(self.data_dir)} | dict(extra or {})

    def run(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> Finished:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(env),
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def new_shell(folder: Path, models: Path, *, data_dir: Path | None = None) -> Shell:
    """A shell on a new store; the prepared model is shared, because making it takes over a second."""
    home, work = folder / "home", folder / "work"
    home.mkdir(parents=True)
    work.mkdir()
    data_dir = data_dir or folder / "data"
    data_dir.mkdir(exist_ok=True)
    (data_dir / "models").symlink_to(models)
    return Shell(work, data_dir, home)


def write_documents(folder: Path) -> None:
    folder.mkdir()
    (folder / "ferry.md").write_text(FERRY)
    (folder / "keeper.txt").write_text(KEEPER)
