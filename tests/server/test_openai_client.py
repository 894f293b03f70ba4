"""The official `openai` client against the service: what it understands, and the exceptions it raises."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from ragstone.engine import Ragstone
from ragstone.memory.opening import open_memory
from ragstone.settings import Settings
from ragstone.types import Embedder
from server.keyed import HOURS, fill, keyed
from server.live import LIBRARY, DrippingModel, LiveService, running, wait_until

QUESTION = "Who finished the third lighthouse?"
ASKED: Any = [{"role": "user", "content": QUESTION}]
TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@contextmanager
def client_of(service: LiveService, *, key: str = "none") -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def client(service: LiveService) -> Iterator[OpenAI]:
    with client_of(service) as client:
        yield client


def test_the_models_are_the_collections_and_the_embedding_model(client: OpenAI, embedder: Embedder) -> None:
    assert [model.id for model in client.models.list()] == ["ragstone", "ragstone:default", "minilm"]
    found = client.models.retrieve("minilm").model_dump()
    assert (found["root"], found["dimensions"]) == (embedder.model_id, embedder.dim)
    assert client.models.retrieve(embedder.model_id).id == "minilm"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("gpt-4o")
    assert raised.value.code == "model_not_found"


def test_a_memory_is_no_model(data_dir: Path, embedder: Embedder, tmp_path: Path) -> None:
    with closing(open_memory(Settings(data_dir=tmp_path, collection="trips"), embedder=embedder)) as memory:
        memory.add("The boiler was serviced in May.")
    with (
        Ragstone(tmp_path, embedder=embedder) as engine,
        running(engine) as service,
        client_of(service) as client,
    ):
        assert [model.id for model in client.models.list()] == ["ragstone", "minilm"]
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="ragstone:trips.memory", messages=ASKED)


def test_a_key_finds_only_its_own_collections(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS], "trips": ["The ferry to Skye leaves Mallaig at 9."]})
    with keyed(tmp_path) as service:
        guest = service.key("guest", only=["trips"])
        with client_of(service.live, key=guest) as client:
            assert [model.id for model in client.models.list()] == ["ragstone:trips", "minilm"]
            for hidden in ("ragstone", "ragstone:default"):
                with pytest.raises(openai.NotFoundError):
                    client.chat.completions.create(model=hidden, messages=ASKED)
            assert client.chat.completions.create(model="ragstone:trips", messages=ASKED).choices
        with client_of(service.live) as client, pytest.raises(openai.AuthenticationError) as raised:
            client.models.list()
        assert (raised.value.type, raised.value.code) == ("authentication_error", "key_required")


def test_a_key_that_asks_too_often_is_told_so_as_openai_does(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path, rate_per_minute=1, rate_burst=12) as service:
        secret = service.key("laptop")
        with client_of(service.live, key=secret) as client:
            client.chat.completions.create(model="ragstone", messages=ASKED)  # an answer costs 10
            with pytest.raises(openai.RateLimitError) as raised:
                client.chat.completions.create(model="ragstone", messages=ASKED)
        assert raised.value.type == "rate_limit_error"
        assert int(raised.value.response.headers["retry-after"]) > 1


def test_vectors_are_the_models_own_in_order_in_both_encodings(client: OpenAI, embedder: Embedder) -> None:
    texts = ["the third lighthouse", "a honey bee", "", "🐝" * 400]
    expected = embedder.embed_documents(texts)
    encodings: Any = (openai.omit, "float", "base64")  # left out, the client asks for base64 and decodes it
    for encoding in encodings:
        answer = client.embeddings.create(model="minilm", input=texts, encoding_format=encoding)
        assert [row.index for row in answer.data] == [0, 1, 2, 3]
        given: list[Any] = [row.embedding for row in answer.data]
        rows = [
            np.frombuffer(base64.b64decode(vector), "<f4") if isinstance(vector, str) else vector
            for vector in given
        ]
        np.testing.assert_array_equal(np.array(rows, np.float32), expected)
    counted = embedder.count_tokens(texts)
    assert answer.usage.prompt_tokens == sum(min(count, embedder.max_tokens) for count in counted)


def test_one_text_needs_no_list(client: OpenAI, embedder: Embedder) -> None:
    answer = client.embeddings.create(model="minilm", input="a honey bee", dimensions=embedder.dim)
    np.testing.assert_array_equal(
        np.array(answer.data[0].embedding, np.float32), embedder.embed_documents(["a honey bee"])[0]
    )


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": []}, "input"),
        ({"input": "bee", "dimensions": 7}, "dimensions"),
        ({"input": ["bee"] * 2049}, "input"),
        ({"input": "bee", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_an_embedding_that_cannot_be_is_a_bad_request(
    client: OpenAI, given: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model="minilm", **given)
    assert (raised.value.param or "").startswith(param)
    assert raised.value.type == "invalid_request_error"


def test_another_embedding_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="minilm"):
        client.embeddings.create(model="text-embedding-3-small", input="bee")


def test_an_answer_has_its_citations_in_three_forms(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="ragstone", messages=ASKED)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "stop"
    text = message.content or ""
    assert "Smeaton" in text
    listed = text.partition("**Sources**")[2]
    assert "- [1] Eddystone Lighthouse" in listed
    assert "lighthouse.md`" in listed
    cited = (message.annotations or [])[0].url_citation
    assert text[cited.start_index : cited.end_index] == "[1]"
    assert cited.url.startswith("file:///")
    assert cited.url.endswith("lighthouse.md")
    beside = answer.model_dump()
    assert beside["grounded"] is True
    assert beside["citations"][0]["quote"] in LIBRARY["lighthouse.md"]
    assert beside["ignored"] == []


def test_a_collection_is_asked_by_its_model(tmp_path: Path, library: Path, embedder: Embedder) -> None:
    with Ragstone(tmp_path, embedder=embedder) as engine:
        engine.index([library])
    with Ragstone(tmp_path, embedder=embedder, collection="trips") as engine:
        engine.add(["The ferry to Skye leaves Mallaig at 9."], uris=["trip"], titles=["Skye"])
    with (
        Ragstone(tmp_path, embedder=embedder) as engine,
        running(engine) as service,
        client_of(service) as client,
    ):
        ferry: Any = [{"role": "user", "content": "When does the ferry to Skye leave Mallaig?"}]
        trips = client.chat.completions.create(model="ragstone:trips", messages=ferry)
        assert "at 9" in (trips.choices[0].message.content or "")
        own = client.chat.completions.create(model="ragstone", messages=ferry)
        assert own.model_dump()["grounded"] is False


def test_a_question_the_documents_do_not_answer_has_no_sources(client: OpenAI) -> None:
    tungsten: Any = [{"role": "user", "content": "What is the boiling point of tungsten?"}]
    answer = client.chat.completions.create(model="ragstone", messages=tungsten)
    assert answer.model_dump()["grounded"] is False
    assert "**Sources**" not in (answer.choices[0].message.content or "")


def test_a_stream_says_the_same_as_the_whole(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="ragstone", messages=ASKED)
    chunks = list(client.chat.completions.create(model="ragstone", messages=ASKED, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[-1].model_dump()["citations"] == whole.model_dump()["citations"]
    assert chunks[-2].choices[0].delta.model_dump()["annotations"]


def test_a_stream_ends_with_the_tokens_used_where_asked(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="ragstone", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].choices == []


def test_filter_and_k_are_ragstones_own(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="ragstone", messages=ASKED, extra_body={"filter": "path:**/bees.md", "k": 2}
    )
    assert answer.model_dump()["grounded"] is False


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x" * 1001}]}, "messages.0.content"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
                ]
            },
            "messages.0.content",
        ),
        ({"extra_body": {"k": 11}}, "k"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    client: OpenAI, given: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**{"model": "ragstone", "messages": ASKED, **given})
    assert raised.value.param == param


def test_what_changes_nothing_is_named(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="ragstone",
        messages=[{"role": "system", "content": "Be brief."}, *ASKED],
        temperature=0,
        max_tokens=50,
        user="someone",
    )
    assert answer.model_dump()["ignored"] == ["max_tokens", "temperature", "user", "system messages"]


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}, {"tool_choice": "none"}], ids=str)
def test_tools_on_offer_are_left_alone(client: OpenAI, choice: dict[str, Any]) -> None:
    """Chat pages offer theirs with every message."""
    answer = client.chat.completions.create(model="ragstone", messages=ASKED, tools=TOOLS, **choice)
    assert "1759" in (answer.choices[0].message.content or "")
    assert answer.choices[0].message.tool_calls is None
    assert answer.model_dump()["ignored"] == [*choice, "tools"]


def test_earlier_messages_are_the_conversation_without_their_sources(
    data_dir: Path, embedder: Embedder
) -> None:
    heard: list[str] = []

    class Hearing(DrippingModel):
        def stream(self, messages, **options):  # type: ignore[no-untyped-def]
            heard.extend(message.content for message in messages)
            return super().stream(messages, **options)

    with (
        Ragstone(data_dir, embedder=embedder, chat_model=Hearing()) as engine,
        running(engine) as service,
        client_of(service) as client,
    ):
        first = client.chat.completions.create(model="ragstone", messages=ASKED)
        heard.clear()
        client.chat.completions.create(
            model="ragstone",
            messages=[
                *ASKED,
                {"role": "assistant", "content": first.choices[0].message.content},
                {"role": "user", "content": [{"type": "text", "text": "When was the lighthouse finished?"}]},
            ],
        )
    everything = "\n".join(heard)
    assert QUESTION in everything
    assert "John Smeaton finished the third lighthouse in 1759" in everything
    assert "**Sources**" not in everything


def test_a_client_that_stops_reading_stops_the_model(chatting: LiveService, model: DrippingModel) -> None:
    model.repeat = 10_000
    with client_of(chatting) as client:
        stream = client.chat.completions.create(model="ragstone", messages=ASKED, stream=True)
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        stream.close()
    wait_until(model.stopped.is_set, "the model stops", timeout_s=1.0)


def test_an_answer_that_takes_too_long_ends_its_stream_as_an_error(
    chatting: LiveService, model: DrippingModel
) -> None:
    model.repeat = 10_000
    with client_of(chatting) as client:
        stream = client.chat.completions.create(model="ragstone", messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="was not ready after"):
            list(stream)
        model.stopped.clear()
        with pytest.raises(openai.InternalServerError) as raised:
            client.chat.completions.create(model="ragstone", messages=ASKED)
    assert raised.value.status_code == 504
    assert raised.value.code in {"timeout", "deadline"}  # whichever is first to see it


def test_a_citation_taken_back_after_it_was_sent_is_said(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel(text="John Smeaton finished the third lighthouse in 1759 [1] [9].")
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as service,
        client_of(service) as client,
    ):
        chunks = list(client.chat.completions.create(model="ragstone", messages=ASKED, stream=True))
    assert "[9]" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "[9]" not in chunks[-1].model_dump()["answer"]


def test_the_asynchronous_client_streams_answers_and_embeds_at_once(service: LiveService) -> None:
    async def use() -> tuple[Any, int]:
        async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:

            async def streamed() -> str:
                stream = await client.chat.completions.create(model="ragstone", messages=ASKED, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            text, *embedded = await asyncio.gather(
                streamed(), *(client.embeddings.create(model="minilm", input=f"bee {n}") for n in range(8))
            )
            return text, len(embedded)

    text, embedded = asyncio.run(use())
    assert "Smeaton" in text
    assert embedded == 8


def test_streaming_that_is_switched_off_is_an_error(data_dir: Path, embedder: Embedder) -> None:
    with (
        Ragstone(data_dir, embedder=embedder) as engine,
        running(engine, streaming=False) as service,
        client_of(service) as client,
        pytest.raises(openai.ConflictError) as raised,
    ):
        client.chat.completions.create(model="ragstone", messages=ASKED, stream=True)
    assert raised.value.code == "streaming_off"
