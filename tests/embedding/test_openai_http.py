"""The HTTP embedder against a real server on loopback that behaves and misbehaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loopback_server import Post, loopback_server
from ragstone.embedding import load_embedder, openai_http
from ragstone.embedding.minilm.model import wordpiece
from ragstone.embedding.openai_http import REQUEST_TEXTS_MAX, HttpEmbedder
from ragstone.errors import InputError, ModelError

Answer = tuple[int, dict[str, str], bytes]
KEY = "sk-secret-of-the-test"


@dataclass
class Endpoint:
    """Answers each request with `answer(request body)`; remembers bodies and keys."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Answer] = field(default_factory=lambda: vectors_of)

    def answered(self, post: Post) -> Answer:
        body = json.loads(post.body)
        self.bodies.append(body)
        self.keys.append(post.headers.get("authorization"))
        return self.answer(body) if post.path == "/v1/embeddings" else (404, {}, b"")


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 1.0, float(text.count("e"))]


def vectors_of(body: dict[str, Any]) -> Answer:
    data = [{"index": n, "embedding": vector_of(text)} for n, text in enumerate(body["input"])]
    return 200, {}, json.dumps({"data": data[::-1]}).encode()  # in reverse: `index` says which is which


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    seen = Endpoint()
    with loopback_server(seen.answered) as address:
        seen.url = f"{address}/v1"
        yield seen


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_http, "BACKOFF_S", 0.01)


def opened(endpoint: Endpoint, **options: Any) -> HttpEmbedder:
    return HttpEmbedder("test-model", base_url=endpoint.url, tokenizer=wordpiece(), **options)


def test_vectors_come_back_in_order_as_unit_rows_over_several_requests(endpoint: Endpoint) -> None:
    embedder = opened(endpoint, api_key=KEY)
    texts = [f"{'e' * (n % 7)} text {n}" for n in range(2 * REQUEST_TEXTS_MAX + 3)]
    rows = embedder.embed_documents(texts)
    wanted = np.array([vector_of(text) for text in texts])
    np.testing.assert_allclose(rows, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    assert [len(body["input"]) for body in endpoint.bodies[1:]] == [REQUEST_TEXTS_MAX, REQUEST_TEXTS_MAX, 3]
    assert set(endpoint.keys) == {f"Bearer {KEY}"}
    assert (embedder.dim, embedder.model_id) == (3, "openai:test-model:3")
    assert KEY not in repr(embedder)


def test_a_repeated_query_is_not_asked_again_and_cannot_be_changed(endpoint: Endpoint) -> None:
    embedder = opened(endpoint)
    first = embedder.embed_query("where?")
    asked = len(endpoint.bodies)
    assert embedder.embed_query("where?") is first
    assert len(endpoint.bodies) == asked
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(endpoint: Endpoint, status: int) -> None:
    embedder = opened(endpoint)
    failures = iter([(status, {"Retry-After": "0.01"}, b"busy"), (status, {}, b"busy")])
    endpoint.answer = lambda body: next(failures, None) or vectors_of(body)
    assert embedder.embed_documents(["a"]).shape == (1, 3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}, b'{"error": {"message": "no such key"}}'), "no such key"),
        ((404, {}, b'{"error": "no such model"}'), "no such model"),
        ((500, {}, b"broken"), "500"),
        ((429, {"Retry-After": "3600"}, b"tomorrow"), "429"),
        ((200, {}, b"<html>"), "protocol"),
        ((200, {}, b'{"data": []}'), "1 vectors"),
        ((200, {}, b'{"data": [{"index": 0, "embedding": [1, 2]}]}'), "2 numbers, before 3"),
        ((200, {}, b'{"data": [{"index": 0, "embedding": [NaN, 1, 2]}]}'), "not finite"),
        ((200, {}, b'{"data": [{"index": 0, "embedding": [0, 0, 0]}]}'), "zero"),
    ],
)
def test_a_lasting_failure_is_a_clear_error_without_the_key(
    endpoint: Endpoint, answer: Answer, words: str
) -> None:
    embedder = opened(endpoint, api_key=KEY)
    endpoint.answer = lambda body: answer
    with pytest.raises(ModelError) as caught:
        embedder.embed_documents(["a"])
    assert words in str(caught.value)
    assert caught.value.hint
    assert KEY not in str(caught.value)


