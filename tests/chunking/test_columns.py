"""Chunks held as numbers: the same as a list of them, and nothing for a collection of garbage to walk."""

from __future__ import annotations

import gc

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.chunking.chunker import chunk_document
from ragstone.chunking.columns import Chunks
from ragstone.chunking.context import Context
from ragstone.types import Chunk, ParsedDocument

TEXT = "First part. Second part. Third."
TITLED, BELOW = ("Guide",), ("Guide", "Start")
CONTEXTS = {TITLED: Context("Manual", TITLED, 4), BELOW: Context("Manual", ("Start",), 4)}
AS_LIST = [
    Chunk(0, 11, TITLED, None, None, 9, "Manual > Guide\nFirst part."),
    Chunk(12, 24, BELOW, 3, 0.0, 8, "Manual > Start\nSecond part."),
    Chunk(25, 31, TITLED, 1_000_000, 7.25, 7, "Manual > Guide\nThird."),
]


def _columns() -> Chunks:
    chunks = Chunks(TEXT, CONTEXTS)
    for chunk in AS_LIST:
        chunks.append(
            chunk.start,
            chunk.end,
            headings=chunk.headings,
            page=chunk.page,
            time_s=chunk.time_s,
            tokens=chunk.tokens,
        )
    return chunks


def test_columns_are_read_like_a_list() -> None:
    chunks = _columns()
    assert len(chunks) == 3
    assert list(chunks) == AS_LIST
    assert [chunks[at] for at in (0, 2, -1, -3)] == [AS_LIST[at] for at in (0, 2, -1, -3)]
    for part in (slice(None), slice(1, None), slice(-2, None), slice(None, None, -1), slice(5, 9)):
        assert chunks[part] == AS_LIST[part]
    assert AS_LIST[1] in chunks
    for beyond in (3, -4):
        with pytest.raises(IndexError):
            chunks[beyond]


def test_a_long_document_leaves_no_object_for_each_of_its_chunks() -> None:
    text = "A sentence of some words that follow each other. " * 20_000
    document = ParsedDocument(text, (), "Long", "text")
    gc.collect()
    before = len(gc.get_objects())
    chunks = chunk_document(document, tokens=HashingEmbedder(), max_tokens=64)
    gc.collect()
    assert len(chunks) > 2_000
    assert len(gc.get_objects()) - before < 100
