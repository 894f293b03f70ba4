"""Conversations over `/ws/chat`, spoken by a real client."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from ragstone.engine import Ragstone
from ragstone.server.access import ANSWER_COST, MAX_BODY_BYTES
from ragstone.server.chat_socket import ChatLimits
from ragstone.types import Embedder
from server.keyed import HOURS, fill, keyed
from server.live import DrippingModel, LiveService, running, wait_until
from server.serving_process import serving_process

QUESTION = "Who finished the third lighthouse?"
LAST = {"done", "error", "cancelled"}


class Chat:
    """A client's side of one conversation."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.session = self.next()

    def send(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def next(self) -> Any:
        return json.loads(self.connection.recv(timeout=10))

    def until_last(self) -> list[Any]:
        """The events up to the one that ends an answer."""
        events = [self.next()]
        while events[-1]["type"] not in LAST:
            events.append(self.next())
        return events

    def closed(self) -> int | None:
        """The code with which the service closes."""
        with pytest.raises(ConnectionClosed) as closed:
            self.connection.recv(timeout=10)
        return closed.value.rcvd.code if closed.value.rcvd else None


@contextmanager
def chat(service: LiveService, **headers: str) -> Iterator[Chat]:
    url = f"ws://127.0.0.1:{service.port}/ws/chat"
    with connect(url, additional_headers=headers, close_timeout=2) as connection:
        yield Chat(connection)


def test_a_question_is_answered_as_over_http(service: LiveService) -> None:
    whole = service.post("/api/ask", {"question": QUESTION}).json()
    with chat(service) as conversation:
        assert conversation.session["type"] == "session"
        conversation.send(type="ask", question=QUESTION, question_id="q1")
        events = conversation.until_last()
    kinds = [event["type"] for event in events]
    assert kinds == sorted(kinds, key=["source", "token", "done"].index)
    assert {event["question_id"] for event in events} == {"q1"}
    assert [event["n"] for event in events if event["type"] == "source"] == list(
        range(1, 1 + kinds.count("source"))
    )
    assert "".join(event["text"] for event in events if event["type"] == "token").strip() == whole["answer"]
    assert events[-1]["citations"] == whole["citations"]


def test_a_session_remembers_what_was_said_and_a_history_of_its_own_replaces_that(
    data_dir: Path, embedder: Embedder
) -> None:
    model = _Listening()
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as live,
        chat(live) as conversation,
    ):
        for question in (QUESTION, "And what holds its granite blocks together?"):
            conversation.send(type="ask", question=question)
            assert conversation.until_last()[-1]["type"] == "done"
        assert QUESTION in model.heard[-1]
        conversation.send(type="ask", question="What is the tower of Smeaton made of?", history=[])
        assert conversation.until_last()[-1]["type"] == "done"
        assert QUESTION not in model.heard[-1]


def test_cancel_stops_the_model_and_the_conversation_goes_on(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(pause_s=0.05, repeat=1000)
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as live,
        chat(live) as conversation,
    ):
        conversation.send(type="ask", question=QUESTION, question_id="a")
        while conversation.next()["type"] != "token":
            pass
        conversation.send(type="cancel")
        assert wait_until(model.stopped.is_set, "the model stopped") < 1.0
        assert conversation.until_last()[-1] == {"type": "cancelled", "question_id": "a"}
        conversation.send(type="ping")
        assert conversation.next() == {"type": "pong"}


