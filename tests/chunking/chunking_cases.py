"""Tokenizers, small documents by kind, and the checks that hold for all chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

import ragstone.embedding
from ragstone.chunking.chunker import TokenCounter
from ragstone.types import Block, BlockKind, Chunk, ParsedDocument


class WordPieces:
    """Counts as the default model's tokenizer does: WordPiece, two special tokens."""

    def __init__(self) -> None:
        vocabulary = Path(ragstone.embedding.__file__).parent / "minilm" / "vocab.txt"
        self._tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)


class Bytes:
    """Counts as a byte-level tokenizer without merges does: a token per UTF-8 byte, white space too, and a
    prefix of six; neither additive at spaces nor one token a character."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [6 + len(text.encode()) for text in texts]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [(at, at + 1) for at, character in enumerate(text) for _ in character.encode()]


class Greedy:
    """A tokenizer for which the parts cost less than the whole: each run of words costs its length squared."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [2 + len(text.split()) + len(text.split()) ** 2 // 100 for text in texts]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        spans, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        return spans


WORD_PIECES = WordPieces()


def document(*parts: tuple[BlockKind, str] | tuple[BlockKind, str, int], title: str = "") -> ParsedDocument:
    """A document of `(kind, text)` or `(kind, text, level-or-page)` parts, a blank line between two.

    The number is a heading's level, the page of anything else.
    """
    text, blocks = "", []
    for kind, words, *number in parts:
        text += "\n\n" if text else ""
        level = number[0] if number and kind is BlockKind.HEADING else 1 if kind is BlockKind.HEADING else 0
        page = number[0] if number and kind is not BlockKind.HEADING else None
        blocks.append(Block(kind, len(text), len(text) + len(words), level=level, page=page))
        text += words
    return ParsedDocument(text, tuple(blocks), title, "text")


def prose(sentences: int, *, about: str = "the harbour") -> str:
    """Distinct sentences of about ten tokens each."""
    return " ".join(f"Sentence {n} says a little more about {about} today." for n in range(sentences))


def check_chunks(
    parsed: ParsedDocument, chunks: Sequence[Chunk], tokens: TokenCounter, max_tokens: int
) -> None:
    """What holds for the chunks of any document."""
    position = 0
    for chunk in chunks:
        assert position <= chunk.start < chunk.end <= len(parsed.text)
        assert not parsed.text[position : chunk.start].strip()
        stretch = parsed.text[chunk.start : chunk.end]
        assert stretch == stretch.strip()
        assert chunk.embedding_text.endswith(stretch)
        assert tokens.count_tokens([chunk.embedding_text]) == [chunk.tokens]
        assert chunk.tokens <= max_tokens
        pages = {b.page for b in parsed.blocks if b.start < chunk.end and b.end > chunk.start}
        assert pages <= {chunk.page}
        position = chunk.end
    assert not parsed.text[position:].strip()
