"""A reranker that a search can rely on: waited for no longer than agreed, believed only if its answer can be one."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from ragstone import deadlines
from ragstone.errors import ModelError, RagstoneError
from ragstone.types import Reranker, Scores

# Calls that may run at once. A model on this machine has threads of its own; an endpoint is waited for.
_CALLS = 8


class TimelyReranker:
    """Calls a reranker on a thread of its own, so that a search goes on without it when it is late. Thread-safe."""

    def __init__(self, reranker: Reranker, *, timeout_s: float) -> None:
        """`timeout_s` is for a whole call, less where the work at hand has to be over earlier (`deadlines`)."""
        self._reranker = reranker
        self._timeout_s = timeout_s
        self._calls = ThreadPoolExecutor(_CALLS, "ragstone-rerank")

    @property
    def model_id(self) -> str:
        """The reranker's own."""
        return self._reranker.model_id

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """(n,) finite float32 in the order of `texts`.

        Raises `ModelError` when the reranker fails in any way, is later than `timeout_s`, or gives anything but one
        finite number for each text. A call that is late runs on to its end, which nobody waits for.
        """
        model, allowed_s = self.model_id, deadlines.left_s(self._timeout_s)
        try:
            call = self._calls.submit(contextvars.copy_context().run, self._reranker.score, query, texts)
        except RuntimeError as error:  # shut down
            raise ModelError(f"the reranker {model} is closed", hint="open it again") from error
        if not wait([call], allowed_s).done:
            call.cancel()
            raise ModelError(
                f"the reranker {model} took more than {allowed_s:.3g} s",
                hint="raise rerank_timeout_s, or lower rerank_depth",
                code="model_timeout",
            )
        try:
            scores = np.asarray(call.result(), np.float32)
        except RagstoneError:
            raise
        except Exception as error:
            raise ModelError(f"the reranker {model} failed: {error or type(error).__name__}") from error
        if scores.shape != (len(texts),) or not np.isfinite(scores).all():
            raise ModelError(
                f"the reranker {model} gave no finite score for each of {len(texts)} passages",
                hint="its scores are (n,) finite numbers",
                code="model_protocol",
            )
        return scores

    def close(self, *, with_reranker: bool = True) -> None:
        """End the threads, after the calls that run; `with_reranker` closes that first, which ends its requests."""
        if with_reranker:
            self._reranker.close()
        self._calls.shutdown(wait=True, cancel_futures=True)
