"""The path guard: nothing outside the folder, whatever the name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.documents.paths import safe_join
from ragstone.errors import InputError

HOSTILE = [
    "", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "a//b", "./a", "a/.", "..\\x", "a\\b", "C:x",
    "c:/x",    "a\0b", "a\nb", "\x7f", "a" * 256, "a/" * 3_000 + "b", "\ud800", "//server/share", "a/\t",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        safe_join(tmp_path, name)
    assert caught.value.hint


def test_plain_names_are_joined(tmp_path: Path) -> None:
    assert safe_join(tmp_path, "a/b c/ü…txt") == tmp_path.resolve() / "a" / "b c" / "ü…txt"
    assert safe_join(tmp_path, "..a/b..") == tmp_path.resolve() / "..a" / "b.."


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "in").symlink_to(root / "inside")
    assert safe_join(root, "in/a") == (root / "inside" / "a").resolve()
    for name in ("out", "out/x", "out/root/inside", "loop", "loop/x"):
        if name == "out/root/inside":
            continue  # leads back in: the file is in the folder
        with pytest.raises(InputError):
            safe_join(root, name)


@settings(max_examples=2_000)
@given(
    st.lists(
        st.sampled_from(["a", "..", ".", "/", "\\", "~", "\0", ":", " ", "%2e%2e", "…", "-"]), max_size=8
    )
)
def test_whatever_is_let_through_is_inside(parts: list[str]) -> None:
    root = Path("/nonexistent/root")
    try:
        path = safe_join(root, "".join(parts))
    except InputError:
        return
    assert path.is_relative_to(root)
    assert path != root
