"""A reranker behind a `/rerank` endpoint, in the form that Jina, Cohere, vLLM, llama.cpp and others share.

`{"model","query","documents","top_n"}` → `{"results":[{"index","relevance_score"},…]}`. A search waits for it, so a
failed request is not tried again: the search answers without it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence

import numpy as np

from ragstone.errors import InputError, ModelError
from ragstone.http_stream import ERROR_BODY_BYTES_MAX, Patience, error_text, post, read_body
from ragstone.types import Scores

# Some servers send the documents back: 1,000 chunks of 2 KB, escaped.
RESPONSE_BYTES_MAX = 8 << 20

_HINTS = {
    401: "check reranker_api_key",
    403: "check reranker_api_key",
    404: "check reranker and reranker_base_url, which ends before /rerank",
}


class HttpReranker:
    """A `Reranker` behind an HTTP endpoint. Thread-safe; one connection per call, none is kept."""

    def __init__(self, model: str, *, base_url: str, api_key: str = "", timeout_s: float) -> None:
        """`base_url` ends before `/rerank`; an empty `model` is not sent. The whole call may take `timeout_s`.

        The key never appears in errors or `repr`. Raises `InputError` for one that cannot be sent.
        """
        if not (api_key.isascii() and api_key.isprintable()):
            raise InputError(
                "the API key holds characters that cannot stand in a header", hint="copy it again"
            )
        self._model = model
        self._url = base_url.rstrip("/") + "/rerank"
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return f"HttpReranker({self._model!r}, {self._url!r})"

    @property
    def model_id(self) -> str:
        """The endpoint's name for the model."""
        return f"http:{self._model}"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """(n,) the endpoint's relevance scores in the order of `texts`. Raises `ModelError`, also after `close`."""
        if self._closed.is_set():
            raise ModelError(f"the reranker {self._model} is closed", hint="open it again")
        if not texts:
            return np.empty(0, np.float32)
        asked: dict[str, object] = {"query": query, "documents": list(texts), "top_n": len(texts)}
        if self._model:
            asked["model"] = self._model
        try:
            return self._scores(self._posted(json.dumps(asked).encode()), len(texts))
        except ModelError as error:
            if self._api_key:  # some servers repeat the key they refuse
                error.message = error.message.replace(self._api_key, "…")
                error.args = (error.message,)
            raise

    def close(self) -> None:
        """End requests in flight; further calls raise `ModelError`."""
        self._closed.set()

    def _posted(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        patience = Patience(time.monotonic() + self._timeout_s, self._timeout_s, self._closed.is_set)
        with post(self._url, body, headers, connect_timeout_s=self._timeout_s, patience=patience) as response:
            if response.status != 200:
                said = error_text(read_body(response, limit=ERROR_BODY_BYTES_MAX))
                raise ModelError(
                    f"the reranker answered {response.status}{f': {said}' if said else ''}",
                    hint=_HINTS.get(response.status, "look at its server's log"),
                )
            return read_body(response, limit=RESPONSE_BYTES_MAX)

    def _scores(self, data: bytes, count: int) -> Scores:
        try:
            results = json.loads(data)["results"]
            found = {int(result["index"]): float(result["relevance_score"]) for result in results}
            scores = np.array([found[position] for position in range(count)], np.float32)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"the reranker's answer does not hold a score for each of {count} passages",
                hint="reranker_base_url should lead to a server that speaks /rerank",
                code="model_protocol",
            ) from error
        return scores
