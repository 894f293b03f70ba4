"""Asking a model for vectors, text by text where a batch fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from ragstone.errors import InputError, ModelError
from ragstone.types import Embedder, Vector

# A text that is bad is refused at once; a model that is down takes its timeout to fail. After so many seconds of
# failing calls the rest of the batch is not tried text by text.
SPLIT_FOR_S = 10.0


class Encoder(Protocol):
    """A model of the kind that `sentence-transformers` has."""

    def encode(self, sentences: list[str]) -> Any:
        """(n, dim) numbers, a row for each text."""


Model: TypeAlias = Embedder | Encoder
Outcome: TypeAlias = Vector | Exception  # the vector of a text, or why there is none


def model_id_of(model: Model) -> str | None:
    """What the model calls itself; None where it does not."""
    found = getattr(model, "model_id", None)
    return found if isinstance(found, str) and found else None


def embedding_of(model: Model) -> Callable[[list[str]], Any]:
    """The method that turns texts into rows. Raises `InputError` for an object that has none."""
    for name in ("embed_documents", "encode"):
        method = getattr(model, name, None)
        if callable(method):
            found: Callable[[list[str]], Any] = method
            return found
    raise InputError(
        f"a model of type {type(model).__name__} has neither embed_documents nor encode",
        hint="give an embedder of ragstone or a SentenceTransformer",
    )


def embed_each(
    embed: Callable[[list[str]], Any],
    texts: Sequence[str],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Outcome]:
    """The vector of each text, or its error: a batch that fails is halved until the bad texts stand alone."""
    outcomes: list[Outcome] = []
    failed_s = 0.0
    parts = [list(texts)]
    while parts:
        part = parts.pop()
        started_s = clock()
        try:
            outcomes += _rows(embed(part), len(part))
        except Exception as error:  # noqa: BLE001 - it becomes the outcome of the texts
            failed_s += clock() - started_s
            if len(part) == 1 or failed_s > SPLIT_FOR_S:
                outcomes += [error] * len(part)
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]  # the first half is taken next: order is kept
    return outcomes


def _rows(found: Any, count: int) -> list[Outcome]:
    vectors = np.asarray(found, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise ModelError(f"the model gave an array of shape {vectors.shape} for {count} texts")
    return [
        read_only(vector)
        if np.isfinite(vector).all()
        else ModelError("the model gave a vector that is not a number")
        for vector in vectors
    ]


def read_only(vector: Vector) -> Vector:
    """A copy that nobody can make writeable again, and that holds no batch in memory."""
    return np.frombuffer(vector.tobytes(), dtype=np.float32)
