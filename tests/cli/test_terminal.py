"""What a person sees: progress and colour on a terminal, and nothing that a document smuggles in."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.shells import COMMAND, Shell, write_documents
from ragstone.cli.searching import SNIPPET_CHARS, snippet, word_pattern
from ragstone.cli.terminal import clean, place, size

ESCAPE = "\x1b["


def on_terminal(shell: Shell, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit status and everything written, with both streams on one pseudo-terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=shell.folder,
        env=shell.environment({"TERM": "xterm-256color"} | (env or {})),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = bytearray()
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # Linux reports the other end's closing so
            break
        if not piece:
            break
        written += piece
    os.close(master)
    return process.wait(timeout=60), written.decode()


def test_indexing_shows_a_moving_bar_and_leaves_one_line(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    status, screen = on_terminal(shell, "index", "docs")
    assert status == 0
    assert ESCAPE in screen
    assert "embedding" in screen
    assert "2 indexed, 0 unchanged, 0 removed" in screen
    assert "indexed /" not in screen


def test_matched_words_are_bold_on_a_terminal_and_plain_without_colour(indexed: Shell) -> None:
    _, screen = on_terminal(indexed, "search", "maintenance log")
    assert re.search(r"\x1b\[1m[Mm]aintenance\x1b\[0m", screen)
    _, plain = on_terminal(indexed, "search", "maintenance log", env={"NO_COLOR": "1"})
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)


def test_a_pipe_gets_no_escape_sequence(indexed: Shell) -> None:
    assert ESCAPE not in indexed.run("search", "maintenance log").out


def test_an_answer_appears_on_the_terminal_once(indexed: Shell) -> None:
    status, screen = on_terminal(indexed, "ask", "Who signs off the maintenance log?")
    assert status == 0
    before_sources = screen.split("docs/ferry.md")[0]
    assert before_sources.count("Mara Lindqvist") == 1


def test_a_document_cannot_drive_the_terminal(shell: Shell) -> None:
    docs = shell.folder / "docs"
    docs.mkdir()
    (docs / "a\x1b[31m.md").write_text(
        "# Title \x1b]0;owned\x07\n\nHarbour \x1b[2J text \u202e hidden \x9b31m here.\n"
    )
    outputs = [
        shell.run("index", "docs").out,
        shell.run("search", "harbour text").out,
        shell.run("list").out,
    ]
    for output in outputs:
        assert not set(output) & {"\x1b", "\x07", "\x9b", "\u202e"}


@given(st.text(max_size=600), st.text(max_size=40))
def test_a_snippet_is_short_and_holds_nothing_but_the_text(text: str, query: str) -> None:
    shown = snippet(text, word_pattern(query)).plain
    assert len(shown) <= SNIPPET_CHARS + len("…  …")
    words = shown.removeprefix("… ").removesuffix(" …").split()
    assert all(word in " ".join(clean(text).split()) for word in words)


def test_a_snippet_stands_where_the_words_are() -> None:
    text = "Nothing here. " * 100 + "The harbour master keeps the keys. " + "Nothing there. " * 100
    shown = snippet(text, word_pattern("keys harbour"))
    assert "harbour master keeps the keys" in shown.plain
    assert {shown.plain[span.start : span.end] for span in shown.spans} == {"harbour", "keys"}


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("index", "indexed and Indexes, not indexation", ["indexed", "Indexes"]),
        ("日本語", "これは日本語です", ["日本語"]),
        ("Käse", "Der KÄSE reift", ["KÄSE"]),
        ("c++ (x", "c and x", ["c", "x"]),
    ],
)
def test_words_are_marked_with_their_short_inflections(query: str, text: str, marked: list[str]) -> None:
    pattern = word_pattern(query)
    assert pattern is not None
    found = pattern.findall(text)
    assert "".join(found) in {"".join(marked), "日本"} or found == marked


def test_sizes_and_places_read_as_people_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [size(0), size(999), size(1000), size(12_345_678)] == ["0 B", "999 B", "1.0 kB", "12.3 MB"]
    monkeypatch.chdir(tmp_path)
    assert place(str(tmp_path / "a" / "b.md")) == "a/b.md"
    assert place("text:abc") == "text:abc"