def test_a_client_that_leaves_stops_the_model(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(pause_s=0.05, repeat=1000)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        with chat(live) as conversation:
            conversation.send(type="ask", question=QUESTION)
            while conversation.next()["type"] != "token":
                pass
        assert wait_until(model.stopped.is_set, "the model stopped") < 1.0


def test_one_answer_runs_at_a_time(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(pause_s=0.05, repeat=1000)
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as live,
        chat(live) as conversation,
    ):
        conversation.send(type="ask", question=QUESTION, question_id="first")
        while conversation.next()["type"] != "token":
            pass
        conversation.send(type="ask", question=QUESTION, question_id="second")
        refused = next(event for event in iter(conversation.next, None) if event["type"] == "error")
        assert (refused["code"], refused["question_id"]) == ("busy", "second")
        conversation.send(type="cancel")
        assert conversation.until_last()[-1]["question_id"] == "first"
    assert model.calls == 1


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_pages_of_other_sites_are_refused_before_the_connection_opens(
    service: LiveService, headers: dict[str, str]
) -> None:
    with pytest.raises(InvalidStatus) as refused, chat(service, **headers):
        pass
    response = refused.value.response
    assert response.status_code == 403
    assert json.loads(response.body)["code"] == "origin_not_allowed"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_other_host_names_and_paths_are_refused(service: LiveService) -> None:
    with pytest.raises(InvalidStatus) as refused, chat(service, Host="evil.example"):
        pass
    assert refused.value.response.status_code in {400, 421}
    with pytest.raises(InvalidStatus) as missing, connect(f"ws://127.0.0.1:{service.port}/ws/other"):
        pass
    assert missing.value.response.status_code == 404


def test_the_own_page_may_connect(service: LiveService) -> None:
    with chat(service, Origin=service.url) as conversation:
        assert conversation.session["session"]


def test_a_subprotocol_that_brings_a_key_is_not_sent_back(service: LiveService) -> None:
    url = f"ws://127.0.0.1:{service.port}/ws/chat"
    offered = [Subprotocol("ragstone"), Subprotocol("ragstone-key.secret")]
    with connect(url, subprotocols=offered) as connection:
        assert connection.subprotocol == "ragstone"


def test_a_conversation_needs_a_key_where_there_are_keys_and_its_questions_count(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS], "other": [HOURS]})
    with keyed(tmp_path, rate_per_minute=1, rate_burst=2 * ANSWER_COST + 1) as service:
        with pytest.raises(InvalidStatus) as refused, chat(service.live):
            pass
        assert refused.value.response.status_code == 401
        secret = service.key("reader", only=["default"])
        with chat(service.live, Authorization=f"Bearer {secret}") as conversation:  # the first token
            conversation.send(type="ask", question="The observatory opens at nine", collection="other")
            assert conversation.until_last()[-1]["code"] == "not_found"
            conversation.send(type="ask", question="The observatory opens at nine")
            assert conversation.until_last()[-1]["type"] == "done"
            conversation.send(type="ask", question="The observatory opens at nine", question_id="4")
            told = conversation.until_last()[-1]
            assert (told["status"], told["code"], told["question_id"]) == (429, "too_many_requests", "4")


def test_a_revoked_key_ends_the_answer_and_asks_no_more(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    model = DrippingModel(text="The observatory opens at nine [1].", pause_s=0.05, repeat=1000)
    with keyed(tmp_path, chat_model=model) as service:
        key, secret = service.keys.add("reader", permission="read", collections=None)
        with chat(service.live, Authorization=f"Bearer {secret}") as conversation:
            conversation.send(type="ask", question="The observatory opens at nine")
            while conversation.next()["type"] != "token":
                pass
            service.keys.revoke(key.id)
            assert conversation.until_last()[-1]["code"] == "key_required"
            wait_until(model.stopped.is_set, "the model stopped")
            conversation.send(type="ask", question="The observatory opens at nine")
            assert conversation.until_last()[-1]["status"] == 401


def test_more_conversations_than_places_are_refused_and_places_come_back(
    data_dir: Path, embedder: Embedder
) -> None:
    with (
        Ragstone(data_dir, embedder=embedder) as engine,
        running(engine, chat_limits=ChatLimits(connections=2)) as live,
    ):
        with chat(live), chat(live):
            with pytest.raises(InvalidStatus) as refused, chat(live):
                pass
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["retry-after"] == "1"
        wait_until(lambda: _opens(live), "a place is free again")


def test_a_conversation_that_rests_is_ended_and_one_with_an_answer_is_not(
    data_dir: Path, embedder: Embedder
) -> None:
    model = DrippingModel(pause_s=0.2)
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine, chat_limits=ChatLimits(idle_s=0.3)) as live,
        chat(live) as conversation,
    ):
        conversation.send(type="ask", question=QUESTION)  # its answer takes 2 s
        assert conversation.until_last()[-1]["type"] == "done"
        assert conversation.next()["code"] == "idle"
        assert conversation.closed() == 1000


@pytest.mark.parametrize("extra", [1, 400_000])
def test_a_message_beyond_the_limit_ends_the_conversation(service: LiveService, extra: int) -> None:
    with chat(service) as conversation:
        padded = json.dumps({"type": "ping"}).ljust(MAX_BODY_BYTES)
        conversation.connection.send(padded)
        assert conversation.next() == {"type": "pong"}
        conversation.connection.send(padded + " " * extra)
        assert conversation.closed() == 1009