def test_a_server_that_is_not_there_is_named(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_http, "RETRIES", 1)
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9 does not answer"):
        HttpEmbedder("m", base_url="http://127.0.0.1:9/v1", tokenizer=wordpiece(), timeout_s=1)


@pytest.mark.parametrize(
    "address", ["file:///etc", "localhost:11434", "http://", "http://host:port/v1", "http://[::1/v1"]
)
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="http"):
        HttpEmbedder("m", base_url=address, tokenizer=wordpiece())


def test_a_password_in_the_address_is_not_shown(endpoint: Endpoint) -> None:
    endpoint.answer = lambda _: (500, {"Retry-After": "3600"}, b"")
    address = endpoint.url.replace("http://", "http://me:hidden@")
    with pytest.raises(ModelError) as found:
        HttpEmbedder("m", base_url=address, tokenizer=wordpiece())
    assert "127.0.0.1" in str(found.value)
    assert "hidden" not in str(found.value)


def test_what_follows_the_limit_is_not_sent(endpoint: Endpoint) -> None:
    embedder = opened(endpoint, max_tokens=10)
    embedder.embed_documents(["tide " * 30, "short"])
    assert endpoint.bodies[-1]["input"] == ["tide " * 7 + "tide", "short"]


def test_a_closed_embedder_says_so(endpoint: Endpoint) -> None:
    embedder = opened(endpoint)
    embedder.close()
    with pytest.raises(ModelError, match="closed"):
        embedder.embed_query("a")


def test_the_name_openai_leads_here(endpoint: Endpoint, tmp_path: Path) -> None:
    embedder = load_embedder("openai:small", cache_dir=tmp_path, base_url=endpoint.url, api_key=KEY)
    assert embedder.model_id == "openai:small:3"
    with pytest.raises(ModelError, match="embedding_base_url"):
        load_embedder("openai:small", cache_dir=tmp_path)


def test_a_model_server_says_how_much_its_model_reads_and_is_told_what_is_a_query(endpoint: Endpoint) -> None:
    def told(body: dict[str, Any]) -> Answer:
        status, headers, data = vectors_of(body)
        about = {"max_tokens": 256, "input_types": ["document", "query"]}
        return status, headers, json.dumps({**json.loads(data), "ragstone": about}).encode()

    plain = HttpEmbedder("m", base_url=endpoint.url, tokenizer=wordpiece())
    plain.embed_query("who")
    assert plain.max_tokens == 512
    assert not any("input_type" in body for body in endpoint.bodies)  # others refuse what they do not know
    endpoint.answer = told
    server = HttpEmbedder("m", base_url=endpoint.url, tokenizer=wordpiece())
    server.embed_documents(["one"])
    server.embed_query("who")
    assert server.max_tokens == 256
    assert [body.get("input_type") for body in endpoint.bodies[-2:]] == [None, "query"]
    assert HttpEmbedder("m", base_url=endpoint.url, tokenizer=wordpiece(), max_tokens=64).max_tokens == 64


@pytest.mark.parametrize("said", [10**9, -1, "many", None, 3.5])
def test_a_limit_that_is_none_is_not_taken_over(endpoint: Endpoint, said: object) -> None:
    def told(body: dict[str, Any]) -> Answer:
        status, headers, data = vectors_of(body)
        return status, headers, json.dumps({**json.loads(data), "ragstone": {"max_tokens": said}}).encode()

    endpoint.answer = told
    assert 8 <= HttpEmbedder("m", base_url=endpoint.url, tokenizer=wordpiece()).max_tokens <= 8192


def test_unit_vectors_arrive_bit_for_bit(endpoint: Endpoint) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((64, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def units(body: dict[str, Any]) -> Answer:
        data = [{"index": n, "embedding": rows[n].tolist()} for n in range(len(body["input"]))]
        return 200, {}, json.dumps({"data": data}).encode()

    endpoint.answer = units
    embedder = HttpEmbedder("m", base_url=endpoint.url, tokenizer=wordpiece())
    np.testing.assert_array_equal(embedder.embed_documents(["x"] * 64), rows)


def test_half_an_emoji_is_sent_as_a_question_mark(endpoint: Endpoint) -> None:
    embedder = HttpEmbedder("m", base_url=endpoint.url, tokenizer=wordpiece())
    embedder.embed_documents(["a \ud83d bee"])
    assert endpoint.bodies[-1]["input"] == ["a ? bee"]
