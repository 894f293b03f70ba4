"""A sentence encoder on this machine: an ONNX graph, its tokenizer, and the threads that run them.

One session serves all threads: ONNX Runtime allows concurrent calls, each computed on the thread that makes it
(`intra_op_num_threads=1`). So indexing runs on worker threads and a query on its caller's thread, at once,
and no query waits for a batch of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragstone.embedding.batches import Pooling, pad, plan_batches, pool, unit_rows
from ragstone.embedding.cores import give_way, usable_cores
from ragstone.embedding.query_cache import QueryCache
from ragstone.embedding.tokens import TextTokenizer, TokenIds
from ragstone.errors import ModelError
from ragstone.types import Matrix, Vector

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

MAX_TEXTS = 8
MAX_PADDED_TOKENS = 512


@dataclass(frozen=True, slots=True)
class EncoderForm:
    """How a model wants to be used. `max_tokens` includes special tokens and prefix."""

    model_id: str
    max_tokens: int
    pooling: Pooling = "mean"
    pad_id: int = 0
    query_prefix: str = ""
    document_prefix: str = ""


class SentenceEncoder:
    """An `Embedder` over an ONNX graph that gives (batch, tokens, dim) token vectors or (batch, dim) vectors."""

    def __init__(
        self,
        session: InferenceSession,
        tokenizer: Tokenizer,
        form: EncoderForm,
        *,
        threads: int | None = None,
        background: bool = False,
    ) -> None:
        """`threads` run documents (None: one per physical core); `background` lowers their priority."""
        self._form = form
        self._session: InferenceSession | None = session
        self._input_names = [graph_input.name for graph_input in session.get_inputs()]
        self._tokens = TextTokenizer(tokenizer, max_tokens=form.max_tokens, prefix=form.document_prefix)
        self._queries = QueryCache()
        self._workers = ThreadPoolExecutor(
            threads or usable_cores(), "embed", initializer=give_way if background else None
        )
        self._dim: int = self._encode([self._tokens.query_ids("a")]).shape[1]

    @property
    def model_id(self) -> str:
        return self._form.model_id

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def max_tokens(self) -> int:
        return self._form.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document, special tokens and prefix included, nothing cut off."""
        return self._tokens.count(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token of `text`, ascending, special tokens left out, never cut off."""
        return self._tokens.spans(text)

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit rows in the order of `texts`; equal texts are computed once.

        All texts are tokenized before the first batch runs: pass windows of some thousand texts.
        Raises `ModelError` after `close`.
        """
        self._open_session()
        distinct = list(dict.fromkeys(texts))
        ids = self._tokens.document_ids(distinct)
        batches = plan_batches(
            [len(text) for text in ids], max_texts=MAX_TEXTS, max_padded_tokens=MAX_PADDED_TOKENS
        )
        vectors = np.empty((len(distinct), self._dim), dtype=np.float32)

        def run(batch: list[int]) -> None:
            vectors[batch] = self._encode([ids[position] for position in batch])

        for _ in self._workers.map(run, batches):
            pass
        if len(distinct) == len(texts):
            return vectors
        row_of = {text: row for row, text in enumerate(distinct)}
        return vectors[[row_of[text] for text in texts]]

    def embed_query(self, text: str) -> Vector:
        """(dim,) float32 unit vector, read-only; the same text always gives the same bits.

        Runs alone in its batch, because the scales of int8 arithmetic depend on the whole batch.
        """
        self._open_session()
        cached = self._queries.get(text)
        if cached is not None:
            return cached
        vector = self._encode([self._tokens.query_ids(self._form.query_prefix + text)])[0]
        return self._queries.put(text, vector)

    def close(self) -> None:
        """Release threads and session; calls in progress end first, further ones raise `ModelError`."""
        self._workers.shutdown(wait=True)
        self._session = None

    def _open_session(self) -> InferenceSession:
        session = self._session
        if session is None:
            raise ModelError(f"the embedding model {self.model_id} is closed", hint="open a new one")
        return session

    def _encode(self, texts: Sequence[TokenIds]) -> Matrix:
        """(batch, dim) float32 unit rows."""
        ids, mask = pad(texts, self._form.pad_id)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (output,) = self._open_session().run(None, {name: feeds[name] for name in self._input_names})
        return unit_rows(pool(output, mask, self._form.pooling) if output.ndim == 3 else output)
