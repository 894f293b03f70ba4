"""The embedding model behind HTTP: texts in, vectors and scores out, in threads of its own.

The service and the model server share it. It knows no collections and no questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ragstone import wire
from ragstone.errors import NotFoundError
from ragstone.server.openai_requests import EmbeddingsRequest, RerankRequest, refusal
from ragstone.server.openai_wire import embeddings_body, rerank_json
from ragstone.server.workers import Workers
from ragstone.types import Embedder, Matrix

THREADS = 2  # one call computes while another is read or written; the embedder itself spreads over the cores
WAITING = 32  # requests of 64 passages take about .1 s on two cores: the last one waits some seconds


class Models:
    """One embedding model for many clients; `name` is what they call it, beside its own id."""

    def __init__(self, load: Callable[[], Embedder], *, name: str) -> None:
        """`load` gives the model, at once after its first call; who owns it closes it, after `close`."""
        self._load = load
        self.name = name
        self._workers = Workers("embeddings", threads=THREADS, waiting=WAITING)

    def close(self) -> None:
        """Take no more work."""
        self._workers.close()

    async def entry(self) -> wire.Json:
        """The model as `/v1/models` lists it. Raises `BusyError` when too many wait, as the others do."""
        return await self._workers.run(self._entry)

    async def embed(self, request: EmbeddingsRequest) -> bytes:
        """The body that answers `/v1/embeddings`. Raises `NotFoundError` for another model, `ModelError`."""
        return await self._workers.run(partial(self._embed, request))

    async def rerank(self, request: RerankRequest) -> wire.Json:
        """The answer of `/v1/rerank`: a document's score is its cosine with the query, 0 where it is below."""
        return await self._workers.run(partial(self._rerank, request))

    def _entry(self) -> wire.Json:
        embedder = self._load()
        return {
            **model_json(self.name),
            "root": embedder.model_id,
            "max_model_len": embedder.max_tokens,
            "dimensions": embedder.dim,
        }

    def _embed(self, request: EmbeddingsRequest) -> bytes:
        embedder = self._known(request.model)
        if request.dimensions not in (None, embedder.dim):
            raise refusal("dimensions", f"vectors of {self.name} have {embedder.dim} numbers")
        texts = request.input
        if request.input_type == "query":
            vectors: Matrix = np.stack([embedder.embed_query(text) for text in texts])
        else:
            vectors = embedder.embed_documents(texts)
        return embeddings_body(
            vectors,
            model=self.name,
            tokens=_tokens(embedder, texts),
            encoding=request.encoding_format,
            about={"max_tokens": embedder.max_tokens, "input_types": ["document", "query"]},
        )

    def _rerank(self, request: RerankRequest) -> wire.Json:
        embedder = self._known(request.model)
        texts = request.texts()
        cosines = embedder.embed_documents(texts) @ embedder.embed_query(request.query)
        best = np.argsort(-cosines, kind="stable")[: request.top_n]
        return rerank_json(
            [(int(position), float(np.clip(cosines[position], 0.0, 1.0))) for position in best],
            model=self.name,
            tokens=_tokens(embedder, [request.query, *texts]),
            texts=texts if request.return_documents else None,
        )

    def _known(self, model: str | None) -> Embedder:
        embedder = self._load()
        if model not in (None, self.name, embedder.model_id):
            raise NotFoundError(
                f"The embedding model here is {self.name!r}, not {model!r}.",
                hint="GET /v1/models lists what there is.",
                code="model_not_found",
            )
        return embedder


def model_json(name: str) -> wire.Json:
    """What every entry of `/v1/models` says; nobody knows when a model was made, and clients want a number."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "ragstone"}


def _tokens(embedder: Embedder, texts: Sequence[str]) -> int:
    """Tokens that the model read: of longer texts only as many as it takes."""
    return sum(min(count, embedder.max_tokens) for count in embedder.count_tokens(texts))
