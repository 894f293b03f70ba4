"""The promise every reader keeps: blocks cover a text, in order, without overlap."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.documents import readers
from ragstone.documents.blocks import check_blocks, document_from
from ragstone.documents.draft import Extraction, Kind, clean
from ragstone.documents.limits import ReadLimits
from ragstone.errors import DocumentError
from ragstone.types import Block, BlockKind, ParsedDocument

P = BlockKind.PARAGRAPH


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("one two", [Block(P, 0, 3)]),
        ("one two", [Block(P, 4, 7)]),
        ("one two", [Block(P, 0, 5), Block(P, 4, 7)]),
        ("one two", [Block(P, 4, 7), Block(P, 0, 3)]),
        ("one", [Block(P, 0, 4)]),
        ("one", [Block(P, 0, 0), Block(P, 0, 3)]),
        ("one ", [Block(P, 0, 4)]),
        ("one", [Block(P, 0, 3, level=1)]),
        ("one", [Block(BlockKind.HEADING, 0, 3)]),
        ("one", [Block(P, 0, 3, page=0)]),
        ("one", [Block(BlockKind.CUE, 0, 3, time_s=-1.0)]),
        ("one", [Block(BlockKind.CUE, 0, 3, time_s=float("nan"))]),
    ],
)
def test_a_broken_promise_is_found(text: str, blocks: list[Block]) -> None:
    with pytest.raises(ValueError, match=r"block|text"):
        check_blocks(ParsedDocument(text, tuple(blocks), "t", "text"))


FINE = {
    "text": "a",
    "marks": [["paragraph", 0, 1, 0, None, None]],
    "title": "",
    "format": "text",
    "metadata": {},
}


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        FINE | {"text": 1},
        FINE | {"text": "\ud800"},
        FINE | {"marks": [["paragraph", 0, 9, 0, None, None]]},
        FINE | {"marks": [["poem", 0, 1, 0, None, None]]},
        FINE | {"marks": [["paragraph", 0, "1", 0, None, None]]},
        FINE | {"marks": [[]]},
        FINE | {"metadata": {"k": []}},
    ],
)
def test_a_child_that_lies_is_not_believed(document: object) -> None:
    assert document_from({"document": FINE}).text == "a"
    with pytest.raises(DocumentError) as caught:
        document_from({"document": document})
    assert caught.value.code == "malformed"


@pytest.mark.parametrize(
    "reply", [None, [], "x", {}, {"error": 1}, {"error": ["a"]}, {"error": ["nonsense", "m", "h"]}]
)
def test_a_reply_that_makes_no_sense_is_malformed(reply: object) -> None:
    with pytest.raises(DocumentError) as caught:
        document_from(reply)
    assert caught.value.code == "malformed"


def test_readers_and_types_name_the_same_kinds() -> None:
    assert set(typing.get_args(Kind)) == {kind.value for kind in BlockKind}


# Pieces that mean something to one of the text formats, so that random texts hit more than paragraphs.
PIECES = [
    "\n",
    "\n\n",
    " ",
    "    ",
    "\t",
    "word",
    "# H",
    "===",
    "---",
    "```",
    "~~~",
    "- ",
    "1. ",
    "| a | b |",
    "|---|---|",
]
PIECES += [
    "::",
    ".. note::",
    ".. code::",
    "+---+",
    "=== ===",
    ">>> x",
    "* ",
    "---\n",
    "a: b",
    "\\section{",
    "}",
    "%",
    "é",
    "漢",
]
PIECES += [
    "\\begin{verbatim}",
    "\\end{verbatim}",
    "\x01",
    "\x0b",
    "\x1c",
    "\u2028",
    "\r",
    "\r\n",
    "def f():",
    "\ufeff",
]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.py", "a.tex"])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_text_is_covered_and_kept(name: str, pieces: list[str]) -> None:
    source = "".join(pieces)
    try:
        document = document_from({"document": readers.read(source.encode(), name, ReadLimits())})
    except DocumentError as error:
        assert error.code in {"no_text", "malformed"}
        return
    check_blocks(document)
    assert document.text == clean(source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["heading", "paragraph", "item", "code", "row", "cue"]), st.text(max_size=20)
        )
    )
)
def test_any_extraction_is_covered(parts: list[tuple[str, str]]) -> None:
    found = Extraction(text_chars=10_000)
    for kind, text in parts:
        if kind == "heading":
            found.heading(text, 9)
        elif kind == "cue":
            found.cue(text, time_s=1.0)
        else:
            getattr(found, kind)(text)
    draft = found.draft()
    blocks = tuple(Block(BlockKind(m.kind), *m[1:]) for m in draft.marks)
    check_blocks(ParsedDocument(draft.text, blocks, "t", "x"))
