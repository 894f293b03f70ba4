"""Rerankers behind a real HTTP server, which answers well, badly, late or not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ragstone.errors import InputError, ModelError, RagstoneError
from ragstone.reranking.endpoint import HttpReranker
from reranking.rerank_server import RerankServer, rerank_server, results

TEXTS = ["boat", "lamp lamp", "lamp"]


@pytest.fixture
def server() -> Iterator[RerankServer]:
    with rerank_server() as running:
        yield running


def open_reranker(server: RerankServer, *, model: str = "jina", timeout_s: float = 10.0) -> HttpReranker:
    return HttpReranker(model, base_url=f"{server.url}/", api_key="sk-hush", timeout_s=timeout_s)


def test_scores_come_in_the_order_of_the_texts_whatever_order_the_server_has(server: RerankServer) -> None:
    reranker = open_reranker(server)
    assert reranker.score("lamp", TEXTS) == pytest.approx([0, 0.02, 0.01])
    assert server.paths == ["/v1/rerank"]
    assert server.bodies == [{"model": "jina", "query": "lamp", "documents": TEXTS, "top_n": 3}]
    assert server.keys == ["Bearer sk-hush"]
    assert reranker.score("lamp", []).tolist() == []
    assert len(server.paths) == 1


def test_a_server_with_one_model_is_not_told_its_name(server: RerankServer) -> None:
    open_reranker(server, model="").score("lamp", TEXTS)
    assert "model" not in server.bodies[0]


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"not json"),
        (200, b"[]"),
        (200, b'{"results": 3}'),
        (200, b'{"results": [{"index": 0}]}'),
        results([(0, 0.5), (1, 0.25)]),
        results([(0, 0.5), (1, 0.25), (7, 0.1)]),
        results([(0, 0.5), (1, "much"), (2, 0.1)]),
        results([(0, 0.5), (0, 0.5), (0, 0.5)]),
    ],
)
def test_an_answer_without_a_score_for_each_text_is_an_error(
    server: RerankServer, answer: tuple[int, bytes]
) -> None:
    server.answer = lambda body: answer
    with pytest.raises(ModelError, match="a score for each of 3"):
        open_reranker(server).score("lamp", TEXTS)


def test_a_refusal_is_told_in_the_servers_words_without_the_key(server: RerankServer) -> None:
    server.answer = lambda body: (401, b'{"error": {"message": "no such key: sk-hush"}}')
    with pytest.raises(ModelError, match="answered 401: no such key: …") as caught:
        open_reranker(server).score("lamp", TEXTS)
    assert "reranker_api_key" in caught.value.hint
    assert "sk-hush" not in repr(open_reranker(server))


def test_a_server_that_hangs_is_given_up_in_time(server: RerankServer) -> None:
    server.hang = True
    started_s = time.monotonic()
    with pytest.raises(ModelError) as caught:
        open_reranker(server, timeout_s=0.2).score("lamp", TEXTS)
    assert caught.value.code == "model_timeout"
    assert time.monotonic() - started_s < 5


def test_closing_ends_a_request_in_flight(server: RerankServer) -> None:
    server.hang = True
    reranker = open_reranker(server, timeout_s=60)
    failures: list[RagstoneError] = []

    def ask() -> None:
        try:
            reranker.score("lamp", TEXTS)
        except RagstoneError as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.bodies:
        thread.join(0.01)
    reranker.close()
    thread.join(10)
    assert [failure.code for failure in failures] == ["cancelled"]
    with pytest.raises(ModelError, match="closed"):
        reranker.score("lamp", TEXTS)


def test_where_nobody_listens_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ModelError, match="cannot reach"):
        HttpReranker("m", base_url=f"http://127.0.0.1:{port}", timeout_s=5).score("lamp", TEXTS)


def test_a_key_that_no_header_can_hold_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="key"):
        HttpReranker("m", base_url="http://127.0.0.1:1", api_key="a\nb", timeout_s=5)
