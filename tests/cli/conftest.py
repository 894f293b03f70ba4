"""Stores to run commands on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cli.shells import Finished, Run, Shell, new_shell, write_documents
from ragstone.cli.app import main
from ragstone.setting_sources import PREFIX, WELL_KNOWN
from restored_logging import restored_logging


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared model's folder, shared by every store of the session."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def shell(tmp_path: Path, models: Path) -> Shell:
    """An empty store."""
    return new_shell(tmp_path, models)


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Shell:
    """A store of two documents, `docs/ferry.md` and `docs/keeper.txt`. For tests that only read."""
    shell = new_shell(tmp_path_factory.mktemp("indexed"), models)
    write_documents(shell.folder / "docs")
    done = shell.run("index", "docs")
    assert done.status == 0, done.err
    return shell


@pytest.fixture
def here(
    indexed: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs a command on the indexed store inside this process, which is ten times quicker than a child."""
    for name in [name for name in os.environ if name.startswith(PREFIX) or name in WELL_KNOWN]:
        monkeypatch.delenv(name)
    for name, value in indexed.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(indexed.folder)

    def run(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Finished:
        with monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Finished(status, captured.out, captured.err)

    with restored_logging():
        yield run
