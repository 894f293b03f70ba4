"""What the world does to a connection: refused, busy, cut, silent, endless, garbled."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.conftest import Either
from client.scripted import Held, ScriptedServer, json_response, refusal, response, stream
from ragstone.client.asynchronous import AsyncClient
from ragstone.client.attempts import LONGEST_WAIT_S, attempts
from ragstone.client.blocking import Client
from ragstone.client.errors import ClientError, ServiceError
from ragstone.client.service import Service, service_at
from ragstone.client.steps import AnswerSource, Flow, HangUp, Pause, Step
from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.types import AnswerToken, Embedder
from server.live import DrippingModel, running, wait_until

EMPTY: dict[str, Any] = {"hits": [], "degraded": [], "timings_ms": {}}
SOURCE = {
    "n": 1, "id": 7, "uri": "a.md", "title": "A", "text": "a", "score": 0.5, "start": 0, "end": 1, "page": None,
    "time_s": None, "headings": [], "sources": {"dense": None}, "metadata": {}, "collection": "default",
}  # fmt: skip
DONE = {
    "answer": "So.", "citations": [], "grounded": True, "hits": [SOURCE], "degraded": [], "timings_ms": {},
    "model": "extractive", "usage": {"prompt_tokens": 0, "completion_tokens": 0}, "memories": [],
    "of a later version": 1,
}  # fmt: skip


def test_a_busy_service_is_asked_again(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(refusal(503, retry_after="0"), refusal(429, retry_after="0"), json_response(EMPTY))
    assert either(scripted.url).call("search", "x").hits == ()
    assert len(scripted.requests) == 3


def test_attempts_are_bounded_and_the_last_error_is_told(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(refusal(503, retry_after="0"))
    with pytest.raises(ServiceError, match="Not now") as refused:
        either(scripted.url, retries=2).call("search", "x")
    assert len(scripted.requests) == 3
    assert (refused.value.status, refused.value.hint, refused.value.request_id) == (503, "Later.", "r-1")
    assert refused.value.retry_after_s == 0


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"])
def test_a_cut_connection_is_made_again(either: Either, scripted: ScriptedServer, cut: bytes) -> None:
    scripted.plays(cut, json_response(EMPTY))
    assert either(scripted.url).call("search", "x").hits == ()


def test_what_would_act_twice_is_not_sent_again(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(b"")
    with pytest.raises(ClientError) as cut:
        either(scripted.url).call("upload", "a.md", b"text")
    assert cut.value.code == "cut"
    with pytest.raises(ClientError):
        either(scripted.url).call("index", ["/papers"])
    assert len(scripted.requests) == 2


def test_nobody_there_is_named(either: Either) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ClientError, match=str(port)) as unreachable:
        either(f"http://127.0.0.1:{port}", retries=1).call("search", "x")
    assert unreachable.value.code == "unreachable"
    assert "ragstone serve" in unreachable.value.hint


def test_a_silent_service_is_given_up_in_time(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(None)
    started_s = time.monotonic()
    with pytest.raises(ClientError) as late:
        either(scripted.url, timeout_s=0.1).call("search", "x")
    assert late.value.code == "timeout"
    assert time.monotonic() - started_s < 5
    assert scripted.left.wait(10)
    assert len(scripted.requests) == 1


def test_a_body_that_stops_coming_is_given_up_in_time(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(Held(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"))
    with pytest.raises(ClientError) as late:
        either(scripted.url, timeout_s=0.1).call("search", "x")
    assert late.value.code == "timeout"
    assert scripted.left.wait(10)


def test_a_service_that_is_not_ready_is_no_error(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(response(503, b'{"status":"unready"}', "Content-Type: application/json"))
    assert either(scripted.url).call("ready") is False
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        response(200, b"<html>"),
        json_response([1, 2]),
        json_response({"hits": [{}], "degraded": [], "timings_ms": {}}),
    ],
)
def test_another_language_is_said_to_be_one(either: Either, scripted: ScriptedServer, answer: bytes) -> None:
    scripted.plays(answer)
    with pytest.raises(ClientError) as garbled:
        either(scripted.url).call("search", "x")
    assert garbled.value.code == "protocol"
    assert len(scripted.requests) == 1


def test_a_redirect_is_not_followed(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(response(302, b"", "Location: https://elsewhere.example/"))
    with pytest.raises(ServiceError) as moved:
        either(scripted.url, key="k-secret").call("search", "x")
    assert "elsewhere.example" in moved.value.hint


def test_the_key_is_sent_and_never_shown(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(json_response(EMPTY))
    client = either(f"{scripted.url}/beside/", key="k-secret")
    client.call("search", "c&d", top_k=3, collections=["a", "b"], filter="type:pdf", graph=False)
    request = scripted.requests[0]
    asked = b"q=c%26d&mode=hybrid&collection=a&collection=b&k=3&filter=type%3Apdf&graph=false"
    assert request.startswith(b"GET /beside/api/search?" + asked + b" HTTP/1.1\r\n")
    assert b"\r\nauthorization: bearer k-secret\r\n" in request.lower()
    assert "k-secret" not in repr(service_at(scripted.url, key="k-secret", timeout_s=1, retries=0))


@pytest.mark.parametrize(
    "url", ["ftp://x", "127.0.0.1:8000", "http://", "http://u:p@h", "http://h:99999", "http://h?q"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        Client(url)


def test_a_key_with_its_line_end_is_refused() -> None:
    with pytest.raises(InputError, match="key"):
        AsyncClient(key="abc\n")


def test_a_stream_cut_before_its_first_token_is_made_again(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(
        stream(("source", SOURCE)), stream(("source", SOURCE), ("token", {"text": "So."}), ("done", DONE))
    )
    kinds = [type(event).__name__ for event in either(scripted.url).listen("x")]
    assert kinds == ["AnswerSource", "AnswerToken", "AnswerDone"]
    assert len(scripted.requests) == 2


def test_a_stream_cut_after_its_first_token_says_so(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(stream(("source", SOURCE), ("token", {"text": "Because"})))
    with pytest.raises(ClientError, match="after 7 characters") as cut:
        either(scripted.url).listen("x")
    assert cut.value.code == "stream_cut"
    assert len(scripted.requests) == 1


def test_sources_that_changed_meanwhile_are_not_mixed(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(stream(("source", SOURCE)), stream(("source", {**SOURCE, "id": 8})))
    with pytest.raises(ClientError, match="documents changed"):
        either(scripted.url).listen("x")


def test_an_error_event_is_an_error(either: Either, scripted: ScriptedServer) -> None:
    told = {"status": 504, "code": "timeout", "detail": "Too long.", "hint": "Ask less.", "request_id": "r-2"}
    scripted.plays(stream(("token", {"text": "a"}), ("error", told)))
    with pytest.raises(ServiceError, match="Too long") as failed:
        either(scripted.url).listen("x")
    assert (failed.value.status, failed.value.code, failed.value.request_id) == (504, "timeout", "r-2")


@pytest.mark.parametrize(("tokens", "requests"), [(0, 2), (1, 1)])
def test_an_answer_that_the_service_stops_is_asked_for_again_before_its_first_token_only(
    either: Either, scripted: ScriptedServer, tokens: int, requests: int
) -> None:
    stopping = ("error", {"status": 503, "code": "stopping", "detail": "Stopping.", "hint": ""})
    scripted.plays(stream(*[("token", {"text": "a"})] * tokens, stopping), stream(("done", DONE)))
    if tokens:
        with pytest.raises(ServiceError, match="Stopping"):
            either(scripted.url).listen("x")
    else:
        assert len(either(scripted.url).listen("x")) == 1
    assert len(scripted.requests) == requests


def test_events_of_a_later_version_are_passed_over(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(stream(("thought", {"text": "hm"}), ("token", {"text": "So."}), ("done", DONE)))
    assert len(either(scripted.url).listen("x")) == 2


def test_a_silent_stream_is_given_up(either: Either, scripted: ScriptedServer) -> None:
    scripted.plays(None)
    with pytest.raises(ClientError) as late:
        either(scripted.url, timeout_s=0.1).listen("x")
    assert late.value.code == "timeout"


@pytest.fixture
def endless(tmp_path: Path, data_dir: Path, embedder: Embedder) -> Iterator[tuple[str, DrippingModel]]:
    """A service whose chat model talks for minutes."""
    model = DrippingModel(repeat=10_000)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        live.wait_ready()
        yield live.url, model


QUESTION = "Who finished the third lighthouse?"


def test_leaving_a_stream_stops_the_service(either: Either, endless: tuple[str, DrippingModel]) -> None:
    url, model = endless
    events = either(url).listen(QUESTION, until=lambda event: isinstance(event, AnswerToken))
    assert isinstance(events[0], AnswerSource)
    assert model.stopped.wait(5)


@pytest.mark.parametrize("how", ["stream", "whole"])
def test_cancelling_the_task_stops_the_service(endless: tuple[str, DrippingModel], how: str) -> None:
    url, model = endless

    async def run() -> None:
        client = AsyncClient(url)

        async def listen() -> None:
            async with client.ask_stream(QUESTION) as stream:
                async for _ in stream:
                    pass

        work: Any = listen() if how == "stream" else client.ask(QUESTION)
        task = asyncio.create_task(work)
        await asyncio.to_thread(wait_until, lambda: model.said > 0, "the model talks")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert model.stopped.wait(5)


def _pauses(service: Service, error: ClientError, *, idempotent: bool = True) -> list[float]:
    """The waits between the attempts of a call that always fails so."""

    def attempt() -> Flow[None]:
        yield HangUp()
        raise error

    steps: list[Step] = []
    try:
        flow = attempts(service, attempt, idempotent=idempotent)
        while True:
            steps.append(next(flow))
    except ClientError:
        return [step.seconds for step in steps if isinstance(step, Pause)]


def test_waits_grow_are_spread_and_follow_the_service() -> None:
    service = Service("http", "h", 80, "", "", 1.0, 3, jitter=lambda: 0.5)
    assert _pauses(service, ClientError("", code="cut")) == [0.125, 0.25, 0.5]
    assert _pauses(service, ServiceError("", status=429, retry_after_s=3)) == [3.125, 3.25, 3.5]
    assert _pauses(service, ServiceError("", status=503, retry_after_s=LONGEST_WAIT_S)) == []
    for final in (400, 401, 404, 409, 422, 500, 504, 507):
        assert _pauses(service, ServiceError("", status=final)) == []
    assert _pauses(service, ClientError("", code="timeout")) == []
    assert len(_pauses(service, ClientError("", code="unreachable"), idempotent=False)) == 3
    assert _pauses(service, ServiceError("", status=503, retry_after_s=0), idempotent=False) == []
    assert math.isclose(sum(_pauses(service, ClientError("", code="cut"))), 0.875)