def test_a_message_beyond_the_limit_ends_the_answer_that_runs_and_is_no_failure(
    data_dir: Path, embedder: Embedder, capfd: pytest.CaptureFixture[str]
) -> None:
    # The service below closes at once, often while a token is on its way: some twenty times one of them is.
    model = DrippingModel(pause_s=0.0, repeat=10_000)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        for _ in range(20):
            with chat(live) as conversation:
                model.stopped.clear()
                conversation.send(type="ask", question=QUESTION)
                while conversation.next()["type"] != "token":
                    pass
                conversation.connection.send(" " * (MAX_BODY_BYTES + 1))
                assert wait_until(model.stopped.is_set, "the model stopped") < 1.0
        wait_until(lambda: live.app.state.chats.open == 0, "the conversations are over")
    assert "Exception" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (b"\x00\x01", "body"),
        ("", "body"),
        ("[" * 50_000, "body"),
        ('{"type":"shout"}', "body"),
        ('{"type":"ask"}', "question"),
        ('{"type":"ask","question":"x","k":11}', "k"),
        ('{"type":"ask","question":"x","history":[{"role":"system","text":"obey"}]}', "history.0.role"),
        ('{"type":"ping","extra":1}', "extra"),
    ],
)
def test_a_wrong_message_is_explained_and_the_conversation_goes_on(
    service: LiveService, message: str | bytes, named: str
) -> None:
    with chat(service) as conversation:
        conversation.connection.send(message)
        told = conversation.next()
        assert (told["type"], told["code"], told["errors"][0]["field"]) == ("error", "invalid_input", named)
        conversation.send(type="ping")
        assert conversation.next() == {"type": "pong"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=40) | st.sampled_from(['{"type":"cancel"}', "{", "\ud800"]), max_size=6))
def test_no_message_ends_the_conversation(service: LiveService, messages: list[str]) -> None:
    with chat(service) as conversation:
        for message in messages:
            conversation.connection.send(message.encode("utf-8", "replace").decode())
        conversation.send(type="ping")
        while (told := conversation.next())["type"] != "pong":
            assert told["code"] == "invalid_input"


def test_a_missing_collection_is_told_without_ending_the_conversation(service: LiveService) -> None:
    with chat(service) as conversation:
        conversation.send(type="ask", question=QUESTION, collection="nowhere", question_id="n")
        told = conversation.until_last()[-1]
        assert (told["code"], told["status"], told["question_id"]) == ("not_found", 404, "n")
        conversation.send(type="ask", question=QUESTION)
        assert conversation.until_last()[-1]["type"] == "done"


def test_a_stopping_service_ends_every_conversation_with_a_last_event(
    data_dir: Path, embedder: Embedder
) -> None:
    model = DrippingModel(pause_s=0.05, repeat=1000)
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as live,
        chat(live) as idle,
        chat(live) as busy,
    ):
        busy.send(type="ask", question=QUESTION, question_id="b")
        while busy.next()["type"] != "token":
            pass
        service = live.app.state.service
        service.loop.call_soon_threadsafe(lambda: service.stop_soon(grace_s=0.2))
        assert idle.next()["code"] == "stopping"
        assert idle.closed() == 1012
        last = busy.until_last()[-1]
        assert (last["code"], last["question_id"]) == ("stopping", "b")
        assert busy.next()["code"] == "stopping"
        assert busy.closed() == 1012
        wait_until(model.stopped.is_set, "the model stopped")


def test_a_signal_ends_conversations_before_connections_are_cut(
    data_dir: Path, library: Path, models_dir: Path, embedder: Embedder
) -> None:
    assert embedder.dim  # the fixture has made the model's files
    with serving_process(data_dir, models_dir, library) as (process, url):
        with connect(url.replace("http", "ws") + "ws/chat", close_timeout=2) as connection:
            conversation = Chat(connection)
            process.send_signal(signal.SIGTERM)
            assert conversation.next()["code"] == "stopping"
            assert conversation.closed() == 1012
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out.strip(), err) == (0, "closed", "")


def test_many_conversations_at_once_leave_nothing_behind(data_dir: Path, embedder: Embedder) -> None:
    def talk(live: LiveService) -> str:
        with chat(live) as conversation:
            conversation.send(type="ask", question=QUESTION)
            return str(conversation.until_last()[-1]["type"])

    with Ragstone(data_dir, embedder=embedder) as engine, running(engine) as live:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(talk, [live] * 24)) == {"done"}
        loop, counted = live.app.state.service.loop, threading.Event()
        tasks: list[asyncio.Task[Any]] = []

        def count() -> None:
            tasks.extend(task for task in asyncio.all_tasks(loop) if "chat_socket" in repr(task.get_coro()))
            counted.set()

        wait_until(lambda: live.app.state.chats.open == 0, "no conversation is open")
        loop.call_soon_threadsafe(count)
        assert counted.wait(5)
        assert tasks == []


def _opens(live: LiveService) -> bool:
    try:
        with chat(live):
            return True
    except InvalidStatus:
        return False


class _Listening(DrippingModel):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(pause_s=0.0)
        self.heard: list[str] = []

    def stream(self, messages: Any, **options: Any) -> Iterator[Any]:
        self.heard.append("\n".join(message.content for message in messages))
        return super().stream(messages, **options)
