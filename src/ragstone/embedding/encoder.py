"""A sentence encoder on this machine: an ONNX graph, its tokenizer, and the threads that run them.

One session serves all threads: ONNX Runtime allows concurrent calls and computes each on the thread that makes it.
So documents run on worker threads and a query on its caller's own, at once: no query waits for a batch of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ragstone.embedding.batches import Pooling, feed, pad, plan_batches, pool, unit_rows
from ragstone.embedding.cores import usable_cores
from ragstone.embedding.query_cache import QueryCache
from ragstone.embedding.token_signs import TokenChoice, signs_of, to_bytes
from ragstone.embedding.tokens import TextTokenizer, TokenIds
from ragstone.embedding.workers import Workers
from ragstone.errors import ModelError
from ragstone.types import Matrix, QueryTokens, Vector

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

# Texts tokenized as one task: 64 passages are about 5 ms of work against 20 µs to hand it over.
_TOKENIZE_TEXTS = 64
# Calls with this many texts or fewer run on the caller's thread: handing over saves nothing, and a small call must
# not wait behind a window of an indexing run.
_SMALL_CALL_TEXTS = 4


@dataclass(frozen=True, slots=True)
class EncoderForm:
    """How a model wants to be used.

    `max_tokens` includes special tokens and prefix. `output` is the graph's; `pooling` applies where it gives
    token vectors. `batch_texts` and `batch_tokens` limit a batch (padding counted). The default of one text: on a
    CPU batches gain a few per cent at best, and where a graph quantizes a batch by one scale, a text alone is the
    one form whose vector does not depend on its neighbours.
    """

    model_id: str
    max_tokens: int
    output: str = "sentence_embedding"
    pooling: Pooling = "mean"
    pad_id: int = 0
    query_prefix: str = ""
    document_prefix: str = ""
    batch_texts: int = 1
    batch_tokens: int = 16_384  # 64 texts of 256 tokens: enough to fill a GPU, 0.1 GB of activations


# The name of a graph's output of token vectors, (batch, tokens, dim), beside the pooled one.
PER_TOKEN_OUTPUT = "token_vectors"  # noqa: S105  - no password


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A batch: (batch, dim) unit rows, and for each text its token vectors, none where they were not asked for."""

    vectors: Matrix
    tokens: Sequence[Matrix] = ()


@dataclass(frozen=True, slots=True)
class _Query:
    """An embedded query; `tokens` where the graph gives token vectors."""

    vector: Vector
    tokens: QueryTokens | None


