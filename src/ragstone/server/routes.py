"""The API's routes: each reads a validated request, asks the service, and sends the record's JSON form."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from ragstone import wire
from ragstone.explaining import explain as explain_document
from ragstone.monitoring.prometheus import CONTENT_TYPE
from ragstone.server.access import ANSWER_COST, TheCaller, policy
from ragstone.server.change_requests import ExplainRequest, InCollection, RetrieveRequest
from ragstone.server.more_replies import Explanation, Retrieved
from ragstone.server.problems import problem
from ragstone.server.replies import Answered, Caches, Found, Removed, Stats
from ragstone.server.replying import EVENTS, PROBLEMS, TheService, described, reply
from ragstone.server.requests import AskRequest, SearchRequest
from ragstone.server.streaming import EventStream, answer_frames, whole_answer
from ragstone.server.tuning_routes import tuning_json

api = APIRouter(prefix="/api", responses=PROBLEMS)


@api.post("/ask", summary="Answer a question with checked citations", responses=described(Answered))
@policy("read", cost=ANSWER_COST)
async def ask(body: AskRequest, request: Request, service: TheService, caller: TheCaller) -> Response:
    """`{"answer","citations","grounded","hits","degraded","timings_ms",…}`."""
    answer = await whole_answer(service.answer(body, caller), request)
    return Response(status_code=499) if answer is None else reply(wire.answer_json(answer))


@api.post(
    "/ask/stream",
    summary="The same as server-sent events: source*, token*, then done or error",
    responses=EVENTS,
)
@policy("read", cost=ANSWER_COST)
async def ask_stream(body: AskRequest, service: TheService, caller: TheCaller) -> Response:
    """Sources first, then the text as it is made, then the whole answer as `/api/ask` gives it."""
    if not service.streaming:
        return problem(
            409, code="streaming_off", detail="Streaming is switched off.", hint="Use POST /api/ask."
        )
    events = service.answer(body, caller)
    first = await anext(events)  # what fails before the first event fails with its own status
    return EventStream(answer_frames(first, events))


@api.get("/search", summary="The best passages for a query, without an answer", responses=described(Found))
@policy("read")
async def search(
    asked: Annotated[SearchRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """`{"hits","degraded","timings_ms"}`, best first."""
    return Response(await service.search(asked, caller), media_type="application/json")


@api.get("/stats", summary="Counts, sizes, model, latencies and tuning", responses=described(Stats))
@policy("read")
async def stats(asked: Annotated[InCollection, Query()], service: TheService, caller: TheCaller) -> Response:
    """Every key is always there, also for an empty collection."""
    found = await service.stats(caller, asked.collection)
    return reply({**wire.plain_json(found), "tuning": await tuning_json(service, found.collection)})


@api.get(
    "/explain", summary="Why a document is, or is not, among a query's hits", responses=described(Explanation)
)
@policy("read")
async def explain(
    asked: Annotated[ExplainRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """Where the document's best passage stands in each mode, and what keeps it out."""
    name = service.named(asked.collection, caller)
    found = await service.read(
        lambda: explain_document(
            service.engine, asked.q, asked.uri, top_k=asked.k, filter=asked.filter or None, collection=name
        )
    )
    parts = {
        "document": wire.document_json(found.document),
        "best": None if found.best is None else wire.hit_json(found.best),
    }
    return reply({**wire.plain_json(found), **parts})


@api.post(
    "/retrieve", summary="Several sources at once, each with a deadline", responses=described(Retrieved)
)
@policy("read")
async def retrieve(body: RetrieveRequest, service: TheService, caller: TheCaller) -> Response:
    """What passages, names, other collections and memory hold; what was late or failed is in `degraded`."""
    # The sources look into every collection, so all of them have to be the caller's.
    service.check(caller, service.engine.collection, *await service.read(service.engine.collections))
    return reply(await service.retrieval.fetch(body))


@api.get("/caches", summary="What is kept, in numbers", responses=described(Caches))
@policy("read")
async def caches(service: TheService) -> Response:
    """Hits, misses and sizes of each cache."""
    return reply({"caches": wire.plain_json(await service.caches())})


@api.delete("/caches", summary="Drop every kept answer and search result", responses=described(Removed))
@policy("admin")
async def drop_caches(service: TheService) -> Response:
    """In the shared cache too; 503 when that does not answer."""
    before = await service.caches()
    await service.changes.run(service.searches.forget_caches)
    return reply(
        {"removed": sum(before[name]["entries"] for name in ("answers", "searches") if name in before)}
    )


@api.get("/monitor", summary="What operations took, in this process")
@policy("read")
async def monitor(service: TheService) -> Response:
    """The monitor's report: see docs/monitoring.md for every name."""
    return reply(await service.read(service.engine.monitor.report))


metrics = APIRouter(responses=PROBLEMS)


@metrics.get(
    "/metrics",
    summary="Figures for Prometheus, where enable_metrics is set",
    responses={200: {"description": "Text", "content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}},
)
@policy("read")
async def metrics_text(service: TheService) -> Response:
    """The engine's operations, the service's requests, and the process."""
    if not service.engine.settings.enable_metrics:
        raise HTTPException(404, "Metrics are switched off: the setting is enable_metrics.")
    text = await service.read(lambda: service.engine.metrics_text() + service.metrics.text())
    return Response(text, media_type=CONTENT_TYPE)
