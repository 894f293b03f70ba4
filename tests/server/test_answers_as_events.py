"""A streamed answer: the order of its events, every way it may end, and that leaving stops the model."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import DrippingModel, LiveService, parse_event, running, wait_until

QUESTION = {"question": "Who finished the third lighthouse?"}
ENDLESS = 10_000


def test_sources_come_first_then_text_then_the_whole(chatting: LiveService, model: DrippingModel) -> None:
    events = chatting.post("/api/ask/stream", QUESTION).events()
    names = [name for name, _ in events]
    sources, tokens = names.count("source"), names.count("token")
    assert sources >= 1
    assert tokens >= 5
    assert names == ["source"] * sources + ["token"] * tokens + ["done"]
    assert [data["n"] for name, data in events if name == "source"] == list(range(1, sources + 1))
    done = events[-1][1]
    assert done["answer"].strip() == model.text
    assert done["model"] == "dripping"
    assert [citation["n"] for citation in done["citations"]] == [1]


def test_text_arrives_while_the_model_still_writes(chatting: LiveService, model: DrippingModel) -> None:
    model.pause_s = 0.1
    with closing(chatting.connect()) as connection:
        connection.request("POST", "/api/ask/stream", *_posted())
        response = connection.getresponse()
        while not response.readline().startswith(b"event: token"):
            pass
        assert model.said <= 2


def test_the_stream_and_the_whole_answer_say_the_same(service: LiveService) -> None:
    whole = service.post("/api/ask", QUESTION).json()
    name, done = service.post("/api/ask/stream", QUESTION).events()[-1]
    assert name == "done"
    assert {key: done[key] for key in done if key != "timings_ms"} == {
        key: whole[key] for key in whole if key != "timings_ms"
    }


@pytest.mark.parametrize("path", ["/api/ask", "/api/ask/stream"])
def test_the_model_stops_within_a_second_when_the_client_leaves(
    data_dir: Path, embedder: Embedder, path: str
) -> None:
    model = DrippingModel(pause_s=0.05, repeat=ENDLESS)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        connection = live.connect()
        connection.request("POST", path, *_posted())
        wait_until(lambda: model.said >= 2, "the model speaks")
        assert not model.stopped.is_set()
        assert connection.sock is not None
        connection.sock.close()
        connection.close()
        assert wait_until(model.stopped.is_set, "the model stopped") < 1.0


def test_the_model_stops_also_before_its_first_word(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(pause_s=600.0)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        with closing(live.connect()) as connection:
            connection.request("POST", "/api/ask/stream", *_posted())
            wait_until(lambda: model.calls == 1, "the model was asked")
        assert wait_until(model.stopped.is_set, "the model stopped") < 1.0


def test_no_moment_of_leaving_leaves_a_model_running(data_dir: Path, embedder: Embedder) -> None:
    with Ragstone(data_dir, embedder=embedder) as engine, running(engine) as live:
        for attempt in range(40):
            model = DrippingModel(pause_s=0.001, repeat=ENDLESS)  # it is nearly always sending
            engine._models._chat_model = model
            with closing(live.connect()) as connection:
                connection.request("POST", "/api/ask/stream", *_posted())
                response = connection.getresponse()
                while not response.readline().startswith(b"event: token"):
                    pass
                for _ in range(attempt):
                    response.readline()
            assert wait_until(model.stopped.is_set, f"the model of attempt {attempt} stopped") < 1.0


def test_clients_that_leave_give_their_places_back(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(pause_s=0.02, repeat=ENDLESS)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        for _ in range(40):  # more than there are places
            with closing(live.connect()) as connection:
                connection.request("POST", "/api/ask/stream", *_posted())
                connection.getresponse().readline()
        model.repeat = 1
        wait_until(lambda: live.post("/api/ask/stream", QUESTION).status == 200, "a place is free")


def test_an_answer_past_its_time_ends_with_an_error_event(
    chatting: LiveService, model: DrippingModel
) -> None:
    model.repeat, model.pause_s = ENDLESS, 0.1
    started_s = time.monotonic()
    name, data = chatting.post("/api/ask/stream", QUESTION).events()[-1]
    assert (name, data["code"], data["status"]) == ("error", "timeout", 504)
    assert time.monotonic() - started_s < 3.0
    assert chatting.post("/api/ask", QUESTION).status == 504
    assert wait_until(model.stopped.is_set, "the model stopped") < 1.0


def test_a_full_house_is_refused_at_once_with_a_time_to_come_back(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(pause_s=0.05, repeat=ENDLESS)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        connections = [live.connect() for _ in range(16)]
        for connection in connections:
            connection.request("POST", "/api/ask/stream", *_posted())
        wait_until(lambda: model.calls == 16, "sixteen answers are being written")
        started_s = time.monotonic()
        reply = live.post("/api/ask/stream", QUESTION)
        assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (503, "busy", "1")
        assert time.monotonic() - started_s < 0.5
        assert live.get("/api/search?q=bridge").status == 200  # answers do not take the searches' places
        for connection in connections:
            connection.close()


def test_a_service_that_stops_ends_its_streams_with_an_event(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(pause_s=0.05, repeat=ENDLESS)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        with closing(live.connect()) as connection:
            connection.request("POST", "/api/ask/stream", *_posted())
            response = connection.getresponse()
            wait_until(lambda: model.said >= 1, "the model speaks")
            service = live.app.state.service
            service.loop.call_soon_threadsafe(lambda: service.stop_soon(grace_s=0.2))
            wait_until(lambda: live.get("/health/ready").status == 503, "the service is not ready")
            assert live.get("/health/ready").json()["code"] == "stopping"
            name, data = parse_event(response.read().decode().rstrip("\n").split("\n\n")[-1])
            assert (name, data["code"]) == ("error", "stopping")
        assert wait_until(model.stopped.is_set, "the model stopped") < 1.0


def test_streaming_can_be_switched_off(data_dir: Path, embedder: Embedder) -> None:
    with (
        Ragstone(data_dir, embedder=embedder) as engine,
        running(engine, streaming=False) as live,
    ):
        reply = live.post("/api/ask/stream", QUESTION)
        assert (reply.status, reply.json()["code"]) == (409, "streaming_off")
        assert live.post("/api/ask", QUESTION).status == 200


def test_a_wrong_filter_has_its_own_status_also_when_streaming(service: LiveService) -> None:
    reply = service.post("/api/ask/stream", {**QUESTION, "filter": 'author:"open'})
    assert reply.status == 422
    assert reply.json()["detail"]


def _posted() -> tuple[bytes, dict[str, str]]:
    return b'{"question": "Who finished the third lighthouse?"}', {"Content-Type": "application/json"}
