"""Webhooks: signed so that a receiver can check them, tried again, bounded, in nobody's way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import SettingsError
from ragstone.server.app import create_app
from ragstone.server.webhooks import ATTEMPTS, MAX_WAITING, Webhooks, signing_key
from ragstone.settings import Settings
from server.live import running, wait_until
from server.receiver import Receiver, receiving
from server.uploading import finished, upload

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOBODY = "http://127.0.0.1:9/"  # the discard port, where nobody listens


def verified(headers: dict[str, str], body: bytes) -> dict[str, object]:
    """What a receiver does, written down anew: https://www.standardwebhooks.com/"""
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert f"v1,{wanted}" in headers["webhook-signature"].split(" ")
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
    found: dict[str, object] = json.loads(body)
    return found


@contextmanager
def sending(url: str, *, first_pause_s: float = 0.01) -> Iterator[tuple[Webhooks, Counter[str]]]:
    outcomes: Counter[str] = Counter()
    webhooks = Webhooks(
        url, SECRET, outcome=lambda what: outcomes.update([what]), first_pause_s=first_pause_s
    )
    webhooks.start()
    try:
        yield webhooks, outcomes
    finally:
        webhooks.stop()
    assert not any(thread.name == "ragstone-webhooks" for thread in threading.enumerate())


def test_a_receiver_verifies_the_signature_and_finds_the_event() -> None:
    with receiving(Receiver()) as receiver, sending(receiver.url) as (webhooks, outcomes):
        webhooks.send("index.done", {"é": 1})
        wait_until(lambda: outcomes.total() == 1, "the event is there")
    assert outcomes == {"delivered": 1}
    event = verified(*receiver.taken[0])
    assert (event["type"], event["data"]) == ("index.done", {"é": 1})


def test_an_event_is_tried_again_under_one_id_until_it_is_taken() -> None:
    with (
        receiving(Receiver(statuses=[500, 429, 204])) as receiver,
        sending(receiver.url) as (webhooks, outcomes),
    ):
        webhooks.send("index.done", {})
        wait_until(lambda: outcomes.total() == 1, "the event is taken")
    assert outcomes == {"delivered": 1}
    assert len({headers["webhook-id"] for headers, _ in receiver.taken}) == 1
    for headers, body in receiver.taken:
        verified(headers, body)
    assert len(receiver.taken) == 3


def test_trying_ends(caplog: pytest.LogCaptureFixture) -> None:
    with (
        receiving(Receiver(statuses=[503])) as receiver,
        sending(receiver.url, first_pause_s=0.001) as (
            webhooks,
            outcomes,
        ),
    ):
        webhooks.send("index.done", {})
        wait_until(lambda: outcomes.total() == 1, "it is given up")
    assert (outcomes, len(receiver.taken)) == ({"failed": 1}, ATTEMPTS)
    assert "status 503" in caplog.text


@pytest.mark.parametrize("status", [301, 307, 400, 410])
def test_a_redirect_or_refusal_is_final_and_never_followed(status: int) -> None:
    with (
        receiving(Receiver()) as inside,
        receiving(Receiver(statuses=[status], location=inside.url)) as receiver,
    ):
        with sending(receiver.url) as (webhooks, outcomes):
            webhooks.send("index.done", {})
            wait_until(lambda: outcomes.total() == 1, "it is given up")
        assert (outcomes, len(receiver.taken), inside.taken) == ({"failed": 1}, 1, [])


def test_a_receiver_that_is_away_holds_nobody_up_and_the_queue_is_bounded() -> None:
    with sending(NOBODY, first_pause_s=1000.0) as (webhooks, outcomes):
        started_s = time.monotonic()
        for _ in range(MAX_WAITING + 10):
            webhooks.send("index.done", {})
        assert time.monotonic() - started_s < 1.0
        assert 5 <= outcomes["dropped"] <= 10  # one may be at the attempt, some have been put back
    assert outcomes["delivered"] == 0
    assert outcomes["dropped"] >= MAX_WAITING


def test_stopping_does_not_wait_for_a_receiver_that_says_nothing() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        with sending(f"http://127.0.0.1:{silent.getsockname()[1]}/") as (webhooks, _):
            webhooks.send("index.done", {})
            connection, _ = silent.accept()
            started_s = time.monotonic()
        assert time.monotonic() - started_s < 2.0
        connection.close()


def test_a_secret_is_base64_after_its_prefix_or_text() -> None:
    assert signing_key(SECRET) == KEY
    assert signing_key("a plain long secret") == b"a plain long secret"
    for wrong in ("whsec_§", "whsec_a", "whsec_", "", "short"):
        with pytest.raises(SettingsError, match="webhook_secret"):
            signing_key(wrong)


def test_the_service_tells_of_jobs_and_answers(tmp_path: Path) -> None:
    with receiving(Receiver()) as receiver:
        settings = Settings(
            data_dir=tmp_path, webhook_url=receiver.url, webhook_secret=SecretStr(SECRET), enable_metrics=True
        )
        with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine, running(engine) as service:
            job = finished(service, upload(service, {"tower.txt": b"Smeaton finished the tower in 1759."}))
            service.post("/api/ask", {"question": "When did Smeaton finish the tower?"})
            service.post("/api/ask/stream", {"question": "When did Smeaton finish the tower?"})
            wait_until(lambda: len(receiver.taken) == 3, "three events")
            wait_until(
                lambda: b'ragstone_webhooks_total{outcome="delivered"} 3' in service.get("/metrics").body,
                "they are counted",
            )
    events = [verified(*taken) for taken in receiver.taken]
    assert [event["type"] for event in events] == ["upload.done", "answer.done", "answer.done"]
    assert events[0]["data"] == job
    answer = events[1]["data"]
    assert isinstance(answer, dict)
    assert (answer["question"], "1759" in answer["answer"]) == ("When did Smeaton finish the tower?", True)


def test_a_webhook_without_a_secret_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, webhook_url=NOBODY)
    with (
        Ragstone(settings=settings, embedder=HashingEmbedder()) as engine,
        pytest.raises(SettingsError, match="webhook_secret"),
    ):
        create_app(engine)
