"""Chat models: the protocol the answers need, and any OpenAI-compatible endpoint.

Works with OpenAI, Ollama, vLLM, llama.cpp and the like, over the standard library: the official client
cannot be stopped while it waits for bytes, has no deadline for a whole answer, and adds 0.5 s of imports.
"""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from ragstone.errors import InputError, ModelError
from ragstone.http_stream import (
    ERROR_BODY_BYTES_MAX,
    Cancelled,
    Patience,
    error_text,
    lines,
    post,
    read_body,
)
from ragstone.types import Usage

# Connecting on a local network takes milliseconds, across the world 0.3 s; 5 s survives a lost packet or two.
CONNECT_TIMEOUT_S = 5.0
# A local model may read an 8000-token prompt for half a minute before its first token.
READ_TIMEOUT_S = 60.0
# Two repeats bridge a restart or a rate limit without making a person wait behind a dead server.
RETRIES = 2
# First pause of the exponential backoff; jitter spreads clients that failed together.
BACKOFF_S = 0.5
# A server that asks for a longer pause than this is reported instead of waited for.
RETRY_AFTER_MAX_S = 20.0

_RETRYABLE = frozenset({408, 409, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat, as the model reads it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """A piece of the model's answer; the last one may carry no text but the `usage`."""

    text: str = ""
    usage: Usage | None = None


class ChatModel(Protocol):
    """Streams an answer to a list of messages. Thread-safe; closing the iterator stops the model."""

    @property
    def name(self) -> str:
        """The model's name, as answers report it."""

    def stream(
        self,
        messages: Sequence[Message],
        *,
        timeout_s: float,
        max_tokens: int,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[ChatDelta]:
        """Deltas in order. Raises `ModelError`; `CancelledError` once `cancelled()` is true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIChatModel:
    """A chat model behind an OpenAI-compatible endpoint, for example `http://127.0.0.1:11434/v1`.

    `base_url` ends before `/chat/completions`. The key never appears in `repr`, errors or logs.
    """

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    organization: str = ""
    temperature: float = 0.0  # the same question should give the same answer
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    read_timeout_s: float = READ_TIMEOUT_S
    retries: int = RETRIES

    def __post_init__(self) -> None:
        for what, value in (("API key", self.api_key), ("organization", self.organization)):
            if not value.isascii() or not value.isprintable():
                raise InputError(
                    f"the {what} holds characters that cannot stand in a header", hint="copy it again"
                )

    @property
    def name(self) -> str:
        """The model's name as sent to the endpoint."""
        return self.model

    def stream(
        self,
        messages: Sequence[Message],
        *,
        timeout_s: float,
        max_tokens: int,
        cancelled: Cancelled | None = None,
    ) -> Generator[ChatDelta, None, None]:
        """Deltas as they arrive; the connection is closed when the iterator is.

        `timeout_s` bounds everything, retries included. Failures before the first delta are tried again where
        that can help (429, 5xx, hung up); after it never, or words would repeat.
        Raises `ModelError`, whose `code` says which way, and `CancelledError`.
        """
        patience = Patience(time.monotonic() + timeout_s, self.read_timeout_s, cancelled)
        for attempt in range(self.retries + 1):
            started = False
            try:
                for delta in self._attempt(messages, max_tokens, patience):
                    started = True
                    yield delta
            except _RetryError as retry:
                if started or attempt == self.retries or retry.after_s > RETRY_AFTER_MAX_S:
                    raise retry.error from retry.error.__cause__
                pause = retry.after_s or BACKOFF_S * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311
                if time.monotonic() + pause >= patience.deadline:
                    raise retry.error from retry.error.__cause__
                patience.sleep(pause, waiting_for=f"another try of the chat model {self.model}")
            else:
                return

    def _attempt(
        self, messages: Sequence[Message], max_tokens: int, patience: Patience
    ) -> Generator[ChatDelta, None, None]:
        url = self.base_url.rstrip("/") + "/chat/completions"
        body = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},  # servers that do not know it ignore it
            "max_tokens": max_tokens,
            "temperature": self.temperature,
        }
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "User-Agent": "ragstone",
            "Connection": "close",
        }
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.organization:
            headers["OpenAI-Organization"] = self.organization
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        try:
            with post(
                url, data, headers, connect_timeout_s=self.connect_timeout_s, patience=patience
            ) as response:
                if response.status != 200:
                    raise self._refusal(response)
                yield from _deltas(response)
        except ModelError as error:
            self._remove_key(error)
            if error.code == "model_cut":  # a restart, a proxy; a refused connection stays refused
                raise _RetryError(error, 0.0) from error
            raise
        except _RetryError as retry:
            self._remove_key(retry.error)
            raise

    def _refusal(self, response: http.client.HTTPResponse) -> Exception:
        """What a status other than 200 means, with the server's own words."""
        detail = error_text(read_body(response, limit=ERROR_BODY_BYTES_MAX))
        code, hint = _MEANINGS.get(response.status, ("model_failed", "look at the model server's log"))
        said = f": {detail}" if detail else ""
        error = ModelError(
            f"the chat model {self.model} answered {response.status}{said}", hint=hint, code=code
        )
        if response.status in _RETRYABLE:
            return _RetryError(error, _retry_after_s(response.headers.get("Retry-After")))
        return error

    def _remove_key(self, error: ModelError) -> None:
        """Some servers repeat the key they refuse, in whatever they send; in place, so that no cause keeps it."""
        if self.api_key:
            error.message = error.message.replace(self.api_key, "…")
            error.args = (error.message,)


