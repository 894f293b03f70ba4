"""A streamed answer as a flow that emits events: `source`*, `token`*, then `done` or `error`.

A connection that breaks before the first token is made again; after it, that is an error which says so, because the
next answer may have other words. Sources that came twice are emitted once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ragstone.client import decoding
from ragstone.client.attempts import attempts
from ragstone.client.errors import ClientError, ServiceError
from ragstone.client.exchange import Call, problem, request
from ragstone.client.server_sent_events import EventParser, ServerEvent
from ragstone.client.service import Service
from ragstone.client.steps import AnswerSource, Emit, Flow, HangUp
from ragstone.types import AnswerDone, AnswerToken


def answer_events(service: Service, call: Call) -> Flow[None]:
    """The flow of one answer. Raises `ClientError` (`stream_cut` after the first token) and `ServiceError`."""
    answer = _Answer()
    yield from attempts(
        service,
        lambda: _attempt(service, call, answer),
        idempotent=call.idempotent,
        may_repeat=lambda: answer.characters == 0,
    )


@dataclass(slots=True)
class _Answer:
    """What of an answer was emitted: hit ids by number, and how much text."""

    sources: dict[int, int] = field(default_factory=dict)
    characters: int = 0


def _attempt(service: Service, call: Call, answer: _Answer) -> Flow[None]:
    try:
        reply = yield from request(service, call, lambda: service.timeout_s)
        if reply.status != 200:
            raise (yield from problem(reply))
        parser = EventParser()
        while piece := (yield from reply.piece()):
            for event in parser.feed(piece):
                if (yield from _emitted(event, answer)):
                    yield HangUp()
                    return
        raise ClientError("the stream ended without its last event", hint="ask again", code="cut")
    except ServiceError:
        raise
    except ClientError as error:
        if answer.characters == 0:
            raise
        raise ClientError(
            f"the stream broke after {answer.characters} characters of the answer: {error.message}",
            hint="ask again; what arrived is not the whole answer, and its citations are not checked",
            code="stream_cut",
        ) from error


def _emitted(event: ServerEvent, answer: _Answer) -> Flow[bool]:
    """Emit one event; whether it was the last. Names of later versions are passed over."""
    if event.name not in {"source", "token", "done", "error"}:
        return False
    data = _members(event)
    with decoding.refused():
        match event.name:
            case "source":
                source = AnswerSource(int(data["n"]), decoding.hit(data))
            case "token":
                token = AnswerToken(str(data["text"]))
            case "done":
                done = AnswerDone(decoding.answer(data))
    if event.name == "error":
        raise ServiceError(
            str(data.get("detail") or "the service broke the answer off"),
            hint=str(data.get("hint") or ""),
            code=str(data.get("code") or "service"),
            status=int(data.get("status") or 500),
            request_id=str(data.get("request_id") or ""),
        )
    if event.name == "done":
        yield Emit(done)
        return True
    if event.name == "token":
        answer.characters += len(token.text)
        yield Emit(token)
        return False
    before = answer.sources.setdefault(source.n, -1)
    if before == -1:
        answer.sources[source.n] = source.hit.id
        yield Emit(source)
    elif before != source.hit.id:
        raise ClientError(
            "the documents changed while the stream was made again", hint="ask again", code="stream_cut"
        )
    return False


def _members(event: ServerEvent) -> Mapping[str, Any]:
    try:
        found = json.loads(event.data)
    except ValueError as error:
        raise ClientError(f"the data of {event.name} is not JSON", code="protocol") from error
    if not isinstance(found, dict):
        raise ClientError(f"the data of {event.name} is not an object", code="protocol")
    return found
