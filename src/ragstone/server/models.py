"""The embedding model behind HTTP, and the reranker where there is one: texts in, vectors and scores out.

In threads of their own. The service and the model server share it. It knows no collections and no questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ragstone import deadlines, wire
from ragstone.errors import NotFoundError
from ragstone.server.openai_requests import EmbeddingsRequest, RerankRequest, refusal
from ragstone.server.openai_wire import embeddings_body, rerank_json
from ragstone.server.workers import Room, Workers
from ragstone.types import Embedder, Matrix, Reranker, Scores

THREADS = 2  # one call computes while another is read or written; the embedder itself spreads over the cores
WAITING = 32  # requests of 64 passages take about .1 s on two cores: the last one waits some seconds


class Models:
    """One embedding model for many clients; `name` is what they call it, beside its own id."""

    def __init__(
        self,
        load: Callable[[], Embedder],
        *,
        name: str,
        reranker: Callable[[], Reranker | None] = lambda: None,
        rerank_batch: int = 1,
    ) -> None:
        """`load` gives the model, `reranker` what judges passages, at once after the first call; who owns them closes
        them, after `close`. The reranker is given at most `rerank_batch` passages at once, in its time for so many.
        """
        self._load = load
        self._reranker = reranker
        self._rerank_batch = rerank_batch
        self.name = name
        self._workers = Workers(Room("embeddings", waiting=WAITING), threads=THREADS)

    def close(self) -> None:
        """Take no more work."""
        self._workers.close()

    async def entries(self) -> list[wire.Json]:
        """The models as `/v1/models` lists them. Raises `BusyError` when too many wait, as the others do."""
        return await self._workers.run(self._entries)

    async def embed(self, request: EmbeddingsRequest) -> bytes:
        """The body that answers `/v1/embeddings`. Raises `NotFoundError` for another model, `ModelError`."""
        return await self._workers.run(partial(self._embed, request))

    async def rerank(self, request: RerankRequest) -> wire.Json:
        """The answer of `/v1/rerank`.

        Of the reranker where there is one and no other model is named, with scores on its own scale. Else a document's
        score is its cosine with the query, 0 where it is below. Raises `NotFoundError` for an unknown model,
        `ModelError`.
        """
        return await self._workers.run(partial(self._rerank, request))

    def _entries(self) -> list[wire.Json]:
        embedder, reranker = self._load(), self._reranker()
        entry = {
            **model_json(self.name),
            "root": embedder.model_id,
            "max_model_len": embedder.max_tokens,
            "dimensions": embedder.dim,
        }
        return [entry] if reranker is None else [entry, model_json(reranker.model_id)]

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
        texts, reranker = request.texts(), self._reranker()
        if reranker is not None and request.model in (None, reranker.model_id):
            embedder, name = self._load(), reranker.model_id
            scores = self._judged(reranker, request.query, texts)
        else:
            embedder, name = self._known(request.model), self.name
            cosines = embedder.embed_documents(texts) @ embedder.embed_query(request.query)
            scores = np.clip(cosines, 0.0, 1.0)
        best = np.argsort(-scores, kind="stable")[: request.top_n]
        return rerank_json(
            [(int(position), float(scores[position])) for position in best],
            model=name,
            tokens=_tokens(embedder, [request.query, *texts]),
            texts=texts if request.return_documents else None,
        )

    def _judged(self, reranker: Reranker, query: str, texts: Sequence[str]) -> Scores:
        """(n,) in the order of `texts`."""
        parts = []
        for start in range(0, len(texts), self._rerank_batch):
            deadlines.check()
            parts.append(reranker.score(query, texts[start : start + self._rerank_batch]))
        return np.concatenate(parts)

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
