"""Which texts share a batch, the arrays a batch is made of, and how token vectors become one. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.embedding.tokens import TokenIds
from ragstone.types import Matrix

Pooling: TypeAlias = Literal["mean", "cls", "last"]
TokenVectors: TypeAlias = npt.NDArray[np.float32]  # (batch, tokens, dim)
TokenBatch: TypeAlias = npt.NDArray[np.int64]  # (batch, tokens), padded on the right

INPUT_NAMES = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
INPUT_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def plan_batches(lengths: Sequence[int], *, max_texts: int, max_padded_tokens: int) -> list[list[int]]:
    """Positions of the texts of each batch, longest first, so that texts of like length are padded together.

    A batch has at most `max_texts` texts and `max_padded_tokens` tokens, padding included (a single longer
    text is a batch of its own). Longest first also evens out the threads' ends: the last batches are the cheap ones.
    """
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    batches: list[list[int]] = []
    for position in order:
        if batches:
            batch = batches[-1]
            longest = lengths[batch[0]]
            if len(batch) < max_texts and (len(batch) + 1) * longest <= max_padded_tokens:
                batch.append(position)
                continue
        batches.append([position])
    return batches


def pad(texts: Sequence[TokenIds], pad_id: int) -> tuple[TokenBatch, TokenBatch]:
    """Ids and attention mask (1 for tokens, 0 for padding) of one batch."""
    longest = max(len(ids) for ids in texts)
    ids = np.full((len(texts), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(texts), longest), dtype=np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return ids, mask


def feed(
    inputs: Mapping[str, str], ids: TokenBatch, mask: TokenBatch, *, types: TokenBatch | None = None
) -> dict[str, npt.NDArray[np.integer]]:
    """What the graph's `inputs` (name → ONNX type) are given, each (batch, tokens).

    `types` says of pairs which tokens are of the second text; without it all are of the first.
    """
    arrays: dict[str, TokenBatch] = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in inputs:
        arrays["token_type_ids"] = np.zeros_like(ids) if types is None else types
    if "position_ids" in inputs:
        arrays["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return {
        name: arrays[name].astype(INPUT_TYPES[onnx_type], copy=False) for name, onnx_type in inputs.items()
    }


def pool(vectors: TokenVectors, mask: TokenBatch, pooling: Pooling) -> Matrix:
    """One vector per text, (batch, dim): of its tokens the mean, the first, or the last."""
    counts = mask.sum(axis=1)
    pooled: Matrix
    if pooling == "cls":
        pooled = vectors[:, 0]
    elif pooling == "last":
        pooled = vectors[np.arange(len(vectors)), counts - 1]
    else:
        weights = mask.astype(np.float32) / counts[:, None].astype(np.float32)  # (batch, tokens)
        pooled = np.matmul(weights[:, None, :], vectors)[:, 0]
    return pooled


def unit_rows(vectors: Matrix) -> Matrix:
    """The rows scaled to length 1, float32."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / norms, dtype=np.float32)
