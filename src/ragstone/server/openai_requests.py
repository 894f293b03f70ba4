"""What a request to `/v1` may say. Names are OpenAI's; what no client can do without is refused, the rest named.

Long lists fail at their first wrong item (`fail_fast`): a report of a million wrong items takes 20 s and 400 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from ragstone.server.openai_wire import without_sources
from ragstone.server.requests import (
    MAX_ANSWER_K,
    MAX_QUESTION_CHARACTERS,
    MAX_TURN_CHARACTERS,
    MAX_TURNS,
    AskRequest,
    Filter,
    TurnModel,
)

CHAT_BODY_BYTES = 1 << 20  # clients send the whole conversation each time; 40 turns of it are read
EMBEDDINGS_BODY_BYTES = 4 << 20  # 2,048 chunks of 256 tokens, escaped
MAX_MESSAGES = 2000
MAX_INPUTS = 2048  # OpenAI's own limit
MAX_RERANKED = 1000  # Cohere's own limit; about 8 s of passages on two cores
MAX_NAME_CHARACTERS = 200
MAX_IGNORED = 40  # OpenAI has about 40 parameters

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARACTERS)]
_TEXT_SCHEMA = {"type": "string", "minLength": 1, "maxLength": EMBEDDINGS_BODY_BYTES}
Text = Annotated[str, StringConstraints(max_length=EMBEDDINGS_BODY_BYTES)]

# Parameters without which the answer would not be what was asked for, with the values that ask for nothing. Tools are
# an offer, which chat pages make with every message: a model may answer by itself, unless it is told to use one.
_NEEDED: Mapping[str, tuple[Any, ...]] = {
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none", "auto"),
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "response_format": (None, {"type": "text"}),
    "prediction": (None,),
    "web_search_options": (None,),
}


class _OpenAIRequest(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ContentPart(BaseModel):
    """A part of a message's content; only text can be read."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Annotated[str, StringConstraints(max_length=MAX_NAME_CHARACTERS)]
    text: str | None = None


class ChatMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        str | Annotated[tuple[ContentPart, ...], Field(max_length=MAX_MESSAGES, fail_fast=True)] | None
    ) = None

    def text(self, position: int) -> str:
        """The message's text; raises `RequestValidationError` for content of another kind."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        for part in self.content:
            if part.type != "text":
                raise refusal(f"messages.{position}.content", f"content of type {part.type!r} cannot be read")
        return "\n".join(part.text or "" for part in self.content)


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(extra="allow", frozen=True)

    include_usage: bool = False


class ChatRequest(_OpenAIRequest):
    """The body of `POST /v1/chat/completions`; `k`, `filter` and `memory` are those of `/api/ask`."""

    model: ModelName
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    k: Annotated[int, Field(ge=1, le=MAX_ANSWER_K)] | None = None
    filter: Filter | None = None
    memory: Annotated[bool, Field(strict=True)] = False

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream ends with the tokens used."""
        return self.stream_options is not None and self.stream_options.include_usage

    def ignored(self) -> list[str]:
        """The parameters given that change nothing, and the kinds of message that were not read."""
        parameters = sorted(name[:MAX_NAME_CHARACTERS] for name in self.model_extra or {})[:MAX_IGNORED]
        roles = {message.role for message in self.messages} - {"user", "assistant"}
        return [*parameters, *sorted(f"{role} messages" for role in roles)]

    def asked(self, collection: str | None) -> AskRequest:
        """The last user message as the question, what came before as the conversation.

        Of longer conversations the last 40 turns are kept, of long turns the beginning. Raises
        `RequestValidationError` for what cannot be answered.
        """
        for name, harmless in _NEEDED.items():
            value = (self.model_extra or {}).get(name)
            if value not in harmless:
                raise refusal(name, "is not supported")
        last = max((n for n, message in enumerate(self.messages) if message.role == "user"), default=None)
        if last is None:
            raise refusal("messages", "hold no message of the user")
        question = self.messages[last].text(last).strip()
        if not 0 < len(question) <= MAX_QUESTION_CHARACTERS:
            raise refusal(
                f"messages.{last}.content",
                f"a question has 1 to {MAX_QUESTION_CHARACTERS} characters, this one {len(question)}",
            )
        turns = [
            TurnModel(role=message.role, text=without_sources(message.text(n))[:MAX_TURN_CHARACTERS])
            for n, message in enumerate(self.messages[:last])
            if message.role in ("user", "assistant") and message.content
        ]
        return AskRequest(
            question=question,
            k=self.k,
            filter=self.filter,
            collection=collection,
            history=tuple(turns[-MAX_TURNS:]),
            memory=self.memory,
        )


def _texts(given: object) -> tuple[str, ...]:
    """One text or several as a tuple.

    Not a union of types, each of which would be tried on every item, and report each: a body of token numbers can have
    a million.
    """
    texts = (given,) if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not 1 <= len(texts) <= MAX_INPUTS:
        raise PydanticCustomError("texts", f"a text or a list of 1 to {MAX_INPUTS} texts is needed")
    if not all(isinstance(text, str) for text in texts):
        raise PydanticCustomError(
            "texts",
            "only texts can be embedded; token numbers are those of another model's tokenizer "
            "(LangChain: check_embedding_ctx_length=False)",
        )
    return tuple(texts)


class EmbeddingsRequest(_OpenAIRequest):
    """The body of `POST /v1/embeddings`; `input_type` is what the texts are to be used as."""

    model: ModelName
    input: Annotated[
        tuple[str, ...],
        BeforeValidator(_texts),
        WithJsonSchema(
            {"anyOf": [_TEXT_SCHEMA, {"type": "array", "items": _TEXT_SCHEMA, "maxItems": MAX_INPUTS}]}
        ),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    input_type: Literal["document", "query"] = "document"


class RerankDocument(BaseModel):
    """A document given as an object."""

    model_config = ConfigDict(extra="allow", frozen=True)

    text: Text


class RerankRequest(_OpenAIRequest):
    """The body of `POST /v1/rerank`, as Jina's and Cohere's clients send it."""

    model: ModelName | None = None  # there is only one, and some clients name none
    query: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TURN_CHARACTERS)]
    documents: Annotated[
        tuple[Text | RerankDocument, ...], Field(min_length=1, max_length=MAX_RERANKED, fail_fast=True)
    ]
    top_n: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    return_documents: bool = False

    def texts(self) -> tuple[str, ...]:
        """The documents' texts in order."""
        return tuple(item if isinstance(item, str) else item.text for item in self.documents)


def refusal(parameter: str, message: str) -> RequestValidationError:
    """The error of a parameter, found only after the request was read."""
    return RequestValidationError([{"loc": ("body", parameter), "msg": message, "type": "unsupported"}])