_MEANINGS = {
    400: ("model_rejected", "check the model's name and its context length"),
    401: ("model_unauthorized", "set the chat model's API key"),
    403: ("model_unauthorized", "this key may not use this model"),
    404: ("model_not_found", "check the model's name and that the address ends in /v1"),
    429: ("model_overloaded", "wait, or raise the rate limit at the provider"),
    503: ("model_overloaded", "the model server is busy or still loading; try again soon"),
}


class _RetryError(Exception):
    """A failure that another try may cure; `after_s` as the server asked, 0 if it did not."""

    def __init__(self, error: ModelError, after_s: float) -> None:
        super().__init__("try again")
        self.error = error
        self.after_s = after_s


def _deltas(response: http.client.HTTPResponse) -> Generator[ChatDelta, None, None]:
    """Deltas of a server-sent event stream; raises `ModelError` when it is garbage or ends early."""
    finished = False
    for event in _events(response):
        if event == "[DONE]":
            return
        try:
            chunk = json.loads(event)
        except ValueError as error:
            raise _malformed(event) from error
        if not isinstance(chunk, dict):
            raise _malformed(event)
        if chunk.get("error"):
            raise ModelError(
                f"the chat model failed while answering: {error_text(event.encode())}",
                hint="ask again; look at the model server's log",
                code="model_failed",
            )
        text, reason = _choice(chunk, event)
        finished = finished or reason is not None
        usage = _usage(chunk.get("usage"))
        if text or usage:
            yield ChatDelta(text, usage)
    if not finished:  # some servers leave [DONE] out, but none the finish_reason
        raise ModelError(
            "the model server broke off its answer", hint="ask again; look at its log", code="model_cut"
        )


def _events(response: http.client.HTTPResponse) -> Iterator[str]:
    """The data of each event; comments and other fields are skipped, a body without any event is an error."""
    seen = 0
    for line in lines(response):
        if line.startswith(b"data:"):
            seen += 1
            yield line[5:].strip().decode("utf-8", "replace")
        elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
            raise _malformed(line.decode("utf-8", "replace"))
    if not seen:
        raise _malformed("an empty body")


def _choice(chunk: dict[str, Any], event: str) -> tuple[str, str | None]:
    """Text and finish reason of a chunk; both may be absent (usage and keep-alive chunks)."""
    choices = chunk.get("choices") or []
    if not choices:
        return "", None
    try:
        delta = choices[0].get("delta") or {}
        text = delta.get("content") or ""
        reason = choices[0].get("finish_reason")
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise _malformed(event) from error
    if not isinstance(text, str):
        raise _malformed(event)
    return text, reason


def _usage(value: object) -> Usage | None:
    """Token counts if the server sent whole numbers, else None: usage is a report, not worth an answer."""
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int) or min(prompt, completion) < 0:
        return None
    return Usage(prompt_tokens=prompt, completion_tokens=completion)


def _malformed(sample: str) -> ModelError:
    return ModelError(
        f"the model server sent something that is no chat event: {sample[:80]!r}",
        hint="check that the address is an OpenAI-compatible endpoint",
        code="model_protocol",
    )


def _retry_after_s(value: str | None) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 if absent or unreadable."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
