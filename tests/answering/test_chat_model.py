"""A chat model over HTTP: what users get when its server is well, slow, broken or gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from chat_server import ChatServer, Peer, chat_server
from ragstone.answering.chat_model import ChatDelta, Message, OpenAIChatModel
from ragstone.errors import CancelledError, InputError, ModelError
from ragstone.types import Usage

KEY = "sk-secret-0123456789"
QUESTION = [Message("system", "Be brief."), Message("user", "Wie spät ist es? ⏰")]


def model(server: ChatServer, **options: Any) -> OpenAIChatModel:
    defaults: dict[str, Any] = {"read_timeout_s": 2.0, "api_key": KEY}
    return OpenAIChatModel(base_url=server.url, model="tiny", **(defaults | options))


def ask(
    server: ChatServer,
    *,
    timeout_s: float = 5.0,
    cancelled: Callable[[], bool] | None = None,
    **options: Any,
) -> list[ChatDelta]:
    stream = model(server, **options).stream(
        QUESTION, timeout_s=timeout_s, max_tokens=50, cancelled=cancelled
    )
    return list(stream)


def text_of(deltas: list[ChatDelta]) -> str:
    return "".join(delta.text for delta in deltas)


def good(peer: Peer) -> None:
    peer.begin_stream()
    peer.delta("It is ")
    peer.delta("noon ☀.")
    peer.finish(usage={"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16})


def test_words_arrive_in_order_and_usage_is_counted() -> None:
    with chat_server(good) as server:
        deltas = ask(server, organization="org-1")
    assert [delta.text for delta in deltas] == ["It is ", "noon ☀.", ""]
    assert deltas[-1].usage == Usage(11, 5)
    (request,) = server.requests
    assert request.body["model"] == "tiny"
    assert request.body["messages"] == [{"role": m.role, "content": m.content} for m in QUESTION]
    assert request.body["stream_options"] == {"include_usage": True}
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["OpenAI-Organization"] == "org-1"


def test_a_server_without_usage_or_done_marker_is_fine() -> None:
    def plain(peer: Peer) -> None:
        peer.begin_stream()
        peer.send(": keep-alive\n\n")
        peer.delta("Yes.")
        peer.delta(finish_reason="stop")

    with chat_server(plain) as server:
        assert ask(server) == [ChatDelta("Yes.")]


def test_no_key_sends_no_authorization() -> None:
    with chat_server(good) as server:
        ask(server, api_key="")
    assert "Authorization" not in server.requests[0].headers


def test_too_many_requests_is_tried_again_after_the_time_the_server_asks_for() -> None:
    def busy(peer: Peer) -> None:
        peer.respond("429 Too Many Requests", "{}", "Retry-After: 0.7")

    with chat_server(busy, good) as server:
        assert text_of(ask(server)) == "It is noon ☀."
    assert 0.65 <= server.times[1] - server.times[0] < 1.5


def test_retry_after_may_be_a_date() -> None:
    def busy(peer: Peer) -> None:
        peer.respond(
            "503 Service Unavailable", "", f"Retry-After: {formatdate(time.time() + 2, usegmt=True)}"
        )

    with chat_server(busy, good) as server:
        assert text_of(ask(server)) == "It is noon ☀."
    assert 0.8 <= server.times[1] - server.times[0] < 3.0


def test_a_pause_longer_than_the_deadline_is_reported_at_once() -> None:
    def busy(peer: Peer) -> None:
        peer.respond("429 Too Many Requests", '{"error": {"message": "quota"}}', "Retry-After: 19")

    start = time.monotonic()
    with chat_server(busy) as server, pytest.raises(ModelError, match="429: quota") as caught:
        ask(server)
    assert caught.value.code == "model_overloaded"
    assert time.monotonic() - start < 1.0
    assert len(server.requests) == 1


def test_server_errors_are_tried_three_times_in_all_then_reported() -> None:
    def broken(peer: Peer) -> None:
        peer.respond("500 Internal Server Error", '{"error": {"message": "out of memory"}}')

    with chat_server(broken) as server, pytest.raises(ModelError, match="answered 500: out of memory"):
        ask(server)
    assert len(server.requests) == 3


def test_a_connection_dropped_before_the_first_word_is_tried_again() -> None:
    with chat_server(lambda peer: None, good) as server:
        assert text_of(ask(server)) == "It is noon ☀."


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("401 Unauthorized", "model_unauthorized"),
        ("404 Not Found", "model_not_found"),
        ("400 Bad", "model_rejected"),
    ],
)
def test_a_refused_request_is_not_repeated_and_never_shows_the_key(status: str, code: str) -> None:
    def refuse(peer: Peer) -> None:
        peer.respond(status, f'{{"error": {{"message": "bad key {KEY}"}}}}')

    with chat_server(refuse) as server, pytest.raises(ModelError) as caught:
        ask(server)
    assert caught.value.code == code
    assert caught.value.hint
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1


def test_the_key_is_not_in_the_representation() -> None:
    assert KEY not in repr(OpenAIChatModel(base_url="http://localhost/v1", model="m", api_key=KEY))


def test_a_key_with_a_line_break_is_refused_before_it_reaches_a_header() -> None:
    with pytest.raises(InputError, match="API key") as caught:
        OpenAIChatModel(base_url="http://localhost/v1", model="m", api_key=KEY + "\nX: y")
    assert KEY not in str(caught.value)


def test_a_refused_connection_is_reported_quickly_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    start = time.monotonic()
    gone = OpenAIChatModel(base_url=f"http://127.0.0.1:{port}/v1", model="m")
    with pytest.raises(ModelError, match=rf"127\.0\.0\.1:{port}.*refused") as caught:
        list(gone.stream(QUESTION, timeout_s=5, max_tokens=5))
    assert caught.value.code == "model_unreachable"
    assert time.monotonic() - start < 1.0


def test_an_address_that_is_no_address_is_the_callers_mistake() -> None:
    with pytest.raises(InputError, match="not an http"):
        list(OpenAIChatModel(base_url="localhost:1", model="m").stream(QUESTION, timeout_s=1, max_tokens=5))


def test_a_server_that_hangs_is_given_up_after_the_read_timeout() -> None:
    with chat_server(Peer.wait_for_hang_up) as server:
        start = time.monotonic()
        with pytest.raises(ModelError, match=r"0\.4 s") as caught:
            ask(server, read_timeout_s=0.4)
        assert 0.35 < time.monotonic() - start < 1.0
        assert caught.value.code == "model_timeout"
        assert server.wait_for_hang_ups(1)


def test_slow_headers_cannot_outlast_the_deadline() -> None:
    def slow(peer: Peer) -> None:
        for character in "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Slow: yes\r\n":
            peer.send(character)
            time.sleep(0.05)

    with chat_server(slow) as server:
        start = time.monotonic()
        with pytest.raises(ModelError, match="deadline"):
            ask(server, timeout_s=0.6)
        assert time.monotonic() - start < 1.1


def test_a_dripping_answer_cannot_outlast_the_deadline() -> None:
    def drip(peer: Peer) -> None:
        peer.begin_stream()
        while True:
            peer.delta("a ")
            time.sleep(0.05)

    with chat_server(drip) as server:
        start = time.monotonic()
        with pytest.raises(ModelError, match="deadline"):
            ask(server, timeout_s=0.6)
        assert 0.5 < time.monotonic() - start < 1.1


def test_words_keep_their_bytes_when_the_network_splits_them() -> None:
    def split(peer: Peer) -> None:
        peer.begin_stream()
        for (
            byte
        ) in 'data: {"choices": [{"delta": {"content": "日☀é"}, "finish_reason": "stop"}]}\r\n\r\n'.encode():
            peer.connection.sendall(bytes([byte]))
            time.sleep(0.001)

    with chat_server(split) as server:
        assert text_of(ask(server)) == "日☀é"


def test_an_answer_cut_in_the_middle_is_an_error_and_not_repeated() -> None:
    def cut(peer: Peer) -> None:
        peer.begin_stream()
        peer.delta("It is ")

    with chat_server(cut) as server:
        stream = model(server).stream(QUESTION, timeout_s=5, max_tokens=5)
        assert next(stream).text == "It is "
        with pytest.raises(ModelError, match="broke off") as caught:
            next(stream)
    assert caught.value.code == "model_cut"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome to the router</html>\n",
        "data: {not json\n\n",
        "data: [1, 2]\n\n",
        'data: {"choices": ["x"]}\n\n',
        'data: {"choices": [{"delta": {"content": 7}}]}\n\n',
        "",
        "data: " + "x" * (1 << 20) + "\n\n",
    ],
    ids=["html", "broken json", "list", "odd choice", "odd content", "empty", "endless line"],
)
def test_garbage_is_named_as_such(body: str) -> None:
    with (
        chat_server(lambda peer: peer.respond("200 OK", body)) as server,
        pytest.raises(ModelError) as caught,
    ):
        ask(server)
    assert caught.value.code == "model_protocol"
    assert len(str(caught.value)) < 400


def test_an_error_inside_the_stream_is_reported_in_the_servers_words() -> None:
    def fail(peer: Peer) -> None:
        peer.begin_stream()
        peer.event({"error": {"message": f"context too long for {KEY}"}})

    with chat_server(fail) as server, pytest.raises(ModelError, match="context too long") as caught:
        ask(server)
    assert KEY not in str(caught.value)


def test_closing_the_answer_hangs_up_within_a_second() -> None:
    def talk_then_wait(peer: Peer) -> None:
        peer.begin_stream()
        peer.delta("Well, ")
        peer.wait_for_hang_up()

    with chat_server(talk_then_wait) as server:
        for n in range(50):
            stream = model(server).stream(QUESTION, timeout_s=5, max_tokens=5)
            next(stream)
            stream.close()
            assert len(server.wait_for_hang_ups(n + 1)) == n + 1
        assert max(server.closed_after_s) < 1.0


def test_cancelling_hangs_up_within_a_second_while_the_server_is_silent() -> None:
    stop = threading.Event()
    with chat_server(Peer.wait_for_hang_up) as server:
        threading.Timer(0.3, stop.set).start()
        start = time.monotonic()
        with pytest.raises(CancelledError):
            ask(server, cancelled=stop.is_set, read_timeout_s=30, timeout_s=30)
        assert time.monotonic() - start < 1.0
        (closed_after_s,) = server.wait_for_hang_ups(1)
        assert closed_after_s < 1.3


def test_cancelling_ends_the_pause_between_tries() -> None:
    stop = threading.Event()

    def busy(peer: Peer) -> None:
        peer.respond("503 Service Unavailable", "", "Retry-After: 10")

    with chat_server(busy) as server:
        threading.Timer(0.3, stop.set).start()
        start = time.monotonic()
        with pytest.raises(CancelledError):
            ask(server, cancelled=stop.is_set, timeout_s=30)
        assert time.monotonic() - start < 1.0


def test_many_threads_share_one_model() -> None:
    with chat_server(good) as server:
        shared = model(server)
        answers: list[str] = []

        def work() -> None:
            answers.append(text_of(list(shared.stream(QUESTION, timeout_s=10, max_tokens=5))))

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["It is noon ☀."] * 16
