"""Vectors from an OpenAI-compatible `/v1/embeddings` endpoint: Ollama, vLLM, llama.cpp, text-embeddings-inference, …

The standard library does the HTTP. Texts go out in requests of bounded size, in order; a request that the server
could not take (429, 5xx, hung up) is tried again with growing pauses. The key is sent and never shown.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from ragstone import deadlines
from ragstone.embedding.batches import unit_rows
from ragstone.embedding.collected import Collected
from ragstone.embedding.query_cache import QueryCache
from ragstone.embedding.tokens import TextTokenizer, well_formed
from ragstone.errors import InputError, ModelError
from ragstone.types import Matrix, Vector

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What a server takes in one request: most cap the number of inputs (llama.cpp at 512, some proxies at 128).
REQUEST_TEXTS_MAX = 64
REQUEST_CHARS_MAX = 200_000
# An answer of 64 vectors of 4,096 numbers in JSON is 6 MB.
RESPONSE_BYTES_MAX = 64 << 20
TIMEOUT_S = 60.0
RETRIES = 4
BACKOFF_S = 0.5
RETRY_AFTER_MAX_S = 30.0  # a server that wants longer is told of as an error, not waited for
# The reference chunk size. The endpoint's tokenizer is unknown; WordPiece, which counts for it, cuts finer than the
# byte-pair tokenizers of large models, so 512 of its tokens fit every model whose limit is 512 or more.
MAX_TOKENS = 512
UNIT_TOLERANCE = 1e-6  # float32 rows scaled to unit length are within 3e-7 of it
TOLD_TOKENS = (
    8,
    8192,
)  # what a server may say that its model reads: a sentence; the longest chunk a user may set


class HttpEmbedder:
    """An `Embedder` behind an OpenAI-compatible endpoint. Thread-safe.

    `dim` is that of the first vector received; every later one must have it.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        tokenizer: Tokenizer,
        api_key: str | None = None,
        max_tokens: int | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Ask the endpoint for one vector, to learn the dimension and that it works.

        `base_url` ends before `/embeddings`. A model server of ragstone's own then also says how many tokens its model
        reads, which is `max_tokens` if none is given (else 512), and embeds queries as such. Raises `InputError` for
        an unusable address or key, `ModelError` when the endpoint does not answer as it should.
        """
        parts = _address(base_url)
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise InputError(
                "the API key holds characters that cannot stand in a header", hint="copy it again"
            )
        self._model, self._parts, self._api_key, self._timeout_s = model, parts, api_key, timeout_s
        # Not `netloc`, which may hold a password.
        self._place = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self._max_tokens = max_tokens or MAX_TOKENS
        self._tokens = TextTokenizer(tokenizer, max_tokens=self._max_tokens)
        self.query_cache: QueryCache[Vector] = QueryCache()
        self._queries: Collected[Vector] = Collected(
            lambda texts: list(self._request(texts, **self._as_query))
        )
        self._closed = False
        self._dim = 0
        self._said: dict[str, Any] = {}
        self._dim = self._request(["dimension"]).shape[1]
        reads, kinds = self._said.get("max_tokens"), self._said.get("input_types")
        if max_tokens is None and isinstance(reads, int):
            self._max_tokens = min(max(reads, TOLD_TOKENS[0]), TOLD_TOKENS[1])
            self._tokens = TextTokenizer(tokenizer, max_tokens=self._max_tokens)
        self._as_query = {"input_type": "query"} if isinstance(kinds, list) and "query" in kinds else {}

    def __repr__(self) -> str:
        return f"HttpEmbedder({self._model!r}, {self._parts.hostname!r})"

    @property
    def model_id(self) -> str:
        """The endpoint's name for the model and the length of its vectors."""
        return f"openai:{self._model}:{self._dim}"

    @property
    def dim(self) -> int:
        """Length of each vector."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """Longest text sent, in WordPiece tokens, which stand in for the endpoint's own."""
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """WordPiece tokens of each text, special tokens included, nothing cut off."""
        return self._tokens.counts(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each WordPiece token of `text`, ascending, special tokens left out."""
        return self._tokens.spans(text)

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit rows in the order of `texts`. Raises `ModelError`."""
        parts = [self._request(batch) for batch in _batches(texts)]
        return np.concatenate(parts) if parts else np.empty((0, self._dim), dtype=np.float32)

    def embed_query(self, text: str) -> Vector:
        """(dim,) float32 unit vector, read-only; among the last 1,024 asked, from memory. Raises `ModelError`.

        What several threads ask for at once goes to the endpoint together.
        """
        if self._closed:
            raise self._closed_error()
        return self.query_cache.get_or_make(text, lambda: self._new_query(text))

    def close(self) -> None:
        """Further calls raise `ModelError`; no connection is kept open between calls."""
        self._closed = True

    def _new_query(self, text: str) -> Vector:
        vector = self._queries.get(text)
        vector.flags.writeable = False
        return vector

    def _closed_error(self) -> ModelError:
        return ModelError(f"the embedding model {self._model} is closed", hint="open it again")

    def _request(self, texts: Sequence[str], **more: str) -> Matrix:
        if self._closed:
            raise self._closed_error()
        cut = [well_formed(self._tokens.cut(text)) for text in texts]
        body = json.dumps({"model": self._model, "input": cut, "encoding_format": "float", **more}).encode()
        for attempt in range(RETRIES + 1):
            try:
                return self._vectors(self._post(body), len(texts))
            except _TryAgainError as again:
                pause = again.after_s or BACKOFF_S * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311
                if attempt == RETRIES or pause > deadlines.left_s(RETRY_AFTER_MAX_S):
                    raise again.error from again.error.__cause__
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _post(self, body: bytes) -> bytes:
        deadlines.check()
        timeout_s = deadlines.left_s(self._timeout_s)
        host, port = self._parts.hostname or "", self._parts.port
        connection: http.client.HTTPConnection
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        try:
            connection.request("POST", f"{self._parts.path.rstrip('/')}/embeddings", body, headers)
            response = connection.getresponse()
            data = response.read(RESPONSE_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            deadlines.check()
            raise _TryAgainError(self._unreachable(error), 0.0) from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise self._refusal(response.status, response.getheader("Retry-After"), data)
        if len(data) > RESPONSE_BYTES_MAX:
            raise self._malformed(f"its answer is larger than {RESPONSE_BYTES_MAX >> 20} MiB")
        return data

    def _unreachable(self, error: Exception) -> ModelError:
        return ModelError(
            f"the embedding endpoint at {self._place} does not answer: {error or type(error).__name__}",
            hint="is the server running, and embedding_base_url right?",
        )

    def _refusal(self, status: int, retry_after: str | None, data: bytes) -> Exception:
        message = f"the embedding endpoint at {self._place} answers {status}: {_error_text(data)}"
        hint = {
            401: "check embedding_api_key",
            403: "check embedding_api_key",
            404: f"does it serve the model {self._model!r}, and does embedding_base_url end in /v1?",
        }.get(status, "look at the server's log")
        error = ModelError(message, hint=hint)
        if status == 429 or status >= 500:
            return _TryAgainError(error, _seconds(retry_after))
        return error

    def _malformed(self, what: str) -> ModelError:
        return ModelError(
            f"the embedding endpoint at {self._place} does not speak the protocol: {what}",
            hint="embedding_base_url should lead to an OpenAI-compatible server and end in /v1",
        )

    def _vectors(self, data: bytes, count: int) -> Matrix:
        try:
            answer = json.loads(data)
            entries: list[dict[str, Any]] = answer["data"]
            rows = {int(entry["index"]): entry["embedding"] for entry in entries}
            vectors = np.array([rows[number] for number in range(count)], dtype=np.float32)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._malformed(f"its answer does not hold {count} vectors") from error
        if len(entries) != count or vectors.ndim != 2 or not vectors.shape[1]:
            raise self._malformed(f"its answer holds {len(entries)} vectors for {count} texts")
        if not self._dim and isinstance(answer.get("ragstone"), dict):
            self._said = answer["ragstone"]
        if self._dim and vectors.shape[1] != self._dim:
            raise ModelError(
                f"the model {self._model} gave vectors of {vectors.shape[1]} numbers, before {self._dim}",
                hint="another model answers under the same name now; index into another collection",
            )
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise self._malformed("a vector is zero or not finite")
        # Unit rows stay as they came: dividing by a norm that rounds to almost 1 would move their last bits.
        off = np.abs(np.linalg.norm(vectors, axis=1) - 1) > UNIT_TOLERANCE
        vectors[off] = unit_rows(vectors[off])
        return vectors


def _address(base_url: str) -> SplitResult:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        usable = False
    if not usable:
        raise InputError(
            "the embedding endpoint is not an http:// or https:// address", hint="set embedding_base_url"
        )
    return parts


class _TryAgainError(Exception):
    """A failure that may pass; `after_s` is what the server asked for, 0 if nothing."""

    def __init__(self, error: ModelError, after_s: float) -> None:
        super().__init__(error.message)
        self.error = error
        self.after_s = after_s


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = chars = 0
    for position, text in enumerate(texts):
        if position - start == REQUEST_TEXTS_MAX or (
            position > start and chars + len(text) > REQUEST_CHARS_MAX
        ):
            yield texts[start:position]
            start, chars = position, 0
        chars += len(text)
    if start < len(texts):
        yield texts[start:]


def _error_text(data: bytes) -> str:
    """What the server says went wrong, at most 200 characters on one line."""
    try:
        found = json.loads(data)["error"]
        text = str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        text = data[:800].decode("utf-8", "replace")
    return " ".join(text.split())[:200] or "nothing"


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or ""))
    except ValueError:  # a date, or nothing
        return 0.0