class SentenceEncoder:
    """An `Embedder` over a graph that gives token vectors (batch, tokens, dim) or pooled vectors (batch, dim)."""

    def __init__(
        self,
        session: InferenceSession,
        tokenizer: Tokenizer,
        form: EncoderForm,
        *,
        threads: int | None = None,
        background: bool = False,
    ) -> None:
        """`threads` run documents (None: one per physical core); `background` lowers their priority.

        Raises `ModelError` when the graph does not take token ids or does not give one vector per text.
        """
        self._form = form
        self._session: InferenceSession | None = session
        self._inputs = {graph_input.name: graph_input.type for graph_input in session.get_inputs()}
        self._gives_tokens = PER_TOKEN_OUTPUT in {output.name for output in session.get_outputs()}
        self._tokens = TextTokenizer(tokenizer, max_tokens=form.max_tokens)
        self.query_cache: QueryCache[_Query] = QueryCache()
        self._workers = Workers(threads=threads or usable_cores(), background=background)
        self._dim: int = self._encode(session, self._tokens.ids(["a"])).vectors.shape[1]

    @property
    def model_id(self) -> str:
        """Name, form and hash of the model."""
        return self._form.model_id

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens and document prefix included; the rest is cut off."""
        return self._form.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document, special tokens and prefix included, nothing cut off."""
        return self._tokens.counts(self._prefixed(texts))

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token of `text`, ascending, special tokens left out, never cut off."""
        return self._tokens.spans(text)

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit rows in the order of `texts`; equal texts are computed once.

        All texts are tokenized before the first is embedded: pass windows of some thousand. Raises `ModelError`
        after `close`.
        """
        vectors, _ = self._embed(texts, None)
        return vectors

    def embed_query(self, text: str) -> Vector:
        """(dim,) float32 unit vector, read-only; the same text always gives the same bits.

        A text among the last 1,024 asked comes from memory. Raises `ModelError` after `close`.
        """
        return self._query(text).vector

    @property
    def gives_tokens(self) -> bool:
        """Whether the graph gives token vectors beside the pooled one."""
        return self._gives_tokens

    def embed_documents_and_tokens(self, texts: Sequence[str]) -> tuple[Matrix, list[bytes]]:
        """`embed_documents`, and for each text the signs of its token vectors: (tokens kept, 3) little-endian uint64;
        empty where the graph gives none."""
        if not self.gives_tokens:
            return self.embed_documents(texts), [b""] * len(texts)
        return self._embed(texts, self._choice)

    def query_tokens(self, text: str) -> QueryTokens:
        """The tokens of a query, computed with its vector; none where the graph gives none."""
        return self._query(text).tokens or QueryTokens(np.empty((0, 3), np.uint64), ())

    @cached_property
    def _choice(self) -> TokenChoice:
        return TokenChoice(self._tokens.vocabulary)

    def close(self) -> None:
        """Release threads and session; calls in progress end first, further ones raise `ModelError`."""
        self._session = None
        self._workers.close()

    def _open_session(self) -> InferenceSession:
        session = self._session
        if session is None:
            raise ModelError(f"the embedding model {self.model_id} is closed", hint="open it again")
        return session

    def _prefixed(self, texts: Sequence[str]) -> Sequence[str]:
        prefix = self._form.document_prefix
        return [prefix + text for text in texts] if prefix else texts

    def _query(self, text: str) -> _Query:
        session = self._open_session()
        return self.query_cache.get_or_make(text, lambda: self._new_query(session, text))

    def _new_query(self, session: InferenceSession, text: str) -> _Query:
        (ids,) = self._tokens.ids([self._form.query_prefix + text])
        encoded = self._encode(session, [ids], tokens=self.gives_tokens)
        vector, tokens = encoded.vectors[0], None
        vector.flags.writeable = False
        if encoded.tokens:
            spans = self._tokens.spans(text)[: len(ids) - self._tokens.special]
            first = self._tokens.special_before
            tokens = QueryTokens(signs_of(encoded.tokens[0][first : first + len(spans)]), spans)
        return _Query(vector, tokens)

    def _embed(self, texts: Sequence[str], choice: TokenChoice | None) -> tuple[Matrix, list[bytes]]:
        """Vectors in the order of `texts`, and the signs of the chosen tokens where a choice is given."""
        session = self._open_session()
        distinct = list(dict.fromkeys(texts))
        signs = [b""] * (0 if choice is None else len(distinct))
        vectors = np.empty((len(distinct), self._dim), dtype=np.float32)

        def embed(batch: Sequence[int], ids: Sequence[TokenIds]) -> None:
            encoded = self._encode(session, ids, tokens=choice is not None)
            vectors[batch] = encoded.vectors
            if choice is not None:
                for position, text, of_tokens in zip(batch, ids, encoded.tokens, strict=True):
                    signs[position] = to_bytes(of_tokens, text, choice)

        if len(distinct) <= _SMALL_CALL_TEXTS:
            for row, text in enumerate(self._tokens.ids(self._prefixed(distinct))):
                embed([row], [text])
        else:
            self._spread(distinct, embed)
        if len(distinct) == len(texts):
            return vectors, signs
        row_of = {text: row for row, text in enumerate(distinct)}
        order = [row_of[text] for text in texts]
        return vectors[order], [signs[row] for row in order] if signs else []

    def _spread(
        self, texts: Sequence[str], embed: Callable[[Sequence[int], Sequence[TokenIds]], None]
    ) -> None:
        """Tokenize, then embed, both on the worker threads."""
        prefixed = self._prefixed(texts)
        slices: dict[int, list[TokenIds]] = {}

        def tokenize(start: int) -> None:
            slices[start] = self._tokens.ids(prefixed[start : start + _TOKENIZE_TEXTS])

        self._workers.run(tokenize, range(0, len(texts), _TOKENIZE_TEXTS))
        ids = [text for start in sorted(slices) for text in slices[start]]
        batches = plan_batches(
            [len(text) for text in ids],
            max_texts=self._form.batch_texts,
            max_padded_tokens=self._form.batch_tokens,
        )
        self._workers.run(lambda batch: embed(batch, [ids[position] for position in batch]), batches)

    def _encode(
        self, session: InferenceSession, texts: Sequence[TokenIds], *, tokens: bool = False
    ) -> _Encoded:
        ids, mask = pad(texts, self._form.pad_id)
        feeds = feed(self._inputs, ids, mask)
        try:
            output, *more = session.run([self._form.output, *([PER_TOKEN_OUTPUT] if tokens else [])], feeds)
        except Exception as error:  # ONNX Runtime's errors share no base of their own
            raise ModelError(
                f"the embedding model {self.model_id} failed on {ids.shape[0]} texts of {ids.shape[1]} tokens: {error}",
                hint="is the folder's maximum length what the graph can take?",
            ) from error
        vectors = pool(output, mask, self._form.pooling) if output.ndim == 3 else output
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ModelError(
                f"the embedding model {self.model_id} gave an array of shape {output.shape} for {len(texts)} texts",
                hint="export it as a sentence encoder: (batch, dim), or (batch, tokens, dim) with pooling",
            )
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"the embedding model {self.model_id} gave a vector that is not a number",
                hint="its weights are damaged: get them again",
            )
        by_text = [rows[: len(ids)] for rows, ids in zip(more[0], texts, strict=True)] if more else ()
        return _Encoded(unit_rows(vectors), by_text)
