"""Two folders change places, or nothing happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.errors import StoreError
from ragstone.store.exchange import exchange


def test_two_folders_change_places(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    exchange(one, other)
    assert (one / "other").exists()
    assert (other / "one").exists()


def test_what_cannot_be_exchanged_stays(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(StoreError, match="cannot change places in one step: No such file"):
        exchange(tmp_path / "one", tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
