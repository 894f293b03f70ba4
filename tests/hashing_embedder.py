"""A small real embedder: words hashed to fixed directions, so that texts that share words are near each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from ragstone.types import Matrix, Vector

_WORD = re.compile(r"\w+")


@cache
def _direction(word: str, dim: int) -> Vector:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


class HashingEmbedder:
    """Unit vectors from word counts. Thread-safe; equal on every machine; counts what it was asked to embed."""

    def __init__(self, *, dim: int = 32, name: str = "hashing") -> None:
        self._dim = dim
        self._name = name
        self.embedded: list[str] = []

    @property
    def model_id(self) -> str:
        """The name given and the dimensions."""
        return f"{self._name}-{self._dim}"

    @property
    def dim(self) -> int:
        """As given."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """Small, so that short files have several chunks."""
        return 64

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words, and two as a real model adds."""
        return [len(_WORD.findall(text)) + 2 for text in texts]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where the words are."""
        return [match.span() for match in _WORD.finditer(text)]

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit rows."""
        self.embedded += texts
        return np.array([self.embed_query(text) for text in texts], np.float32).reshape(-1, self._dim)

    def embed_query(self, text: str) -> Vector:
        """(dim,) float32 unit vector."""
        total = np.zeros(self._dim, np.float32)
        for word in _WORD.findall(text.lower()) or [""]:
            total += _direction(word, self._dim)
        unit: Vector = (total / np.linalg.norm(total)).astype(np.float32)
        return unit

    def close(self) -> None:
        """Holds nothing."""
