"""The application of a model server: `/v1/models`, `/v1/embeddings`, `/v1/rerank` and health, over one embedding model.

The routes and the boundary are those of the service; what needs documents is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response

from ragstone.server.access import policy
from ragstone.server.admission import Admission
from ragstone.server.boundary import SecurityHeaders
from ragstone.server.middleware import NO_TELEMETRY, boundary
from ragstone.server.models import Models
from ragstone.server.openai_routes import models_api
from ragstone.server.problems import add_problem_handlers
from ragstone.types import Embedder
from ragstone.version import __version__

LIMIT_S = 60.0  # 2,048 passages take a tenth of it on two cores


def create_model_app(
    embedder: Embedder, *, name: str, admission: Admission | None = None, limit_s: float = LIMIT_S
) -> FastAPI:
    """The ASGI application over `embedder`, which the caller opened and closes; clients call it `name`.

    Without `admission` it answers to this machine, without keys. What has not been answered after `limit_s` is cut.
    """
    admission = admission or Admission()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.models = Models(lambda: embedder, name=name)
        try:
            yield
        finally:
            app.state.models.close()
            await asyncio.to_thread(admission.rates.close)

    routers = (models_api, _health_routes())
    routes = [route for router in routers for route in router.routes]
    app = FastAPI(
        title="ragstone model server",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,
        telemetry=NO_TELEMETRY,
        middleware=[Middleware(SecurityHeaders), *boundary(admission, routes, timeout_s=limit_s)],
    )
    app.state.declared_routes = routes
    add_problem_handlers(app)
    for router in routers:
        app.include_router(router)
    return app


def _health_routes() -> APIRouter:
    """All say the same: a worker loads its model before it listens."""
    router = APIRouter(prefix="/health")

    @policy("open")
    async def healthy() -> Response:
        """200 while the process answers."""
        return JSONResponse({"status": "ok"})

    for path in ("/live", "/ready", "/startup"):
        router.add_api_route(path, healthy, methods=["GET"])
    return router
