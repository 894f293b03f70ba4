"""Which files a walk gives, skips and reports."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from documents import document_files as files
from ragstone.documents.ignore import parse_rules
from ragstone.documents.walk import DocumentFailure, FileEntry, Skipped, walk
from ragstone.errors import NotFoundError


def put(root: Path, *names: str, content: str = "words") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def names(root: Path, *, follow_links: bool = False, skipped: Skipped | None = None) -> list[str]:
    entries = walk([root], max_bytes=1_000, follow_links=follow_links, skipped=skipped)
    return [str(entry.path.relative_to(root.resolve())) for entry in entries if isinstance(entry, FileEntry)]


def failures(root: Path) -> dict[str, str]:
    entries = walk([root], max_bytes=1_000)
    return {Path(entry.path).name: entry.code for entry in entries if isinstance(entry, DocumentFailure)}


def test_documents_come_folder_by_folder_in_order_of_names(tmp_path: Path) -> None:
    put(tmp_path, "b.md", "a.txt", "z/c.pdf", "d/e/f.docx", "d/a.rst", "Makefile")
    assert names(tmp_path) == ["Makefile", "a.txt", "b.md", "d/a.rst", "d/e/f.docx", "z/c.pdf"]


def test_an_entry_carries_size_time_and_absolute_path(tmp_path: Path) -> None:
    put(tmp_path, "a.txt")
    (entry,) = walk([tmp_path], max_bytes=1_000)
    status = (tmp_path / "a.txt").stat()
    path = tmp_path.resolve() / "a.txt"
    assert entry == FileEntry(path, str(path), status.st_size, status.st_mtime_ns)


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.md",
        ".hidden.md",
        ".git/config",
        "node_modules/x/readme.md",
        "env/pyvenv.cfg",
        "env/lib/a.py",
    )
    put(tmp_path, "p.png", "s.mp3", "app.min.js", "package-lock.json", "m.pyc", "notes.md~")
    (tmp_path / "link.md").symlink_to(tmp_path / "a.md")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / ".gitignore").write_text("build/\n")
    put(tmp_path, "build/out.md")
    skipped = Skipped()
    assert names(tmp_path, skipped=skipped) == ["a.md"]
    assert skipped == Skipped(hidden=3, ignored=1, links=1, folders=2, not_documents=6, special=1)
    assert skipped.total == 14


def test_nested_ignore_files_take_back_and_have_the_last_word(tmp_path: Path) -> None:
    put(tmp_path, "a.log", "keep.log", "sub/b.log", "sub/c.txt", "sub/deep/c.txt", "top.txt", "sub/top.txt")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/top.txt\n")
    (tmp_path / "sub" / ".gitignore").write_text("!b.log\nc.txt\n")
    (tmp_path / "sub" / "deep" / ".ragstoneignore").write_text("!c.txt\n")
    assert names(tmp_path) == ["keep.log", "sub/b.log", "sub/top.txt", "sub/deep/c.txt"]


def test_a_root_is_walked_whatever_its_name(tmp_path: Path) -> None:
    put(tmp_path, ".notes/a.md", "node_modules/b.md")
    assert names(tmp_path / ".notes") == ["a.md"]
    assert names(tmp_path / "node_modules") == ["b.md"]


def test_documents_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "old.doc", "mail.msg", "a.md")
    put(tmp_path, "large.txt", content="x" * 1_001)
    assert failures(tmp_path) == {
        "old.doc": "unsupported",
        "mail.msg": "unsupported",
        "large.txt": "too_large",
    }


def test_a_file_named_as_root_is_never_passed_over_in_silence(tmp_path: Path) -> None:
    put(tmp_path, "p.png", ".hidden.md", "old.doc")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.zip").write_bytes(files.zip_file({"a.txt": "words"}))
    found = list(
        walk([tmp_path / n for n in ("p.png", "old.doc", "a.zip", "pipe", ".hidden.md")], max_bytes=1_000)
    )
    assert [entry.code for entry in found[:4] if isinstance(entry, DocumentFailure)] == [
        "unsupported",
        "unsupported",
        "unsupported",
        "unreadable",
    ]
    assert isinstance(found[4], FileEntry)


def test_an_archive_is_passed_over_unless_it_is_a_bomb(tmp_path: Path) -> None:
    (tmp_path / "fine.zip").write_bytes(files.zip_file({"a.txt": "words"}))
    (tmp_path / "bomb.zip").write_bytes(files.bomb([f"{n}" for n in range(100)]))
    skipped = Skipped()
    found = list(walk([tmp_path], max_bytes=50_000_000, skipped=skipped))
    assert [(Path(entry.path).name, entry.code) for entry in found if isinstance(entry, DocumentFailure)] == [
        ("bomb.zip", "bomb_suspected")
    ]
    assert len(found) == skipped.not_documents == 1


def test_links_are_followed_on_request_but_never_out_of_the_roots(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(root, "a/doc.md")
    put(outside, "secret.md")
    (root / "b").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    (root / "again.md").symlink_to(root / "a" / "doc.md")
    (root / "out").symlink_to(outside)
    (root / "out.md").symlink_to(outside / "secret.md")
    (root / "nowhere.md").symlink_to(root / "missing")
    skipped = Skipped()
    assert names(root) == ["a/doc.md"]
    assert names(root, follow_links=True, skipped=skipped) == ["a/doc.md"]
    assert skipped.links == 3


def test_overlapping_roots_give_each_file_once(tmp_path: Path) -> None:
    put(tmp_path, "a/b/doc.md", "a/other.md")
    roots = [tmp_path / "a" / "b", tmp_path / "a", tmp_path / "a" / "b" / "doc.md", tmp_path / "a"]
    found = [entry.path.name for entry in walk(roots, max_bytes=1_000) if isinstance(entry, FileEntry)]
    assert sorted(found) == ["doc.md", "other.md"]


def test_a_missing_root_stops_before_anything_else(tmp_path: Path) -> None:
    put(tmp_path, "a.md")
    with pytest.raises(NotFoundError, match="missing") as caught:
        walk([tmp_path, tmp_path / "missing"], max_bytes=1_000)
    assert caught.value.hint


def test_a_name_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md"))).write_text("words")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9")).mkdir()
    (failure, folder) = walk([tmp_path], max_bytes=1_000)
    assert isinstance(failure, DocumentFailure)
    assert isinstance(folder, DocumentFailure)
    assert (failure.code, folder.code) == ("unreadable", "unreadable")
    failure.path.encode()


def test_a_very_deep_tree_is_walked() -> None:
    folder = tempfile.mkdtemp()  # not pytest's folder: neither it nor Python can remove such a tree
    try:
        deep = folder
        for _ in range(1_050):  # deeper than Python's stack
            deep += "/d"
            os.mkdir(deep)  # noqa: PTH102
        Path(f"{deep}/a.md").write_text("words")
        assert len(names(Path(folder))) == 1
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def test_eight_thousand_files_take_a_fraction_of_a_second(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("".join(f"*.ext{n}\nbuild{n}/\nout{n}/**/x\n" for n in range(20)))
    for folder in range(80):
        (tmp_path / f"d{folder}").mkdir()
        for n in range(100):
            os.mknod(tmp_path / f"d{folder}" / f"page{n}.md")
    spent_s = time.process_time()
    assert len(names(tmp_path)) == 8_000
    assert time.process_time() - spent_s < 1.0  # 0.15 s measured; T8 gives the whole second run one second


segment = st.text("ab*?.", min_size=1, max_size=4).filter(lambda text: "**" not in text and text.strip("."))
patterns = st.builds(
    lambda negated, anchored, segments, folder: f"{negated}{anchored}{'/'.join(segments)}{folder}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(segment | st.just("**"), min_size=1, max_size=4).filter(lambda parts: set(parts) != {"**"}),
    st.sampled_from(["", "/"]),
)
paths = st.lists(
    st.text("ab.", min_size=1, max_size=4).filter(lambda t: t.strip(".")), min_size=1, max_size=4
)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=st.lists(patterns, min_size=1, max_size=4), parts=st.lists(paths, min_size=1, max_size=8))
def test_ignore_patterns_mean_what_they_mean_to_git(
    lines: list[str], parts: list[list[str]], tmp_path: Path
) -> None:
    if not (tmp_path / ".git").exists():
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("\n".join(lines))
    asked = ["/".join(part) for part in parts]
    answer = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        input="\n".join(asked),
        text=True,
        capture_output=True,
        cwd=tmp_path,
    )
    assert answer.returncode in {0, 1}, answer.stderr
    theirs = set(answer.stdout.splitlines())
    rules = parse_rules(lines)
    for part, file in zip(parts, asked, strict=True):
        ours = any(
            rules is not None and rules.decide(part[end - 1], "/".join(part[:end]), is_folder=end < len(part))
            for end in range(1, len(part) + 1)
        )
        assert ours == (file in theirs), (file, lines)


@pytest.mark.parametrize(
    "pattern", ["*a" * 60 + "b", "**/a" * 60 + "/b", "[" * 500, "?*" * 100 + "x", "\\" * 301]
)
def test_hostile_patterns_and_names_cost_little(pattern: str) -> None:
    rules = parse_rules([pattern])
    spent_s = time.process_time()
    for name in ("a" * 255, "a/" * 2_000 + "a"):
        assert not (rules and rules.decide(name.rpartition("/")[2], name, is_folder=False))
    assert time.process_time() - spent_s < 0.5  # exponential would be longer than the universe
