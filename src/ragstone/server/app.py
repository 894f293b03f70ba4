"""The application: routes and boundary put together over one engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from ragstone.engine import Ragstone
from ragstone.errors import SettingsError
from ragstone.server.admission import Admission
from ragstone.server.boundary import SecurityHeaders
from ragstone.server.chat_socket import ChatLimits, Chats, chat
from ragstone.server.description import description
from ragstone.server.documents_routes import documents
from ragstone.server.health_routes import health
from ragstone.server.jobs_routes import jobs
from ragstone.server.mcp_route import McpHandling, mcp_api
from ragstone.server.memory_routes import memory
from ragstone.server.metrics import Measured, ServiceMetrics
from ragstone.server.middleware import NO_TELEMETRY, boundary
from ragstone.server.models import Models
from ragstone.server.openai_routes import chat_api, models_api
from ragstone.server.page import page_routes
from ragstone.server.page_images import PageImages, page_images
from ragstone.server.problems import add_problem_handlers
from ragstone.server.routes import api, metrics
from ragstone.server.service import Service
from ragstone.server.shedding import FullLane, LoadShedding
from ragstone.server.tuning_routes import tuning
from ragstone.server.webhooks import MAKE_SECRET, Webhooks
from ragstone.settings import Settings
from ragstone.version import __version__

ANSWER_LIMIT_S = 60.0  # FEATURES, reference defaults: stream timeout
INDEXING_END_S = (
    5.0  # a batch of embeddings takes about a second; indexing looks for the stop between batches
)


def create_app(
    engine: Ragstone,
    *,
    paths: Sequence[str | Path] = (),
    admission: Admission | None = None,
    streaming: bool = True,
    answer_limit_s: float = ANSWER_LIMIT_S,
    chat_limits: ChatLimits | None = None,
    search_processes: int = 0,
) -> FastAPI:
    """The ASGI application over `engine`, which the caller opened and closes.

    `paths` are indexed in the background once it has started, and may be indexed again by request; without `admission`
    it answers to this machine, without keys. `streaming=False` refuses `/api/ask/stream`. What has not been answered
    after `answer_limit_s` seconds is cut. `search_processes` search beside this one, with the models that the engine's
    settings name. Raises `SettingsError` for a webhook without a secret.
    """
    admission = admission or Admission()
    seen = ServiceMetrics()
    webhooks = _webhooks(engine.settings, seen)
    service = partial(
        Service,
        engine,
        roots=paths,
        streaming=streaming,
        answer_limit_s=answer_limit_s,
        metrics=seen,
        webhooks=webhooks,
        search_processes=search_processes,
    )

    def check_room() -> None:
        app.state.service.searches.check_room()

    routers = _routers()
    routes = [route for router in routers for route in router.routes]
    app = _Application(
        title="ragstone",
        version=__version__,
        lifespan=lambda app: _serving(app, service(), admission, chat_limits or ChatLimits()),
        telemetry=NO_TELEMETRY,
        openapi_url=None,  # every route comes by the routers, where it declares its policy
        middleware=[
            Middleware(Measured, metrics=seen),
            *boundary(
                admission, routes, timeout_s=answer_limit_s, lanes=[Middleware(FullLane, check=check_room)]
            ),
        ],
    )
    app.state.declared_routes = routes
    app.state.shedding = LoadShedding(check=check_room, names=admission.names, metrics=seen)
    add_problem_handlers(app)
    for router in routers:
        app.include_router(router)
    return app


def _routers() -> tuple[APIRouter, ...]:
    """Every group of routes, in the order in which they are tried."""
    return (
        api,
        documents,
        jobs,
        memory,
        tuning,
        metrics,
        health,
        models_api,
        chat_api,
        mcp_api,
        chat,
        page_images,
        page_routes(),
        description,
    )


@asynccontextmanager
async def _serving(
    app: FastAPI, service: Service, admission: Admission, chat_limits: ChatLimits
) -> AsyncIterator[None]:
    """What requests find in the application's state, from its start to its end."""
    engine = service.engine
    models = Models(
        engine.embedder,
        name=engine.model,
        reranker=engine.reranker,
        rerank_batch=engine.settings.rerank_depth,
    )
    mcp = McpHandling(service, admission.rates, app.state.declared_routes)
    images = PageImages()
    app.state.service, app.state.models, app.state.mcp, app.state.page_images = service, models, mcp, images
    app.state.chats = Chats(chat_limits, admission.rates)
    start = asyncio.create_task(service.start())
    try:
        yield
    finally:
        start.cancel()
        await asyncio.wait([start])
        await mcp.close()
        await service.close(grace_s=INDEXING_END_S)
        models.close()
        await asyncio.to_thread(images.close)
        await asyncio.to_thread(admission.rates.close)


def _webhooks(settings: Settings, seen: ServiceMetrics) -> Webhooks | None:
    if settings.webhook_url is None:
        return None
    if settings.webhook_secret is None:
        raise SettingsError("webhook_url is set and webhook_secret is not", hint=MAKE_SECRET)
    return Webhooks(settings.webhook_url, settings.webhook_secret.get_secret_value(), outcome=seen.webhook)


class _Application(FastAPI):
    """FastAPI with the security headers outside of everything, its own error responses included."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(super().build_middleware_stack())
