"""What a newcomer meets first: importing is cheap, and the README's code runs as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ragstone import Ragstone, Settings
from ragstone.index.plans import Plan

README = Path(__file__).resolve().parents[1] / "README.md"
IMPORT_MS_MAX = 150

TIMED_IMPORT = """
import sys, time
started = time.perf_counter()
import ragstone
print((time.perf_counter() - started) * 1e3)
heavy = {"numpy", "faiss", "onnxruntime", "tantivy", "apsw", "pydantic", "fastapi", "typer"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_the_package_is_cheap_and_loads_nothing_heavy() -> None:
    best_ms = min(float(_python(TIMED_IMPORT)) for _ in range(3))
    assert best_ms <= IMPORT_MS_MAX


FIRST_SEARCH = """
import sys
import apsw, faiss, tantivy
import numpy as np
import ragstone.engine
from ragstone import Ragstone, Settings
loaded = set(sys.modules)
with Ragstone(sys.argv[1], settings=Settings()) as engine:
    assert engine.search("lamp", vector=np.eye(8)[2]).hits
print(sorted(name for name in set(sys.modules) - loaded if name.startswith("numpy.")))
"""


def test_a_first_search_loads_no_more_of_numpy(tmp_path: Path) -> None:
    """`np.unique` takes 7 ms when it is called first, for masked arrays; `np.ctypeslib` one."""
    rows = np.random.default_rng(1).standard_normal((2_000, 8))
    with Ragstone(tmp_path, settings=Settings()) as engine:
        engine.add([f"lamp {n}" for n in range(len(rows))], vectors=rows, titles=["Lamps"] * len(rows))
        collection = engine._collection()
        with collection.writing():
            mapped_lists = Plan("IVF,PQ,FastScan", {"nlist": 8, "n_subquantizers": 4})
            collection.apply_plan(mapped_lists, recall=0.5)
    assert _python(FIRST_SEARCH, str(tmp_path)).strip() == "[]"


def test_every_public_name_can_be_imported() -> None:
    _python("import ragstone\nfor name in ragstone.__all__: assert getattr(ragstone, name) is not None")


@pytest.mark.parametrize(
    "code", re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
)
def test_the_readmes_code_runs(code: str, tmp_path: Path) -> None:
    printed = _python(code, cwd=tmp_path)
    assert "The ferry to Skarholm leaves at 7:40." in printed


def _python(code: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
