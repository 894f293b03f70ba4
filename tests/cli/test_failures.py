"""Everything that goes wrong ends in one line and a hint, with the right status, and nothing lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.shells import Run, Shell, new_shell, write_documents
from ragstone import Ragstone
from ragstone.cli.failures import guarded
from ragstone.errors import LockedError


@pytest.mark.parametrize(
    ("arguments", "env", "toml", "error", "hint"),
    [
        (["list"], {}, "colection = 'x'", "unknown setting colection", "did you mean collection?"),
        (["list"], {"RAGSTONE_PROT": "1"}, "", "unknown setting RAGSTONE_PROT", "RAGSTONE_PORT"),
        (["list"], {"RAGSTONE_TOP_K": "ten"}, "", "top_k = 'ten'", "hits a search returns"),
        (["index", "absent"], {}, "", "no file or folder", "check the path"),
        (["index", "empty"], {}, "", "no documents in", "name a folder"),
        (["index", "empty"], {"RAGSTONE_COLLECTION": "../x"}, "", "collection = '../x'", "collection"),
        (["list"], {"RAGSTONE_COLLECTION": "absent"}, "", "no collection 'absent'", "ragstone index"),
        (["search", " "], {}, "", "the query is empty", "write a question"),
        (["search", "x", "--filter", "type"], {}, "", "filter", "field:value"),
        (["search", "x", "--top-k", "999"], {}, "", "top_k = 999", "hits"),
        (["search", "x", "--mode", "psychic"], {}, "", "psychic", "search --help"),
        (["serach"], {}, "", "serach", "--help"),
        (["search"], {}, "", "query", "search --help"),
        (["--config", "absent.toml", "list"], {}, "", "no configuration file at", "--config"),
        (["serve", "absent"], {}, "", "no file or folder absent", "nothing was started"),
    ],
)
def test_a_mistake_of_the_caller_is_one_line_a_hint_and_status_2(
    here: Run, arguments: list[str], env: dict[str, str], toml: str, error: str, hint: str
) -> None:
    Path("empty").mkdir(exist_ok=True)
    config = Path("ragstone.toml")
    config.write_text(toml)
    try:
        done = here(*arguments, env=env)
    finally:
        config.unlink()
    first, second = done.err.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith("hint: ")
    assert hint in second
    assert (done.status, done.out) == (2, "")


def test_with_json_an_error_is_an_object(here: Run) -> None:
    done = here("index", "absent", "--json")
    assert (done.status, done.out) == (2, "")
    error = json.loads(done.err)["error"]
    assert error["code"] == "not_found"
    assert set(error) == {"code", "message", "hint"}


def test_a_model_folder_that_is_not_there_changes_nothing(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    done = shell.run("index", "docs", env={"RAGSTONE_MODEL": "/nowhere/model"})
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert "hint: " in done.err
    assert shell.run("index", "docs").status == 0


def test_vectors_of_another_size_are_refused_and_nothing_is_lost(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    with Ragstone(shell.data_dir, collection="default") as engine:
        engine.add(["eight numbers"], uris=["eight"], vectors=[[1.0] * 8])
    done = shell.run("index", "docs", "--json")
    assert done.status == 1
    assert json.loads(done.err)["error"]["code"] == "mismatch"
    assert [row.split("\t")[0] for row in shell.run("list").out.splitlines()] == ["eight"]


def test_a_second_writer_is_told_who_writes(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    shell.run("index", "docs")
    (shell.folder / "docs" / "new.md").write_text("A new note.")
    with Ragstone(shell.data_dir, collection="default") as engine, engine._collection().writing():
        done = shell.run("index", "docs", "--json")
    assert (done.status, json.loads(done.err)["error"]["code"]) == (1, LockedError.default_code)
    assert shell.run("index", "docs").status == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 10 MB, of which the store keeps 8 free; skips where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_loses_nothing_that_was_acknowledged(
    tmp_path: Path, models: Path, small_disk: Path
) -> None:
    shell = new_shell(tmp_path / "shell", models, data_dir=small_disk)
    docs = shell.folder / "docs"
    docs.mkdir()
    for number in range(300):
        (docs / f"{number}.txt").write_text(f"Boat {number} is blue. " + f"filler{number} " * 2000)
    done = shell.run("index", "docs")
    acknowledged = {
        line.removeprefix("indexed ") for line in done.out.splitlines() if line.startswith("indexed ")
    }
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert " free " in done.err.splitlines()[0]
    assert "hint: " in done.err
    kept = {line.split("\t")[0] for line in shell.run("list").out.splitlines()}
    assert acknowledged
    assert acknowledged <= kept
    assert shell.run("search", "Boat 1 is blue", "--mode", "keyword", "--json").json["hits"]


def test_a_fault_of_ours_is_one_line_and_never_hides_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken() -> int:
        raise ZeroDivisionError("by zero")

    assert guarded(broken, json_output=False) == 1
    err = capsys.readouterr().err
    assert "error: unexpected ZeroDivisionError: by zero\n" in err
    assert "this is a fault of ragstone; the traceback is above" in err
    assert "in broken" in err
