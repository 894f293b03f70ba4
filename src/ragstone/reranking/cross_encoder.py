"""A cross-encoder on this machine: an ONNX graph that gives a number for a query and a passage read together.

The folder is that of a sentence encoder (`embedding.onnx_folder`), exported for text classification: one logit a pair,
or two of which the second says that the passage answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragstone.embedding.batches import feed, pad, plan_batches
from ragstone.embedding.cores import usable_cores
from ragstone.embedding.onnx_folder import open_folder
from ragstone.embedding.sessions import Device, on_gpu
from ragstone.embedding.tokens import TextTokenizer, TokenPair
from ragstone.embedding.workers import Workers
from ragstone.errors import ModelError
from ragstone.types import Scores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_OUTPUT = "logits"
_GPU_PAIRS = 32
_BATCH_TOKENS = 16_384  # 32 pairs of 512 tokens, padding included


class CrossEncoder:
    """A `Reranker` over a graph (batch, tokens) → logits (batch,), (batch, 1) or (batch, 2). Thread-safe."""

    def __init__(
        self,
        session: InferenceSession,
        tokenizer: TextTokenizer,
        *,
        model_id: str,
        pad_id: int = 0,
        threads: int | None = None,
        batch_pairs: int = 1,
    ) -> None:
        """`threads` judge pairs (None: one per physical core), `batch_pairs` at once: one on a CPU, where larger
        batches gain nothing and a pair alone has the same score beside any others.

        Raises `ModelError` when the graph does not take pairs of texts or gives no number for a pair.
        """
        self._session: InferenceSession | None = session
        self._tokens = tokenizer
        self._model_id = model_id
        self._pad_id = pad_id
        self._batch_pairs = batch_pairs
        self._inputs = {graph_input.name: graph_input.type for graph_input in session.get_inputs()}
        outputs = [output.name for output in session.get_outputs()]
        self._output = _OUTPUT if _OUTPUT in outputs else outputs[0]
        self._workers = Workers(threads=threads or usable_cores(), background=False)
        self._logits(session, self._tokens.pairs("a", ["b"]))

    @property
    def model_id(self) -> str:
        """Name and hash of the model."""
        return self._model_id

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """(n,) logits in the order of `texts`; ms-marco-MiniLM-L-12-v2 in int8 takes 37 ms a
        pair of 145 tokens on one core.

        A pair longer than the model takes loses the end of its text. Raises `ModelError`, also after `close`.
        """
        session = self._session
        if session is None:
            raise ModelError(f"the reranker {self._model_id} is closed", hint="open it again")
        pairs = self._tokens.pairs(query, texts)
        scores = np.empty(len(pairs), np.float32)
        batches = plan_batches(
            [len(pair.ids) for pair in pairs], max_texts=self._batch_pairs, max_padded_tokens=_BATCH_TOKENS
        )

        def judge(batch: Sequence[int]) -> None:
            scores[batch] = self._logits(session, [pairs[position] for position in batch])

        self._workers.run(judge, batches)
        return scores

    def close(self) -> None:
        """Wait for what runs, end the threads and let go of the weights."""
        self._workers.close()
        self._session = None

    def _logits(self, session: InferenceSession, pairs: Sequence[TokenPair]) -> Scores:
        """(batch,) float32."""
        ids, mask = pad([pair.ids for pair in pairs], self._pad_id)
        types, _ = pad([pair.types for pair in pairs], 0)
        try:
            (logits,) = session.run([self._output], feed(self._inputs, ids, mask, types=types))
        except Exception as error:  # ONNX Runtime's errors share no base of their own
            raise ModelError(
                f"the reranker {self._model_id} failed on {ids.shape[0]} pairs of {ids.shape[1]} tokens: {error}",
                hint="is the folder's maximum length what the graph can take?",
            ) from error
        rows = logits.reshape(len(pairs), -1) if logits.ndim in {1, 2} and len(logits) == len(pairs) else None
        if rows is None or rows.shape[1] not in {1, 2}:
            raise ModelError(
                f"the reranker {self._model_id} gave an array of shape {logits.shape} for {len(pairs)} pairs",
                hint="export it for text classification: one logit a pair, or two",
            )
        judged: Scores = (rows[:, -1] - rows[:, 0] if rows.shape[1] == 2 else rows[:, 0]).astype(np.float32)
        return judged


def load_cross_encoder(
    folder: Path, *, name: str = "", threads: int | None = None, device: Device = "cpu"
) -> CrossEncoder:
    """The cross-encoder in `folder`, called `name` (or as the folder is). Raises `ModelError`."""
    found = open_folder(folder, name=name, device=device)
    max_tokens = found.max_tokens()
    return CrossEncoder(
        found.session,
        TextTokenizer(found.tokenizer, max_tokens=max_tokens),
        model_id=f"{found.name}/{found.fingerprint(str(max_tokens))}",
        pad_id=found.pad_id,
        threads=threads,
        batch_pairs=_GPU_PAIRS if on_gpu(device) else 1,
    )
