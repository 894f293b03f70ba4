"""The wheel holds what a user needs, and the core needs none of the extras."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ragstone.version import __version__

ROOT = Path(__file__).resolve().parents[1]

WITHOUT_EXTRAS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fastapi", "uvicorn", "starlette", "redis", "opentelemetry", "h11", "mcp"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import ragstone
with ragstone.Ragstone("data") as engine:
    engine.add(["The ferry to Skarholm leaves at 7:40."], uris=["timetable"])
    print(engine.search("ferry").hits[0].uri)
for use in (lambda: ragstone.Client(), lambda: ragstone.RedisCache("redis://127.0.0.1:1")):
    try:
        use()
    except ragstone.RagstoneError as error:
        print(error.hint)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    build: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


def test_the_wheel_has_every_module_and_file_of_the_package(wheel: Path) -> None:
    source = ROOT / "src"
    ours = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert {name for name in names if not name.startswith("ragstone-")} == ours
    assert {
        "ragstone/py.typed",
        "ragstone/embedding/minilm/vocab.txt",
        "ragstone/server/ui/index.html",
    } <= names
    assert wheel.name == f"ragstone-{__version__}-py3-none-any.whl"


def test_the_core_works_without_any_extra_and_says_what_brings_one(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n{WITHOUT_EXTRAS}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "timetable",
        "install it with: pip install 'ragstone[client]'",
        "pip install 'ragstone[redis]'",
    ]
