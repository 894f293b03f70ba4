"""The description of the interface: OpenAPI JSON, and a page of our own that shows it."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ragstone import wire
from ragstone.server.access import policy
from ragstone.server.replies import Problem

description = APIRouter(include_in_schema=False)


@description.get("/api/openapi.json")
@policy("open")
async def openapi(request: Request) -> Response:
    """The routes with their parameters, limits, answers and errors."""
    # In a thread: making it takes half a second, once.
    return JSONResponse(await asyncio.to_thread(described_api, request.app))


def described_api(app: FastAPI) -> wire.Json:
    """FastAPI's own description with problems in the place of its validation errors; made once."""
    if app.openapi_schema is None:
        found = app.openapi()
        schemas = found["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path in found["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)  # one of the 4XX
    return app.openapi_schema or app.openapi()
