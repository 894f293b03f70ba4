"""`/ws/chat`: asking over a WebSocket. One connection is one session, which remembers what was said in it.

Messages are JSON objects with a `type`, in text frames. The client sends

    {"type": "ask", "question": …, "question_id": "1", "k": …, "filter": …, "collection": …, "history": […]}
    {"type": "cancel"}                    {"type": "ping"}

and is sent `session` once, then for each question `source`*, `token*` and one of `done`, `error`, `cancelled`, with the
fields of `/api/ask/stream` beside `type` and `question_id`; `pong`; and `error` before the service ends it all.
A question takes the session's conversation with it unless it brings a `history` of its own. A `cancel` that crosses
the last event of its answer is not answered.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from ragstone import wire
from ragstone.errors import InputError, RagstoneError
from ragstone.server.access import ANSWER_COST, MAX_BODY_BYTES, Caller, caller_of, policy
from ragstone.server.problems import (
    RETRY_AFTER_S,
    BusyError,
    StoppingError,
    error_event,
    invalid_input,
    problem,
)
from ragstone.server.rates import Rates
from ragstone.server.requests import MAX_TURN_CHARACTERS, MAX_TURNS, AskRequest, TurnModel
from ragstone.server.service import Service
from ragstone.server.streaming import SEND_TIMEOUT_S
from ragstone.types import Answer, AnswerDone

SUBPROTOCOL = "ragstone"
NORMAL, TOO_BIG, SERVICE_RESTART = 1000, 1009, 1012  # RFC 6455 7.4.1 and IANA's registry of close codes


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """What conversations may take: how many at once, and how long one may rest, in seconds."""

    connections: int = 64  # an idle one costs some 40 KB; running answers are bounded by their threads
    idle_s: float = 300.0


class AskMessage(AskRequest):
    """A question; `question_id` comes back with every event of its answer."""

    type: Literal["ask"]
    question_id: Annotated[str, StringConstraints(max_length=64)] = ""


class _Cancel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["cancel"]


class _Ping(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["ping"]


_MESSAGE: TypeAdapter[AskMessage | _Cancel | _Ping] = TypeAdapter(
    Annotated[AskMessage | _Cancel | _Ping, Field(discriminator="type")]
)

chat = APIRouter()


@chat.websocket("/ws/chat")
@policy("read")
async def converse(socket: WebSocket) -> None:
    """A conversation, until either side ends it; refused with 503 when there are too many."""
    chats: Chats = socket.app.state.chats
    service: Service = socket.app.state.service
    try:
        with chats.place():
            await _Session(socket, service, caller_of(socket), chats).run()
    except BusyError as error:
        refusal = problem(
            503,
            code=error.code,
            detail=error.message,
            hint=error.hint,
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
        await socket.send_denial_response(refusal)


class Chats:
    """The open conversations of a service, counted, and what they may ask; on the loop only."""

    def __init__(self, limits: ChatLimits, rates: Rates) -> None:
        self.limits = limits
        self.rates = rates
        self.open = 0  # how many there are now
        self._none_open = asyncio.Event()
        self._none_open.set()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one conversation; raises `BusyError` when all are taken."""
        if self.open >= self.limits.connections:
            raise BusyError(
                f"All {self.limits.connections} places for conversations are taken.",
                hint="Ask by POST /api/ask, or try again later.",
            )
        self.open += 1
        self._none_open.clear()
        try:
            yield
        finally:
            self.open -= 1
            if not self.open:
                self._none_open.set()

    async def ended(self, timeout_s: float) -> None:
        """Wait until no conversation is open, or for `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._none_open.wait()


class _Session:
    """One connection: what was said in it, and the answer that runs."""

    def __init__(self, socket: WebSocket, service: Service, caller: Caller, chats: Chats) -> None:
        self._socket = socket
        self._service = service
        self._caller = caller
        self._idle_s = chats.limits.idle_s
        self._rates = chats.rates
        self._turns: tuple[TurnModel, ...] = ()
        self._asked = ""
        self._answer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the connection until the client leaves or takes nothing, rests too long, or the service stops."""
        stop = asyncio.create_task(self._service.stopping.wait())
        try:
            # A browser that offers subprotocols, to bring a key, takes no connection that chooses none of them.
            offered = self._socket.scope["subprotocols"]
            await self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await self._send("session", {"session": secrets.token_hex(8), "idle_s": self._idle_s})
            await self._serve(stop)
        except (OSError, TimeoutError, WebSocketDisconnect):
            return  # the client is gone or takes nothing: there is nobody left to tell
        finally:
            stop.cancel()
            await self._stop_answer()

    async def _serve(self, stop: asyncio.Task[Any]) -> None:
        received = asyncio.create_task(self._socket.receive())
        try:
            while True:
                await self._wait(received, stop)
                if self._answer is not None and self._answer.done():
                    ended, self._answer = self._answer, None
                    ended.result()  # raises what kept it from telling the client
                elif self._answer is None and stop.done():
                    return await self._end(SERVICE_RESTART, StoppingError("The service is shutting down."))
                elif received.done():
                    message = received.result()
                    if message["type"] == "websocket.disconnect":
                        return None
                    text = message.get("text")
                    if len((text or "").encode("utf-8", "replace")) > MAX_BODY_BYTES:
                        error = InputError(f"A message may have {MAX_BODY_BYTES} bytes.", code="too_large")
                        return await self._end(TOO_BIG, error)
                    await self._take(text)
                    received = asyncio.create_task(self._socket.receive())
                elif self._answer is None:
                    error = InputError(f"Nothing was asked for {self._idle_s:g} s.", code="idle")
                    return await self._end(NORMAL, error)
        finally:
            received.cancel()
            await asyncio.wait({received})

    async def _wait(self, received: asyncio.Task[Any], stop: asyncio.Task[Any]) -> None:
        """Until a message, the end of the answer, or, while none runs, the service's stop or `idle_s` of rest."""
        if (
            self._answer is not None
        ):  # it has its own limit of time, and ends by itself when the service stops
            await asyncio.wait({received, self._answer}, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.wait({received, stop}, timeout=self._idle_s, return_when=asyncio.FIRST_COMPLETED)

    async def _take(self, text: str | None) -> None:
        """Do what a message says; `text` None stands for a binary one."""
        try:
            message = _MESSAGE.validate_json(text or "")
        except ValidationError as error:
            detail, fields = invalid_input(error.errors(include_url=False, include_context=False))
            told = {"status": 422, "code": "invalid_input", "detail": detail, "errors": fields}
            await self._send(
                "error", {**told, "hint": "See docs/page.md for the messages.", "question_id": ""}
            )
            return
        match message:
            case _Ping():
                await self._send("pong", {})
            case _Cancel():
                if await self._stop_answer():
                    await self._send("cancelled", {"question_id": self._asked})
            case AskMessage() if self._answer is not None:
                busy = BusyError("An answer is under way.", hint="Wait for it, or cancel it.")
                await self._send("error", {**error_event(busy), "question_id": message.question_id})
            case AskMessage() if wait_s := await self._too_soon():
                told = {"status": 429, "code": "too_many_requests", "detail": "This key has asked too often."}
                hint = f"Try again in {math.ceil(wait_s)} s."
                await self._send("error", {**told, "hint": hint, "question_id": message.question_id})
            case AskMessage():
                self._asked = message.question_id
                self._answer = asyncio.create_task(self._answering(message))

    async def _too_soon(self) -> float:
        """Seconds until the caller may ask again, 0 now: a question costs as much as over HTTP."""
        if not self._caller.id:
            return 0.0
        return await self._rates.take(f"key:{self._caller.id}", ANSWER_COST)

    async def _answering(self, asked: AskMessage) -> None:
        """Send the events of one answer; raises only what keeps the client from being told."""
        if "history" not in asked.model_fields_set:
            asked = asked.model_copy(update={"history": self._turns})
        try:
            async with aclosing(self._service.answer(asked, self._caller)) as events:
                async for event in events:
                    for name, data in wire.answer_events_json(event):
                        await self._send(name, {**data, "question_id": asked.question_id})
                    if isinstance(event, AnswerDone):
                        self._remember(asked, event.answer)
        except (OSError, TimeoutError, WebSocketDisconnect):
            raise
        except Exception as error:  # noqa: BLE001 - told to the client and, if unexpected, logged
            await self._send("error", {**error_event(error), "question_id": asked.question_id})

    def _remember(self, asked: AskMessage, answer: Answer) -> None:
        said = (
            TurnModel(role="user", text=asked.question),
            TurnModel(role="assistant", text=answer.text[:MAX_TURN_CHARACTERS]),
        )
        self._turns = (*asked.history, *said)[-MAX_TURNS:]

    async def _stop_answer(self) -> bool:
        """End the running answer, which ends its model call; False if it had come to its own end."""
        running, self._answer = self._answer, None
        if running is None:
            return False
        running.cancel()
        await asyncio.wait({running})
        return running.cancelled() or running.exception() is not None

    async def _end(self, code: int, error: RagstoneError) -> None:
        await self._send("error", {**error_event(error), "question_id": ""})
        await self._socket.close(code, error.code)

    async def _send(self, name: str, data: wire.Json) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send_text(wire.encode({"type": name, **data}).decode())
        except RuntimeError as error:  # the server below has closed it: a message too long, no sign of life
            raise WebSocketDisconnect(TOO_BIG) from error
