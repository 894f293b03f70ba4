"""`/v1`: models, chat completions, embeddings and rerank, as OpenAI's clients ask for them.

`models_api` needs only an embedding model and is all that a model server has of it; `chat_api` answers from the
collections, each of which is a chat model: `ragstone:<collection>`, the service's own also `ragstone`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from ragstone import wire
from ragstone.errors import NotFoundError
from ragstone.server.access import ANSWER_COST, Caller, TheCaller, policy
from ragstone.server.models import Models, model_json
from ragstone.server.openai_errors import OPENAI_ERRORS, error_body
from ragstone.server.openai_requests import (
    CHAT_BODY_BYTES,
    EMBEDDINGS_BODY_BYTES,
    ChatRequest,
    EmbeddingsRequest,
    RerankRequest,
)
from ragstone.server.openai_wire import Completion
from ragstone.server.problems import error_event, problem
from ragstone.server.service import Service
from ragstone.server.streaming import EventStream, whole_answer
from ragstone.types import AnswerDone, AnswerEvent, AnswerToken

CHAT_MODEL = "ragstone"

models_api = APIRouter(prefix="/v1", responses=OPENAI_ERRORS)
chat_api = APIRouter(prefix="/v1", responses=OPENAI_ERRORS)


async def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheModels = Annotated[Models, Depends(_models)]
TheService = Annotated[Service, Depends(_service)]


@models_api.post("/embeddings", summary="A vector for each text, in order")
@policy("read", body_bytes=EMBEDDINGS_BODY_BYTES)
async def embeddings(body: EmbeddingsRequest, models: TheModels) -> Response:
    """OpenAI's form; beside it `ragstone`: how long a text is read, and which `input_type`s there are."""
    return Response(await models.embed(body), media_type="application/json")


@models_api.post("/rerank", summary="Documents by how well they fit a query, best first")
@policy("read", body_bytes=EMBEDDINGS_BODY_BYTES)
async def rerank(body: RerankRequest, models: TheModels) -> Response:
    """The form of Jina and Cohere: `{"results":[{"index","relevance_score","document"?}],…}`."""
    return _json(await models.rerank(body))


@models_api.get("/models", summary="The models that this caller may use")
@policy("read")
async def list_models(request: Request, models: TheModels, caller: TheCaller) -> Response:
    """The embedding model, the reranker if one is set, and a chat model for each collection that the caller may see."""
    return _json({"object": "list", "data": await _entries(request, models, caller)})


@models_api.get("/models/{model:path}", summary="One of the models")
@policy("read")
async def model(model: str, request: Request, models: TheModels, caller: TheCaller) -> Response:
    """An entry of the list."""
    for entry in await _entries(request, models, caller):
        if model in (entry["id"], entry.get("root")):
            return _json(entry)
    raise _no_model(model)


async def _entries(request: Request, models: Models, caller: Caller) -> list[wire.Json]:
    service: Service | None = getattr(request.app.state, "service", None)
    chat = [] if service is None else [model_json(name) for name in await _chat_models(service, caller)]
    return [*chat, *await models.entries()]


async def _chat_models(service: Service, caller: Caller) -> dict[str, str]:
    """Model name → collection, of those that the caller may see."""
    seen = [name for name in await service.read(service.engine.collections) if caller.sees(name)]
    own = service.engine.collection
    named = {CHAT_MODEL: own} if caller.sees(own) else {}
    return named | {f"{CHAT_MODEL}:{name}": name for name in seen}


@chat_api.post("/chat/completions", summary="Answer the last message from the documents")
@policy("read", body_bytes=CHAT_BODY_BYTES, cost=ANSWER_COST)
async def chat_completions(
    body: ChatRequest, request: Request, service: TheService, caller: TheCaller
) -> Response:
    """A completion or its chunks; `citations`, `grounded`, `degraded`, `memories` and `ignored` stand beside them."""
    if body.stream and not service.streaming:
        return problem(
            409, code="streaming_off", detail="Streaming is switched off.", hint="Send stream: false."
        )
    collection = (await _chat_models(service, caller)).get(body.model)
    if collection is None:
        raise _no_model(body.model)
    events = service.answer(body.asked(collection), caller)
    completion = Completion(body.model, ignored=body.ignored())
    if body.stream:
        await anext(events)  # the sources; what fails before them fails with its own status
        chunks = _chunks(completion, events, usage=body.usage_wanted)
        return EventStream(chunks, error_frame=_error_frame)
    answer = await whole_answer(events, request)
    return Response(status_code=499) if answer is None else _json(completion.whole(answer))


async def _chunks(
    completion: Completion, events: AsyncGenerator[AnswerEvent, None], *, usage: bool
) -> AsyncGenerator[bytes, None]:
    """An answer without its first event as the chunks of a completion, then `[DONE]`; the sources come at the end."""
    yield _frame(completion.chunk({"role": "assistant", "content": ""}, usage=usage))
    streamed = ""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, AnswerToken):
                streamed += event.text
                yield _frame(completion.chunk({"content": event.text}, usage=usage))
            elif isinstance(event, AnswerDone):
                for chunk in completion.last_chunks(event.answer, streamed=streamed, usage=usage):
                    yield _frame(chunk)
                yield b"data: [DONE]\n\n"


def _error_frame(error: Exception) -> bytes:
    """What OpenAI's clients raise as an error."""
    return _frame(error_body(error_event(error)))


def _frame(data: wire.Json) -> bytes:
    return b"data: " + wire.encode(data) + b"\n\n"


def _no_model(model: str) -> NotFoundError:
    return NotFoundError(
        f"There is no model {model!r}.", hint="GET /v1/models lists what there is.", code="model_not_found"
    )


def _json(value: wire.Json) -> Response:
    return Response(wire.encode(value), media_type="application/json")
