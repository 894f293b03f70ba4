"""The API's routes: each reads a validated request, asks the service, and sends the record's JSON form."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from ragstone import wire
from ragstone.errors import InputError
from ragstone.server.access import ANSWER_COST, TheCaller, policy
from ragstone.server.problems import problem
from ragstone.server.requests import AskRequest, DocumentRequest, DocumentsRequest, SearchRequest
from ragstone.server.service import Service
from ragstone.server.streaming import EventStream, whole_answer

# The page shows a passage in its document; more text than this is cut around it, because a browser lays
# out 400,000 characters in about a second and a 50 MB log not at all.
WINDOW_CHARACTERS = 400_000

api = APIRouter(prefix="/api")
health = APIRouter(prefix="/health")


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]


@api.post("/ask", summary="Answer a question with checked citations")
@policy("read", cost=ANSWER_COST)
async def ask(body: AskRequest, request: Request, service: TheService, caller: TheCaller) -> Response:
    """`{"answer","citations","grounded","hits","degraded","timings_ms",…}`."""
    answer = await whole_answer(service.answer(body, caller), request)
    return Response(status_code=499) if answer is None else _json(wire.answer_json(answer))


@api.post("/ask/stream", summary="The same as server-sent events: source*, token*, then done or error")
@policy("read", cost=ANSWER_COST)
async def ask_stream(body: AskRequest, service: TheService, caller: TheCaller) -> Response:
    """Sources first, then the text as it is made, then the whole answer as `/api/ask` gives it."""
    if not service.streaming:
        return problem(
            409, code="streaming_off", detail="Streaming is switched off.", hint="Use POST /api/ask."
        )
    events = service.answer(body, caller)
    first = await anext(events)  # what fails before the first event fails with its own status
    return EventStream(first, events)


@api.get("/search", summary="The best passages for a query, without an answer")
@policy("read")
async def search(
    asked: Annotated[SearchRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """`{"hits","degraded","timings_ms"}`, best first."""
    return _json(wire.search_json(await service.search(asked, caller)))


@api.get("/stats", summary="Counts, sizes, model and latencies")
@policy("read")
async def stats(service: TheService, caller: TheCaller) -> Response:
    """Every key is always there, also for an empty collection."""
    return _json(wire.plain_json(await service.stats(caller)))


@api.get("/documents", summary="The indexed documents, a page at a time")
@policy("read")
async def documents(
    asked: Annotated[DocumentsRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """`{"documents","total","next_offset"}`; `next_offset` is null on the last page."""
    listed = await service.documents(caller)
    end = asked.offset + asked.limit
    return _json(
        {
            "documents": [wire.document_json(document) for document in listed[asked.offset : end]],
            "total": len(listed),
            "next_offset": end if end < len(listed) else None,
        }
    )


@api.get("/document", summary="One document's text, for showing a passage in its place")
@policy("read")
async def document(
    asked: Annotated[DocumentRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """`{"document","text","offset","length"}`: `text` begins at character `offset` of `length`.

    The text comes from the catalog, never from the file system.
    """
    info, text = await service.document(asked, caller)
    if asked.start > len(text):
        raise InputError(
            f"start {asked.start} is behind the document's {len(text)} characters.",
            hint="The document may have changed; search again.",
        )
    offset = max(0, min(asked.start - WINDOW_CHARACTERS // 2, len(text) - WINDOW_CHARACTERS))
    return _json(
        {
            "document": wire.document_json(info),
            "text": text[offset : offset + WINDOW_CHARACTERS],
            "offset": offset,
            "length": len(text),
        }
    )


@api.get("/index/progress", summary="How far the indexing that this service started is")
@policy("read")
async def progress(service: TheService, caller: TheCaller) -> Response:
    """`{"state","stage","done","total","per_second","seconds_left","failures",…}`."""
    return _json(service.progress(caller))


@health.get("/live", summary="200 while the process answers")
@policy("open")
async def live() -> Response:
    """Says only that the event loop turns."""
    return _json({"status": "ok"})


@health.get("/ready", summary="200 when requests should be sent here, else 503 and why")
@policy("open")
async def ready(service: TheService) -> Response:
    """Not ready while loading, after a failed load, and from the moment the service is told to stop."""
    reason = service.unready_reason()
    return _json({"status": "ok"}) if reason is None else _json({"status": "unready", **reason}, status=503)


@health.get("/startup", summary="200 once the start-up work is over, else 503")
@policy("open")
async def startup(service: TheService) -> Response:
    """Start-up is over when model and index were loaded, or failed to; `ready` says which."""
    return _json({"status": "ok"}) if service.warm else _json({"status": "starting"}, status=503)


def _json(value: Any, *, status: int = 200) -> Response:
    return Response(wire.encode(value), status, media_type="application/json")
