"""Errors as `application/problem+json`: `{"status","title","code","detail","hint"}`, never with internals.

A ragstone error's status is found along its classes' order of resolution, so a new subclass is served
by its parent's row. Anything unexpected is logged with a reference, and only the reference is sent.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone import wire
from ragstone.deadlines import DeadlineError
from ragstone.errors import (
    CancelledError,
    DiskFullError,
    DocumentError,
    InputError,
    LockedError,
    MismatchError,
    ModelError,
    NoCollectionError,
    NotFoundError,
    RagstoneError,
    SettingsError,
    StoreError,
)
from ragstone.logs import request_id

logger = logging.getLogger("ragstone.server")

STATUS: Mapping[type[RagstoneError], int] = {
    NotFoundError: 404,
    InputError: 422,
    DocumentError: 422,
    LockedError: 409,
    MismatchError: 409,
    DiskFullError: 507,
    ModelError: 503,
    StoreError: 503,
    CancelledError: 503,
    SettingsError: 500,
    RagstoneError: 500,
}

RETRY_AFTER_S = 1  # a search takes milliseconds and an answer seconds: one second empties most queues
SHOWN_FIELD_ERRORS = 10  # a hostile body can have thousands of wrong fields; ten name the mistake
SHOWN_FIELD_CHARACTERS = 80  # field names come from outside; longer ones are not names


class BusyError(RagstoneError):
    """Every slot for this kind of work is taken; the same request works a moment later."""

    default_code = "busy"


class SearchDiedError(RagstoneError):
    """The process that searched ended, and so did the one that tried again."""

    default_code = "search_died"


class QueueFullError(RagstoneError):
    """The queue of jobs is full; there is room when some have ended."""

    default_code = "queue_full"


class TooLargeError(RagstoneError):
    """What was sent is larger than the service takes."""

    default_code = "too_large"


class StoppingError(RagstoneError):
    """The service is shutting down; the stream ends here."""

    default_code = "stopping"


class AnswerTimeoutError(RagstoneError):
    """The answer took longer than the service allows for one."""

    default_code = "timeout"


class RevokedError(RagstoneError):
    """The key that the request came with is not valid any more."""

    default_code = "key_required"


class SlowBodyError(RagstoneError):
    """The body comes too slowly."""

    default_code = "request_timeout"


_EDGE_STATUS: Mapping[type[RagstoneError], int] = {
    BusyError: 503,
    SearchDiedError: 503,
    DeadlineError: 504,
    RevokedError: 401,
    SlowBodyError: 408,
    QueueFullError: 429,
    TooLargeError: 413,
    StoppingError: 503,
    AnswerTimeoutError: 504,
}


_FOR_A_MOMENT = (BusyError, QueueFullError, SearchDiedError)


def status_of(error: RagstoneError) -> int:
    """The HTTP status of the nearest class that has one."""
    known = {**STATUS, **_EDGE_STATUS}
    return next(known[kind] for kind in type(error).__mro__ if kind in known)


def problem(
    status: int,
    *,
    code: str,
    detail: str,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    extra: wire.Json | None = None,
) -> Response:
    """One problem document as a response; `extra` members are added beside the fixed ones."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
        **_about_request(),
        **(extra or {}),
    }
    return Response(
        wire.encode(body), status, headers=dict(headers or {}), media_type="application/problem+json"
    )


def error_problem(error: RagstoneError) -> Response:
    """What the error says, as a response; with `Retry-After` where the same request works a moment later."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, _FOR_A_MOMENT) else {}
    told = _told(error)
    return problem(
        status_of(error), code=error.code, detail=told["detail"], hint=told["hint"], headers=headers
    )


def error_event(error: Exception) -> wire.Json:
    """The data of a stream's `error` event: the same members as a problem document."""
    if isinstance(error, RagstoneError):
        return {
            "status": status_of(error),
            "code": error.code,
            **_told(error),
            **_about_request(),
        }
    return {"status": 500, **_unexpected(error), **_about_request()}


def invalid_input(errors: Sequence[Any]) -> tuple[str, list[wire.Json]]:
    """What pydantic's errors say, in a sentence, and as `[{"field","message"}]`, the first ten."""
    fields = [
        {"field": _field_name(entry["loc"]), "message": str(entry["msg"])}
        for entry in errors[:SHOWN_FIELD_ERRORS]
    ]
    detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in fields)
    return detail or "The request is not valid.", fields


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every expected way a request can fail into a problem document.

    `app.state.declared_routes` are the application's routes.
    """
    app.add_exception_handler(RagstoneError, _ragstone_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(HTTPException, _http_problem)


class UnexpectedErrors:
    """Answers what nothing else handles with a reference and logs the rest; ASGI, around the application.

    In the framework's own place for this the error would be raised on and logged a second time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:
            if started or scope["type"] != "http":
                raise  # too late for an answer: the connection is closed, which the client sees
            told = _unexpected(error)
            await problem(500, code=told["code"], detail=told["detail"], hint=told["hint"])(
                scope, receive, send
            )


async def _ragstone_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RagstoneError)  # noqa: S101 - registered for this class only
    return error_problem(error)


async def _validation_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    detail, fields = invalid_input(error.errors())
    return problem(
        422,
        code="invalid_input",
        detail=detail,
        hint="See /api/openapi.json for the parameters and their limits.",
        extra={"errors": fields},
    )


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    return problem(error.status_code, code=code, detail=str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """Those of the path, of all its routes together: the framework names only those of the first (RFC 9110, 15.5.6)."""
    serving = [
        route
        for route in request.app.state.declared_routes
        if route.matches(request.scope)[0] is not Match.NONE
    ]
    return sorted({method for route in serving for method in getattr(route, "methods", None) or ()})


def _told(error: RagstoneError) -> dict[str, str]:
    """What the caller may know. A collection that is missing and one that is another's read the same."""
    if isinstance(error, NoCollectionError):
        return {"detail": "There is no such collection.", "hint": "Make one with: ragstone index FOLDER"}
    return {"detail": error.message, "hint": error.hint}


def _about_request() -> dict[str, str]:
    known = request_id.get()
    return {"request_id": known} if known else {}


def _unexpected(error: Exception) -> wire.Json:
    reference = secrets.token_hex(4)
    logger.error("unexpected error, reference %s", reference, exc_info=error)
    return {
        "code": "internal",
        "detail": f"Something failed that should not (reference {reference}).",
        "hint": "The service's log has the details under this reference.",
    }


def _field_name(location: tuple[int | str, ...]) -> str:
    """`("body", "history", 0, "role")` → `history.0.role`, cut to a readable length."""
    return ".".join(str(part) for part in location[1:])[:SHOWN_FIELD_CHARACTERS] or "body"
