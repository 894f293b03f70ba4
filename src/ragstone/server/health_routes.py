"""Whether the process answers, whether requests should be sent here, whether the start is over."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ragstone.server.access import policy
from ragstone.server.replies import Health
from ragstone.server.replying import TheService, described, reply

_UNWELL = described(Health, 503)

health = APIRouter(prefix="/health")


@health.get("/live", summary="200 while the process answers", responses=described(Health))
@policy("open")
async def live() -> Response:
    """Says only that the event loop turns."""
    return reply({"status": "ok"})


@health.get(
    "/ready",
    summary="200 when requests should be sent here, else 503 and why",
    responses={**described(Health), **_UNWELL},
)
@policy("open")
async def ready(service: TheService) -> Response:
    """Not ready while loading, after a failed load, without a collection, and once the service is told to stop."""
    checks, reason = await service.health()
    if reason is None:
        return reply({"status": "ok", "checks": checks})
    return reply({"status": "unready", "checks": checks, **reason}, status=503)


@health.get(
    "/startup",
    summary="200 once the start-up work is over, else 503",
    responses={**described(Health), **_UNWELL},
)
@policy("open")
async def startup(service: TheService) -> Response:
    """Start-up is over when model and index were loaded, or failed to; `ready` says which."""
    return reply({"status": "ok"}) if service.warm else reply({"status": "starting"}, status=503)
