"""A service in a process of its own, for what signals do to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path
from ragstone.embedding import load_embedder
from ragstone.engine import Ragstone
from ragstone.server.serving import serve
data, models, library = sys.argv[1:]
embedder = load_embedder("minilm", cache_dir=Path(models))
with Ragstone(data, embedder=embedder) as engine:
    serve(engine, port=0, paths=[library], announce=lambda url: print(url, flush=True))
print("closed", flush=True)
"""


@contextmanager
def serving_process(
    data_dir: Path, models_dir: Path, library: Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and where it listens; killed at the end of the block. It prints `closed` as its last word.

    Quick once the model's files are in `models_dir`, as the fixture `embedder` makes them.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(data_dir), str(models_dir), str(library)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()
