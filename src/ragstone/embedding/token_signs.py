"""What late interaction keeps of a text: the signs of its token vectors, for tokens that say something.

A token vector of 384 numbers becomes 192 bits: which of its first 192 numbers are above zero. Two directions agree in
as many signs as their angle is small, so the share of equal signs stands for the cosine. On the development sets the
first 192 signs rank as well as the whole vectors (LAB, "Late interaction"); the model has no order among its
dimensions, so the first are as good as any.

Of a text each wordpiece is kept once, where it comes first, and none of stop words or punctuation: of all tokens two in
five.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ragstone.embedding.batches import TokenVectors
from ragstone.embedding.tokens import TokenIds
from ragstone.types import TokenSigns

SIGN_DIMS = 192  # a multiple of 64
# What English texts are held together with. A query's words are weighed by how rare they are, so this only saves room.
_STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "above",
        "after",
        "again",
        "against",
        "all",
        "also",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "don",
        "down",
        "during",
        "each",
        "few",
        "for",
        "from",
        "further",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "me",
        "more",
        "most",
        "my",
        "no",
        "nor",
        "not",
        "now",
        "of",
        "off",
        "on",
        "once",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "own",
        "s",
        "same",
        "she",
        "should",
        "so",
        "some",
        "such",
        "t",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "until",
        "up",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


def signs_of(vectors: npt.NDArray[np.float32]) -> TokenSigns:
    """(n, 3) uint64: the signs of the first `SIGN_DIMS` numbers of n token vectors, each (≥ `SIGN_DIMS`,)."""
    bits = np.packbits(vectors[:, :SIGN_DIMS] > 0, axis=1)
    return bits.view("<u8").astype(np.uint64, copy=False)


class TokenChoice:
    """Which tokens of a document are kept, for one vocabulary. Immutable."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        """`vocabulary`: wordpiece → id, as the tokenizer has it."""
        skipped = [
            number
            for piece, number in vocabulary.items()
            if piece in _STOP_WORDS or piece.startswith("[") or not any(map(str.isalnum, piece))
        ]
        self._kept = np.ones(max(vocabulary.values(), default=0) + 1, dtype=bool)
        self._kept[skipped] = False

    def positions(self, ids: TokenIds) -> npt.NDArray[np.int64]:
        """Of (n,) token ids the positions worth keeping, ascending; all, if none is."""
        _, first = np.unique(ids, return_index=True)
        first = first[self._kept[ids[first]]]
        return np.sort(first) if len(first) else np.arange(len(ids))


def to_bytes(vectors: TokenVectors, ids: TokenIds, choice: TokenChoice) -> bytes:
    """The signs of one document as they are stored: (kept, 3) little-endian uint64."""
    return signs_of(vectors[choice.positions(ids)]).astype("<u8").tobytes()
