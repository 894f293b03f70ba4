"""Facts about chunks that hold for every document, and how they follow its structure."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from chunking_cases import WORD_PIECES, Bytes, Greedy, check_chunks, document, prose
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.chunking import chunker
from ragstone.chunking.chunker import MIN_BUDGET, MIN_TOKENS, TokenCounter, chunk_document
from ragstone.chunking.context import embedding_text
from ragstone.errors import InputError
from ragstone.types import Block, BlockKind, Chunk, ParsedDocument

HEADING, PARAGRAPH, LIST = BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.LIST
CODE, ROW, CUE = BlockKind.CODE, BlockKind.TABLE_ROW, BlockKind.CUE


def chunks_of(parsed: ParsedDocument, max_tokens: int = 128, min_tokens: int = 32) -> list[Chunk]:
    chunks = chunk_document(parsed, tokens=WORD_PIECES, max_tokens=max_tokens, min_tokens=min_tokens)
    check_chunks(parsed, chunks, WORD_PIECES, max_tokens)
    return list(chunks)


def texts_of(parsed: ParsedDocument, max_tokens: int = 128, min_tokens: int = 32) -> list[str]:
    return [parsed.text[c.start : c.end] for c in chunks_of(parsed, max_tokens, min_tokens)]


# Words of all the kinds that have broken chunkers: scripts without spaces, combining marks, emoji with joiners,
# unknown words, markup, numbers, zero-width and control characters.
_WORDS = st.sampled_from(
    [
        "the harbour",
        "ferry.",
        "Why?",
        "e.g.",
        "我爱北京。",
        "渡轮，",
        "ภาษาไทยไม่มีช่องว่าง",
        "n\u0303o\u0301",
        "👩‍👩‍👧",
        "x" * 130,
        "```",
        "| a | b |",
        "- item",
        "\n",
        "\n\n",
        "\t",
        " " * 40,
        "3.14",
        "\u200b",
        "\x1c",
        "\x00",
        "https://a.b/c?d=e",
        "ﬁ",
        "İ",
        "—",
        ";",
        "def f():",
    ]
)
_TEXTS = st.one_of(
    st.lists(_WORDS, max_size=60).map(" ".join),
    st.lists(_WORDS, max_size=60).map("".join),
    st.text(max_size=80),
)


@st.composite
def _documents(draw: st.DrawFn) -> ParsedDocument:
    """Documents with random blocks over random text, pages that only grow, headings of all levels."""
    text, blocks, page = draw(st.sampled_from(["", " ", "\n\n"])), [], draw(st.sampled_from([None, 1]))
    for _ in range(draw(st.integers(0, 14))):
        words = draw(_TEXTS)
        kind = draw(st.sampled_from(BlockKind))
        if page is not None:
            page += draw(st.sampled_from([0, 0, 0, 1, 3]))
        if words:
            level = draw(st.integers(1, 6)) if kind is HEADING else 0
            blocks.append(Block(kind, len(text), len(text) + len(words), level=level, page=page))
            text += words
        text += draw(st.sampled_from(["", " ", "\n", "\n \n"]))
    title = draw(
        st.one_of(st.just(""), st.text(max_size=20), st.just("A long title " * 40), st.just("題" * 400))
    )
    return ParsedDocument(text, tuple(blocks), title, "text")


@pytest.mark.parametrize("tokens", [WORD_PIECES, Bytes(), Greedy()], ids=["wordpiece", "bytes", "greedy"])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parsed=_documents(), max_tokens=st.integers(30, 300), min_tokens=st.integers(0, 300))
def test_chunks_of_any_document_are_complete_disjoint_within_budget_and_page(
    tokens: TokenCounter, parsed: ParsedDocument, max_tokens: int, min_tokens: int
) -> None:
    chunks = chunk_document(parsed, tokens=tokens, max_tokens=max_tokens, min_tokens=min_tokens)
    check_chunks(parsed, chunks, tokens, max_tokens)


@pytest.mark.parametrize("tokens", [WORD_PIECES, Bytes(), Greedy()], ids=["wordpiece", "bytes", "greedy"])
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    several=st.lists(_documents(), min_size=1, max_size=4),
    window=st.integers(1, 2_000),
    max_tokens=st.integers(30, 100),
    min_tokens=st.integers(0, 60),
)
def test_windows_leave_no_trace(
    tokens: TokenCounter,
    several: list[ParsedDocument],
    window: int,
    max_tokens: int,
    min_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = one_after_the_other([*several, *several])
    chunked = partial(chunk_document, parsed, tokens=tokens, max_tokens=max_tokens, min_tokens=min_tokens)
    at_once = list(chunked())
    with monkeypatch.context() as patch:
        patch.setattr(chunker, "WINDOW_CHARS", window)
        assert list(chunked()) == at_once


def one_after_the_other(documents: list[ParsedDocument]) -> ParsedDocument:
    """Their texts and blocks as one document, the pages of each behind those of the one before."""
    text, blocks, page = "", list[Block](), 0
    for part in documents:
        pages = [block.page or 0 for block in part.blocks]
        blocks += [
            replace(
                block,
                start=block.start + len(text),
                end=block.end + len(text),
                page=None if block.page is None else block.page + page,
            )
            for block in part.blocks
        ]
        text, page = text + part.text, page + max(pages, default=0)
    return replace(documents[0], text=text, blocks=tuple(blocks))


@pytest.mark.parametrize(
    "word",
    [
        "a" * 10_000,
        "渡轮每天从港口出发" * 1_111,
        "ภาษาไทยไม่มีช่องว่าง" * 500,
        "Zm9v+YmFy/" * 1_000,
        "e\u0301" * 5_000,
        "🙂" * 10_000,
    ],
    ids=["latin", "chinese", "thai", "base64", "combining", "emoji"],
)
def test_a_word_of_ten_thousand_characters_is_divided(word: str) -> None:
    parts = texts_of(document((PARAGRAPH, word)))
    assert len(parts) >= 3
    assert "".join(parts) == word
    assert all(len(part) <= 128 * 16 for part in parts)


def test_no_combining_mark_begins_a_chunk() -> None:
    parts = texts_of(document((PARAGRAPH, "e\u0301" * 3_000)))
    assert len(parts) > 1
    assert all(part.startswith("e") for part in parts)


def test_no_text_gives_no_chunks() -> None:
    assert chunks_of(ParsedDocument("", (), "Title", "text")) == []
    assert chunks_of(ParsedDocument(" \n\t ", (), "Title", "text")) == []


def test_text_without_blocks_is_chunked_as_prose() -> None:
    parsed = ParsedDocument(prose(40), (), "", "text")
    assert all(part.endswith(".") for part in texts_of(parsed))


def test_a_short_document_is_one_chunk() -> None:
    parsed = document((HEADING, "Ferry"), (PARAGRAPH, "It sails at noon."), (PARAGRAPH, "Bring a coat."))
    assert len(chunks_of(parsed)) == 1


def test_a_long_paragraph_is_divided_at_sentences_into_even_parts() -> None:
    for sentences in range(9, 60, 5):
        chunks = chunks_of(document((PARAGRAPH, prose(sentences))))
        sizes = [chunk.tokens for chunk in chunks]
        assert len(sizes) == 1 or min(sizes) >= 0.4 * 128, sizes
        assert all(c.embedding_text.startswith("Sentence") and c.embedding_text.endswith(".") for c in chunks)


def test_chinese_prose_is_divided_at_its_full_stops() -> None:
    sentence = "渡轮每天早上从老港口出发，傍晚回来。"
    parts = texts_of(document((PARAGRAPH, sentence * 40)))
    assert len(parts) > 2
    assert all(part.endswith("。") and part.startswith("渡") for part in parts)


def test_sections_begin_chunks_and_headings_stay_with_what_follows() -> None:
    parsed = document(
        (HEADING, "# Guide"),
        (HEADING, "## Boats", 2),
        (PARAGRAPH, prose(6, about="boats")),
        (HEADING, "## Crew", 2),
        (PARAGRAPH, prose(6, about="the crew")),
        (PARAGRAPH, prose(6, about="its work")),
    )
    parts = texts_of(parsed)
    assert parts[0].startswith("# Guide\n\n## Boats")
    assert parts[1].startswith("## Crew\n\nSentence 0")
    for part in parts:
        assert not part.split("\n")[-1].startswith("#")


def test_headings_are_the_path_above_the_chunk_without_title_and_without_its_own() -> None:
    parsed = document(
        (HEADING, "# Island Ferry"),
        (HEADING, "## Boats {#boats}", 2),
        (PARAGRAPH, prose(15, about="boats")),
        (HEADING, "### Engine", 3),
        (PARAGRAPH, prose(6, about="engines")),
        (HEADING, "Crew\n====", 2),
        (PARAGRAPH, prose(15, about="the crew")),
        title="Island Ferry",
    )
    chunks = chunks_of(parsed)
    assert [chunk.headings for chunk in chunks] == [(), ("Boats",), ("Boats",), (), ("Crew",)]
    engine = chunks[2]
    assert engine.embedding_text.startswith("Island Ferry > Boats\n### Engine\n\nSentence 0")
    assert chunks[0].embedding_text.startswith("# Island Ferry\n\n## Boats")  # the title is not repeated


def test_tiny_sections_join_their_siblings_but_not_another_chapter() -> None:
    parts = [
        (HEADING, f"## Rule {n}", 2) if m == 0 else (PARAGRAPH, "No smoking on deck.")
        for n in range(6)
        for m in (0, 1)
    ]
    parsed = document((HEADING, "# One"), *parts, (HEADING, "# Two"), *parts)
    texts = texts_of(parsed)
    assert len(texts) < 8
    assert sum(text.startswith("# Two") for text in texts) == 1


def test_a_line_above_the_first_heading_goes_with_it() -> None:
    parsed = document((PARAGRAPH, ".. highlight:: c"), (HEADING, "# Guide"), (PARAGRAPH, prose(40)))
    assert texts_of(parsed)[0].startswith(".. highlight:: c\n\n# Guide\n\nSentence 0")


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (CODE, lambda n: "```python\n" + "\n".join(f"value_{n}_{i} = load({i})" for i in range(8)) + "\n```"),
        (ROW, lambda n: f"| row {n} | " + " | ".join(f"cell {n} {i}. Next" for i in range(10)) + " |"),
        (
            LIST,
            lambda n: (
                f"- item {n}. It has two sentences.\n  And a second line of some more words than usual."
            ),
        ),
        (CUE, lambda n: f"Speaker {n}: so we left at nine. And then? Nothing happened for an hour or so."),
    ],
    ids=["code", "row", "list item", "cue"],
)
def test_what_fits_a_chunk_is_never_divided(kind: BlockKind, make) -> None:  # type: ignore[no-untyped-def]  # parametrised lambdas
    blocks = [make(n) for n in range(40)]
    parsed = document((PARAGRAPH, prose(5)), *((kind, block) for block in blocks))
    chunks = chunks_of(parsed)
    assert len(chunks) > 5
    bounds = {bound for c in chunks for bound in (c.start, c.end)}
    for block in parsed.blocks[1:]:
        assert not any(block.start < bound < block.end for bound in bounds)


def test_code_that_is_too_long_is_divided_at_lines_and_rather_at_blank_ones() -> None:
    functions = [f"def step_{n}(x):\n    y = x + {n}\n    return y * {n}" for n in range(30)]
    texts = texts_of(document((CODE, "\n\n".join(functions))))
    assert len(texts) > 3
    assert all(text.startswith("def step_") for text in texts)


def test_a_list_that_is_too_long_is_divided_at_items() -> None:
    items = "\n".join(f"{n}. Item number {n} wants attention. It does." for n in range(1, 60))
    texts = texts_of(document((LIST, items)))
    assert len(texts) > 3
    assert all(text[0].isdigit() and text.endswith("It does.") for text in texts)


def test_a_chunk_never_spans_two_pages_and_carries_page_and_time() -> None:
    pages = document(
        (PARAGRAPH, "On page three.", 3), (PARAGRAPH, "Still there.", 3), (PARAGRAPH, "On four.", 4)
    )
    assert [(c.page, c.start) for c in chunks_of(pages)] == [(3, 0), (4, pages.blocks[2].start)]
    text = "Hello.\nWe sail."
    cues = ParsedDocument(text, (Block(CUE, 0, 6, time_s=1.5), Block(CUE, 7, 15, time_s=4.0)), "", "srt")
    assert [c.time_s for c in chunks_of(cues)] == [1.5]


def test_a_context_is_cut_to_a_quarter_and_the_text_never() -> None:
    parsed = document(
        (HEADING, "Heading " + "with many words " * 300),
        (PARAGRAPH, prose(40)),
        title="A title of words " * 300,
    )
    chunks = chunks_of(parsed)
    inside = [c for c in chunks if c.headings]
    assert inside
    for chunk in inside:
        context, text = chunk.embedding_text.split("\n", 1)
        assert text == parsed.text[chunk.start : chunk.end]
        assert 0 < WORD_PIECES.count_tokens([context])[0] - 2 <= 126 // 4
        assert len(chunk.headings[0]) <= 120


def test_the_embedding_text_is_the_context_line_above_the_text() -> None:
    assert embedding_text("Ferry", ("Boats", "Engine"), "It runs.") == "Ferry > Boats > Engine\nIt runs."
    assert embedding_text("", (), "It runs.") == "It runs."
    assert embedding_text("Ferry", (), "# Ferry\nIt runs.") == "# Ferry\nIt runs."
    assert len(embedding_text("t" * 5000, ("h" * 5000,), "x")) < 300


def test_too_small_chunks_are_refused_with_the_least_size() -> None:
    with pytest.raises(InputError, match=f"at least {MIN_BUDGET + 2}"):
        chunk_document(document((PARAGRAPH, "Hello.")), tokens=WORD_PIECES, max_tokens=10)
    parsed = document((HEADING, "Hello " * 50), (PARAGRAPH, prose(5)), title="Title")
    assert chunks_of(parsed, MIN_BUDGET + 2, 0)


def test_the_same_document_gives_the_same_chunks() -> None:
    parsed = document((HEADING, "One"), (PARAGRAPH, prose(50)), (CODE, "x = 1\n" * 200))
    assert chunks_of(parsed) == chunks_of(parsed)


# Stability: what an edit changes.


def _manual(sections: int, sentences: int, seed: int) -> list[list[str]]:
    """A manual of sections with paragraphs of random sentences, as lists of sentences."""
    chance = random.Random(seed)
    words = ["ferry", "deck", "crew", "rope", "tide", "harbour", "engine", "light", "signal", "bell", "cargo"]
    return [
        [
            " ".join(chance.choices(words, k=chance.randint(5, 14))).capitalize() + "."
            for _ in range(chance.randint(1, sentences))
        ]
        for _ in range(sections)
    ]


def _changed(before: ParsedDocument, edited: Iterable[ParsedDocument]) -> list[int]:
    """New embedding texts in chunks of 256 tokens of each edited document, in ascending order."""
    old = {chunk.embedding_text for chunk in chunks_of(before, 256, MIN_TOKENS)}
    return sorted(
        len({c.embedding_text for c in chunks_of(after, 256, MIN_TOKENS)} - old) for after in edited
    )


@pytest.mark.parametrize("sentences", [1, 4, 12, 40])
def test_a_new_sentence_in_a_manual_changes_at_most_three_chunks(sentences: int) -> None:
    manual = _manual(100, sentences, seed=sentences)

    def parsed(at: int | None = None) -> ParsedDocument:
        parts: list[tuple[BlockKind, str, int] | tuple[BlockKind, str]] = [(HEADING, "# Manual")]
        for section, lines in enumerate(manual):
            middle = len(lines) // 2
            new = ["This sentence is new and was not here before at all."] if section == at else []
            parts.append((HEADING, f"## Section {section}", 2))
            parts.append((PARAGRAPH, " ".join([*lines[:middle], *new, *lines[middle:]])))
        return document(*parts, title="Manual")

    changed = _changed(parsed(), (parsed(at) for at in range(5, 95, 12)))
    assert changed[-1] <= 3, changed


@pytest.mark.parametrize(
    ("kind", "joined"),
    [(ROW, False), (PARAGRAPH, False), (CODE, True), (PARAGRAPH, True)],
    ids=["rows", "paragraphs", "lines of code", "sentences"],
)
def test_a_new_line_in_a_text_without_headings_changes_only_chunks_nearby(
    kind: BlockKind, *, joined: bool
) -> None:
    lines = [" ".join(s) for s in _manual(300, 3, seed=7)]

    def parsed(at: int | None = None) -> ParsedDocument:
        rows = lines if at is None else [*lines[:at], "A new line about something else.", *lines[at:]]
        return document((kind, "\n".join(rows))) if joined else document(*((kind, row) for row in rows))

    # 300 lines are about 40 chunks; cutting by position would change all behind the edit, 20 on average
    changed = _changed(parsed(), (parsed(at) for at in range(10, 290, 35)))
    assert changed[len(changed) // 2] <= 4, changed
    assert changed[-1] <= 10, changed


# Cost.


def test_chunking_takes_less_than_a_microsecond_a_character_beyond_tokenisation() -> None:
    manual = _manual(1500, 12, seed=3)
    parts = [
        part
        for n, s in enumerate(manual)
        for part in ((HEADING, f"## Section {n}", 2), (PARAGRAPH, " ".join(s)))
    ]
    parsed = document(*parts)

    class Timed:
        seconds = 0.0

        def count_tokens(self, texts):  # type: ignore[no-untyped-def]  # passes through
            start = time.process_time()
            try:
                return WORD_PIECES.count_tokens(texts)
            finally:
                self.seconds += time.process_time() - start

        def token_spans(self, text):  # type: ignore[no-untyped-def]  # passes through
            start = time.process_time()
            try:
                return WORD_PIECES.token_spans(text)
            finally:
                self.seconds += time.process_time() - start

    def own_seconds() -> float:
        tokens = Timed()
        start = time.process_time()
        chunk_document(parsed, tokens=tokens, max_tokens=256)
        return time.process_time() - start - tokens.seconds

    assert min(own_seconds() for _ in range(3)) < len(parsed.text) * 1e-6


@pytest.mark.parametrize("kind", [PARAGRAPH, CODE, LIST, ROW], ids=str)
@pytest.mark.parametrize("unit", ["a", "a ", "a. ", "a\n", "- a\n", "，", ".", "(", "\n\na", "1. ", "!?"])
def test_time_grows_with_length_not_with_its_square(kind: BlockKind, unit: str) -> None:
    parsed = document((kind, unit * 20_000))
    start = time.process_time()
    chunk_document(parsed, tokens=WORD_PIECES, max_tokens=256)
    # the slowest unit takes 0.3 s on an idle machine; a quadratic step would take a minute
    assert time.process_time() - start < 6


@pytest.mark.data
def test_real_manuals_are_cut_without_loss(shared_data: Path) -> None:
    from ragstone.documents.pool import ReaderPool

    files = sorted((shared_data / "folders").rglob("*.[mr][ds]*"))[::80]
    with ReaderPool() as pool:
        for _, parsed in pool.read_many(files):
            assert isinstance(parsed, ParsedDocument)
            chunks = chunks_of(parsed, 256)
            assert all(a.end <= b.start for a, b in pairwise(chunks))
