"""Small real models: they count, wait at a gate, refuse a text, or take a scripted time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from hashing_embedder import HashingEmbedder
from ragstone.types import Matrix


class ScriptedModel(HashingEmbedder):
    """A `HashingEmbedder` that does what a test tells it to, and notes every batch.

    `gate` is waited for before each batch; `takes` is called with the number of texts; texts that contain `bad` make
    the whole batch fail. `overlapped` is set when two calls were inside at once.
    """

    def __init__(self, *, takes: Callable[[int], None] = lambda texts: None, name: str = "scripted") -> None:
        super().__init__(dim=8, name=name)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.takes = takes
        self.batches: list[list[str]] = []
        self.overlapped = False
        self.error: BaseException | None = None
        self._inside = threading.Lock()

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """(n, 8) float32 unit rows."""
        if not self._inside.acquire(blocking=False):
            self.overlapped = True
            raise AssertionError("two calls at once")
        try:
            self.batches.append(list(texts))
            self.entered.set()
            assert self.gate.wait(60)
            self.takes(len(texts))
            if self.error is not None:
                raise self.error
            if any("bad" in text for text in texts):
                raise ValueError("a bad text")
            return super().embed_documents(texts)
        finally:
            self._inside.release()


class SentenceModel:
    """The shape of `sentence_transformers.SentenceTransformer`: `encode` alone, and lists of floats are fine."""

    def encode(self, sentences: list[str]) -> list[list[float]]:
        """A row for each text."""
        return [[float(len(text)), 1.0] for text in sentences]


class SlottedModel:
    """Rows that are not what was asked for, or not numbers."""

    def __init__(self, rows: object) -> None:
        self.rows = rows

    def encode(self, sentences: list[str]) -> object:
        """The rows given."""
        return np.asarray(self.rows)
