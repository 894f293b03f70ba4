"""The tokenizer of multilingual-e5-small (that of XLM-RoBERTa), from the pieces in the file of packed weights."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Magic; version, dim, layers, heads, width, words, positions, types, epsilon, block; pieces, four of their ids.
HEADER = struct.Struct("<4s I7ifi 5i")
BEGIN, PAD, END, UNKNOWN = 0, 1, 2, 3  # the first pieces


def read_pieces(file: bytes) -> tuple[list[tuple[str, float]], int]:
    """Each piece with its log probability, by id; and where in the file what follows them begins."""
    count = HEADER.unpack_from(file)[11]
    ends_at = HEADER.size + 8
    scores_at = ends_at + 4 * (count + 1)
    text_at = scores_at + 4 * count
    (text_bytes,) = struct.unpack_from("<Q", file, HEADER.size)
    ends = np.frombuffer(file, "<u4", count + 1, ends_at).tolist()
    scores = np.frombuffer(file, "<f4", count, scores_at).tolist()
    text = file[text_at : text_at + text_bytes]
    pieces = [
        (text[first:end].decode(), score)
        for first, end, score in zip(ends[:-1], ends[1:], scores, strict=True)
    ]
    return pieces, text_at + text_bytes


def unigram(pieces: list[tuple[str, float]]) -> Tokenizer:
    """SentencePiece's unigram model between `<s>` and `</s>`; takes a second to build.

    Its normalization is NMT's and NFKC: what the file's own table says for every character but two (U+FF5E, which it
    keeps, and U+1F23B, which it does not know).
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNKNOWN, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    return tokenizer
