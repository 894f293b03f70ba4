"""Errors of `/v1` in OpenAI's form: `{"error": {"message","type","param","code"}}`.

Whatever refuses a request, the boundary, the door or a route, answers with a problem document; on the way out those of
`/v1` are put into the form that OpenAI's clients read. A place that refuses needs not know which interface it serves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragstone import wire

PREFIX = "/v1/"

# What OpenAI's service sends for each status; clients choose their exception by the status, people read the type.
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


_ERROR_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
OPENAI_ERRORS: dict[int | str, dict[str, Any]] = {
    kind: {"description": description, "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
    for kind, description in (("4XX", "Refused, and why"), ("5XX", "Failed, and why"))
}
"""What every route below `/v1/` may answer besides, for `responses=`."""


class OpenAIErrors:
    """Rewrites problem documents that answer requests below `/v1/`; ASGI, outside of all that may refuse."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        held: Message | None = None
        parts: list[bytes] = []

        async def translated(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _is_problem(message):
                held = message
            elif held is None:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    await _send_translated(send, held, b"".join(parts))

        await self._app(scope, receive, translated)


def error_body(problem: wire.Json) -> wire.Json:
    """The error object for the members of a problem document (`status`, `code`, `detail`, `hint`, `errors`)."""
    status = int(problem.get("status", 500))
    fields = problem.get("errors") or [{}]
    hint = problem.get("hint", "") if status != 422 or not problem.get("errors") else ""
    return {
        "error": {
            "message": " ".join(part for part in (str(problem.get("detail", "")), str(hint)) if part),
            "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
            "param": fields[0].get("field"),
            "code": problem.get("code"),
        }
    }


def _is_problem(start: Message) -> bool:
    return MutableHeaders(scope=start).get("content-type", "").startswith("application/problem+json")


async def _send_translated(send: Send, start: Message, problem: bytes) -> None:
    body = wire.encode(error_body(json.loads(problem)))
    headers = MutableHeaders(scope=start)
    headers["content-type"] = "application/json"
    headers["content-length"] = str(len(body))
    # OpenAI says 400 of a request that it cannot read; clients have no use for the difference.
    status = 400 if start["status"] == 422 else start["status"]
    await send({**start, "status": status})
    await send({"type": "http.response.body", "body": body, "more_body": False})
