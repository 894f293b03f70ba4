"""Answers that use what is remembered: when asked for, of the caller's own collections only, over every interface."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from hashing_embedder import HashingEmbedder
from ragstone.answering.chat_model import ChatDelta, Message
from ragstone.engine import Ragstone
from ragstone.memory.opening import open_memory
from ragstone.settings import Settings
from ragstone.types import Embedder
from server.keyed import HOURS, Keyed, fill, keyed
from server.live import LiveService, running

ASKED = {"question": "Who finished the third lighthouse?"}
SAID = "My grandmother was born beside the third lighthouse."
CAKE = "The cake for Odalys has seven candles."
CAKE_QUESTION = "How many candles has the cake for Odalys?"


class HearingModel:
    """A chat model that says one thing, and keeps what it was told."""

    name = "hearing"

    def __init__(self, text: str) -> None:
        self._text = text
        self.prompts: list[Sequence[Message]] = []

    def stream(
        self,
        messages: Sequence[Message],
        *,
        timeout_s: float,
        max_tokens: int,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[ChatDelta]:
        self.prompts.append(messages)
        yield ChatDelta(self._text)


@pytest.fixture(scope="module")
def model() -> HearingModel:
    return HearingModel("John Smeaton finished the third lighthouse in 1759 [1]. You were told so [2].")


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, library: Path, embedder: Embedder, model: HearingModel
) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("data")
    with Ragstone(folder, embedder=embedder, chat_model=model) as engine:
        engine.index([library])
        with running(engine) as live:
            live.wait_ready()
            none_yet = live.post("/api/ask", {**ASKED, "memory": True}).json()
            assert "memory" not in {part["source"] for part in none_yet["degraded"]}
            live.post("/api/memory", {"text": SAID})
            live.post("/api/memory", {"text": CAKE})
            yield live


def heard(model: HearingModel) -> str:
    """What the chat model was told last."""
    return "\n".join(message.content for message in model.prompts[-1])


def test_the_model_hears_what_is_remembered_only_when_that_is_asked_for(
    service: LiveService, model: HearingModel
) -> None:
    without = service.post("/api/ask", ASKED).json()
    assert SAID not in heard(model)
    assert without["memories"] == []
    reply = service.post("/api/ask", {**ASKED, "memory": True}).json()
    assert heard(model).count(SAID) == 1
    assert CAKE not in heard(model)  # it does not fit
    (used,) = reply["memories"]
    assert (used["id"], used["text"], used["source"]) == ("m1", SAID, "user")
    assert {citation["uri"].rpartition("/")[2] for citation in reply["citations"]} == {"lighthouse.md"}
    assert all(SAID not in hit["text"] for hit in reply["hits"])
    assert [part["source"] for part in reply["degraded"]] == ["citations"]  # [2] says no such thing


def test_what_was_used_counts_as_recalled_and_the_answer_is_no_fact(service: LiveService) -> None:
    def recalls() -> dict[str, int]:
        return {entry["id"]: entry["access_count"] for entry in service.get("/api/memory").json()["memories"]}

    before = recalls()
    answer = service.post("/api/ask", {**ASKED, "memory": True}).json()["answer"]
    assert recalls() == {**before, "m1": before["m1"] + 1}
    said = answer.partition(" [")[0] + "."
    assert service.post("/api/memory", {"text": said, "source": "agent"}).json()["outcome"] == "refused"


def test_a_stream_a_socket_and_openais_form_use_it_too(service: LiveService, model: HearingModel) -> None:
    name, done = service.post("/api/ask/stream", {**ASKED, "memory": True}).events()[-1]
    assert (name, [memory["text"] for memory in done["memories"]]) == ("done", [SAID])
    with connect(f"ws://127.0.0.1:{service.port}/ws/chat") as socket:
        socket.recv()
        socket.send(json.dumps({"type": "ask", **ASKED, "memory": True}))
        while (event := json.loads(socket.recv()))["type"] != "done":
            pass
        assert [memory["text"] for memory in event["memories"]] == [SAID]
    asked: dict[str, Any] = {
        "model": "ragstone",
        "messages": [{"role": "user", "content": ASKED["question"]}],
        "memory": True,
    }
    completion = service.post("/v1/chat/completions", asked).json()
    assert ([memory["text"] for memory in completion["memories"]], completion["ignored"]) == ([SAID], [])
    assert SAID not in completion["choices"][0]["message"]["content"]
    chunks = service.post("/v1/chat/completions", {**asked, "stream": True}).body.decode()
    assert SAID in chunks
    service.post("/v1/chat/completions", {**asked, "memory": False})
    assert SAID not in heard(model)


def test_a_question_that_leans_on_the_one_before_finds_its_memory(
    service: LiveService, model: HearingModel
) -> None:
    history = [{"role": "user", "text": CAKE_QUESTION}, {"role": "assistant", "text": "It does not say."}]
    body = {"question": "And who is it for?", "history": history, "memory": True}
    assert [memory["text"] for memory in service.post("/api/ask", body).json()["memories"]] == [CAKE]
    assert CAKE in heard(model)


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_what_is_no_flag_is_refused(service: LiveService, wrong: object) -> None:
    assert service.post("/api/ask", {**ASKED, "memory": wrong}).status == 422


def test_without_a_chat_model_the_memory_is_quoted_where_no_document_answers(
    data_dir: Path, embedder: Embedder, tmp_path: Path
) -> None:
    with Ragstone(tmp_path, embedder=embedder) as engine, running(engine) as live:
        live.wait_ready()
        live.post("/api/texts", {"texts": [{"text": "The ferry to Holm leaves at 7:40."}]})
        live.post("/api/memory", {"text": CAKE})
        told = live.post("/api/ask", {"question": CAKE_QUESTION, "memory": True}).json()
        assert (told["answer"].endswith(CAKE), told["grounded"], told["citations"]) == (True, False, [])
        assert not live.post("/api/ask", {"question": CAKE_QUESTION}).json()["answer"].endswith(CAKE)


# -- keys ----------------------------------------------------------------------------------------------------

SECRETS = {
    "default": "The observatory opens at nine for Quillon.",
    "other": "The observatory opens at nine for Brannoc.",
}


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Keyed, HearingModel]]:
    folder = tmp_path_factory.mktemp("tenants")
    fill(folder, {name: [HOURS] for name in SECRETS})
    for name, text in SECRETS.items():
        settings = Settings(data_dir=folder, collection=name)
        with open_memory(settings, embedder=HashingEmbedder()) as store:
            store.add(text, tier="semantic")
    model = HearingModel("The observatory opens at nine [1].")
    with keyed(folder, chat_model=model) as service:
        yield service, model


@pytest.mark.parametrize("own", SECRETS)
def test_a_bound_key_reaches_the_memories_of_its_own_collection_and_no_other(
    tenants: tuple[Keyed, HearingModel], own: str
) -> None:
    service, model = tenants
    (other,) = set(SECRETS) - {own}
    secret = service.key(f"of {own}", only=[own])
    asked = {"question": "The observatory opens at nine", "memory": True}
    reply = service.post("/api/ask", {**asked, "collection": own}, secret)
    assert SECRETS[own] in heard(model)
    assert SECRETS[other] not in heard(model)
    assert [memory["text"] for memory in reply.json()["memories"]] == [SECRETS[own]]
    before = len(model.prompts)
    for name in (other, f"{other}.memory", f"{own}.memory"):
        refused = service.post("/api/ask", {**asked, "collection": name}, secret)
        assert (refused.status, SECRETS[other] in refused.body.decode()) == (404, False)
    assert len(model.prompts) == before


def test_a_memory_that_cannot_be_read_costs_the_memories_and_not_the_answer(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    folder = tmp_path / "collections" / "default.memory"
    folder.mkdir()
    (folder / "catalog.sqlite").write_bytes(b"no database" * 1000)
    model = HearingModel("The observatory opens at nine [1].")
    with Ragstone(tmp_path, embedder=HashingEmbedder(), chat_model=model) as engine, running(engine) as live:
        told = live.post("/api/ask", {"question": "The observatory opens at nine", "memory": True}).json()
        assert (told["grounded"], [part["source"] for part in told["degraded"]]) == (True, ["memory"])
