"""The application: routes and boundary put together over one engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ragstone.engine import Ragstone
from ragstone.server.access import policy
from ragstone.server.admission import Admission
from ragstone.server.boundary import BoundedBody, Crowd, SecurityHeaders
from ragstone.server.door import Door
from ragstone.server.indexing import BackgroundIndexing
from ragstone.server.origins import Origins
from ragstone.server.page import page_routes
from ragstone.server.patience import Patience
from ragstone.server.problems import UnexpectedErrors, add_problem_handlers
from ragstone.server.request_log import RequestLog
from ragstone.server.routes import api, health
from ragstone.server.service import Service
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
) -> FastAPI:
    """The ASGI application over `engine`, which the caller opened and closes.

    `paths` are indexed in the background once it has started; without `admission` it answers to this machine, without
    keys. `streaming=False` refuses `/api/ask/stream`. What has not been answered after `answer_limit_s` seconds is cut.
    """
    admission = admission or Admission()
    indexing = BackgroundIndexing(engine, paths)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(engine, indexing=indexing, streaming=streaming, answer_limit_s=answer_limit_s)
        app.state.service = service
        start = asyncio.create_task(service.start())
        try:
            yield
        finally:
            start.cancel()
            service.close()
            await asyncio.to_thread(indexing.join, INDEXING_END_S)
            await asyncio.to_thread(admission.rates.close)

    routers = (api, health, page_routes(), _description_routes())
    routes = [route for router in routers for route in router.routes]
    app = _Application(
        title="ragstone",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,  # every route comes by the routers, where it declares its policy
        middleware=[
            Middleware(RequestLog),
            Middleware(UnexpectedErrors),
            Middleware(
                Origins, hosts=admission.hosts, any_address=admission.any_address, origins=admission.origins
            ),
            Middleware(Crowd),
            Middleware(
                Door,
                routes=routes,
                identity=admission.identity,
                rates=admission.rates,
            ),
            Middleware(Patience, timeout_s=answer_limit_s),
            Middleware(BoundedBody),
        ],
    )
    app.state.declared_routes = routes
    add_problem_handlers(app)
    for router in routers:
        app.include_router(router)
    return app


def _description_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/api/openapi.json")
    @policy("open")
    async def description(request: Request) -> Response:
        """The routes with their parameters and limits."""
        app: FastAPI = request.app
        return JSONResponse(app.openapi())

    return router


class _Application(FastAPI):
    """FastAPI with the security headers outside of everything, its own error responses included."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(super().build_middleware_stack())
