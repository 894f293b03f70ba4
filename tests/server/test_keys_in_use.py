"""Keys in a running service: open without any, closed with the first, ended at once, bound to collections."""

from __future__ import annotations

import http.client
import json
from contextlib import ExitStack, closing
from ipaddress import ip_network
from pathlib import Path

import pytest

from fake_clock import FakeClock
from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.keys import FILE_NAME, KeyStore
from ragstone.server.admission import admission_of
from ragstone.server.identity import Identity
from ragstone.server.service import ANSWER_THREADS
from ragstone.server.serving import serve
from ragstone.settings import Settings
from server.keyed import HOURS, fill, keyed
from server.live import DrippingModel, running, wait_until

QUESTION = {"question": "The observatory opens at nine"}


def test_a_service_is_open_to_its_machine_until_the_first_key(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    settings = Settings(data_dir=tmp_path)
    with (
        Ragstone(settings=settings, embedder=HashingEmbedder()) as engine,
        running(engine, admission=admission_of(settings)) as live,
    ):
        live.wait_ready()
        assert live.get("/api/stats").status == 200
        assert (
            live.get("/api/stats", Authorization="Bearer sk-any").status == 200
        )  # as clients of OpenAI send
        _, secret = KeyStore(tmp_path).add("laptop")
        assert live.get("/api/stats").status == 401
        assert live.get("/api/stats", Authorization="Bearer sk-any").status == 401
        assert live.get("/api/stats", Authorization=f"Bearer {secret}").status == 200
        assert live.get("/").status == 200  # the page, which asks for the key
        KeyStore(tmp_path).revoke("laptop")
        assert live.get("/api/stats").status == 401  # not open again
        (tmp_path / FILE_NAME).unlink()
        assert live.get("/api/stats").status == 401


def test_without_require_key_this_machine_needs_none(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path, require_key=False) as service:
        assert service.get("/api/stats").status == 200
        assert service.get("/api/stats", "rgs_wrong").status == 401  # a wrong key is a mistake worth telling
        reply = service.get("/api/stats", **{"X-Forwarded-For": "192.0.2.7"})
        assert reply.status == 401  # a proxy on this machine brings others


def test_damaged_keys_close_the_service_and_say_so(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path) as service:
        secret = service.key("laptop")
        assert service.get("/api/stats", secret).status == 200
        (tmp_path / FILE_NAME).write_text("{")
        reply = service.get("/api/stats", secret)
        assert (reply.status, reply.json()["code"]) == (503, "keys_damaged")
        assert str(tmp_path) not in reply.body.decode()
        assert service.get("/health/live").status == 200


def test_revoking_a_key_ends_its_running_streams(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    model = DrippingModel(text="The observatory opens at nine [1].", repeat=1_000)
    with keyed(tmp_path, chat_model=model) as service:
        secret = service.key("laptop")
        with closing(http.client.HTTPConnection("127.0.0.1", service.live.port, timeout=20)) as connection:
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
            connection.request("POST", "/api/ask/stream", json.dumps(QUESTION), headers)
            response = connection.getresponse()
            while b"event: token" not in response.readline():
                pass
            service.keys.revoke("laptop")
            rest = response.read().decode()
        last = rest.strip().split("\n\n")[-1]
        assert last.startswith("event: error\n")
        assert '"code":"key_required"' in last.replace(" ", "")
        assert wait_until(model.stopped.is_set, "the model stops") < 2


def test_revoking_a_key_ends_an_answer_that_has_not_begun(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    model = DrippingModel(text="The observatory opens at nine [1].", pause_s=30.0)
    with keyed(tmp_path, chat_model=model) as service:
        secret = service.key("laptop")
        with closing(http.client.HTTPConnection("127.0.0.1", service.live.port, timeout=20)) as connection:
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
            connection.request("POST", "/api/ask", json.dumps(QUESTION), headers)
            wait_until(lambda: model.calls > 0, "the model is asked")
            service.keys.revoke("laptop")
            assert connection.getresponse().status == 401
        assert wait_until(model.stopped.is_set, "the model stops") < 2


def test_another_keys_collection_reads_like_a_missing_one(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS], "secret": ["The vault opens at ten."]})
    with keyed(tmp_path) as service:
        bound = service.key("bound", only=["default"])
        free = service.key("free")
        for path in ("/api/search?q=vault&collection={}", "/api/document?uri=secret/0&collection={}"):
            hidden = service.get(path.format("secret"), bound)
            missing = service.get(path.format("absent"), bound)
            absent = service.get(path.format("absent"), free)
            assert hidden.status == missing.status == absent.status == 404
            told = [{**reply.json(), "request_id": ""} for reply in (hidden, missing, absent)]
            assert told[0] == told[1] == told[2]
            assert service.get(path.format("secret"), free).status == 200
        hidden = service.post("/api/ask", {**QUESTION, "collection": "secret"}, bound)
        missing = service.post("/api/ask", {**QUESTION, "collection": "absent"}, bound)
        assert hidden.status == missing.status == 404
        assert hidden.json()["detail"] == missing.json()["detail"]
        assert service.get("/api/stats", bound).json()["collections"] == ["default"]
        elsewhere = service.key("elsewhere", only=["secret"])
        for path in ("/api/index/progress", "/api/stats", "/api/documents", "/api/search?q=nine"):
            assert service.get(path, elsewhere).status == 404, path  # all of them are about `default`
            assert service.get(path, bound).status == 200, path


def test_a_public_address_wants_a_current_key(tmp_path: Path) -> None:
    clock = FakeClock(1_000.0)
    store = KeyStore(tmp_path, clock=clock)
    store.add("gone", days=1)
    settings = Settings(data_dir=tmp_path, host="0.0.0.0", port=0)  # noqa: S104
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine:
        with pytest.raises(InputError, match="no keys") as refused:
            serve(engine, host=settings.host, port=0, admission=admission_of(settings))
        assert "ragstone keys add" in refused.value.hint


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        ("198.51.100.4", "", "198.51.100.4"),
        ("198.51.100.4", "203.0.113.9", "198.51.100.4"),  # anybody can write that
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (
            "10.0.0.1",
            "1.2.3.4, 203.0.113.9, 10.0.0.2",
            "203.0.113.9",
        ),  # what the first one claims counts for nothing
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
    ],
)
def test_a_client_is_counted_by_the_last_address_nobody_trusted_vouches_for(
    peer: str, forwarded: str, counted: str
) -> None:
    identity = Identity(trusted_proxies=(ip_network("10.0.0.0/8"),))
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert identity.address({"type": "http", "client": (peer, 1), "headers": headers}) == counted


def test_beyond_the_lane_of_answers_one_is_told_to_come_back_and_searches_go_on(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    model = DrippingModel(text="The observatory opens at nine [1].", repeat=1_000)
    with keyed(tmp_path, chat_model=model, require_key=False) as service, ExitStack() as stack:
        for number in range(ANSWER_THREADS):
            connection = stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", service.live.port, timeout=20))
            )
            body = json.dumps({"question": QUESTION["question"] + "!" * number})
            connection.request("POST", "/api/ask/stream", body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 200
        for path in ("/api/ask", "/api/ask/stream"):
            refused = service.post(path, QUESTION)
            assert (refused.status, refused.json()["code"]) == (503, "busy")
            assert refused.headers["retry-after"] == "1"
        assert service.get("/api/search?q=nine").status == 200
        assert service.live.app.state.service._answering.taken == ANSWER_THREADS
        stack.close()
        wait_until(lambda: service.live.app.state.service._answering.taken == 0, "the slots are back")
