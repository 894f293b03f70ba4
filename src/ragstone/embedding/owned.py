"""A model that only one thread may enter at a time, for many threads.

The built-in encoders need none of this: ONNX Runtime computes concurrent calls of one session apart from each other. A
model of your own may not (a SentenceTransformer is not safe to encode with from several threads at once).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ragstone.embedding.query_cache import QueryCache
from ragstone.types import Embedder, Matrix, Vector


class OwnedEmbedder:
    """An `Embedder` around another: every call into it is alone there, and a query is embedded once however many
    threads ask for it. A query waits for the call that is at work; nobody else may use the inner one."""

    def __init__(self, embedder: Embedder) -> None:
        """`embedder` is closed by `close`."""
        self._embedder = embedder
        self.query_cache: QueryCache[Vector] = QueryCache()
        self._owner = threading.Lock()

    @property
    def model_id(self) -> str:
        """The inner one's."""
        return self._embedder.model_id

    @property
    def dim(self) -> int:
        """The inner one's."""
        return self._embedder.dim

    @property
    def max_tokens(self) -> int:
        """The inner one's."""
        return self._embedder.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The inner one's."""
        with self._owner:
            return self._embedder.count_tokens(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """The inner one's."""
        with self._owner:
            return self._embedder.token_spans(text)

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit rows in the order of `texts`."""
        with self._owner:
            return self._embedder.embed_documents(texts)

    def embed_query(self, text: str) -> Vector:
        """(dim,) float32 unit vector, read-only; among the last 1,024 asked, from memory."""
        return self.query_cache.get_or_make(text, lambda: self._new_query(text))

    def close(self) -> None:
        """Close the inner one, after the call at work."""
        with self._owner:
            self._embedder.close()

    def _new_query(self, text: str) -> Vector:
        with self._owner:
            vector = self._embedder.embed_query(text)
        vector.flags.writeable = False
        return vector
