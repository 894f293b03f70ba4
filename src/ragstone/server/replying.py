"""What every router needs: the service, and JSON and problems as responses and in the description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from ragstone import wire
from ragstone.server.service import Service

T = TypeVar("T")

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "Refused, and why",
        "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}},
    },
    "5XX": {
        "description": "Failed, and why",
        "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}},
    },
}
"""What every route may answer besides."""

EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}
}


async def _service(request: Request) -> Service:  # a coroutine, so that no thread is asked
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]


def reply(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(wire.encode(value), status, media_type="application/json", headers=headers)


async def large_reply(service: Service, build: Callable[[], Any]) -> Response:
    """What `build` makes as JSON, made in a thread: a thousand entries would hold up the event loop for 20 ms."""
    return Response(await service.read(lambda: wire.encode(build())), media_type="application/json")


def described(model: type[BaseModel], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What a route answers, for `responses=`."""
    return {status: {"model": model, "description": (model.__doc__ or "").split("\n")[0]}}


def page(
    name: str, every: Sequence[T], form: Callable[[T], wire.Json], *, offset: int, limit: int
) -> wire.Json:
    """`{name: […], "total", "next_offset"}`: a page of `every`; `next_offset` is null on the last one."""
    end = offset + limit
    return {
        name: [form(item) for item in every[offset:end]],
        "total": len(every),
        "next_offset": end if end < len(every) else None,
    }
