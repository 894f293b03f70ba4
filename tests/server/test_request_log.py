"""Request ids and log lines: one joins the other, and no query, text or key is in the log."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ragstone.logs
from ragstone.logs import COMPONENTS, JsonFormatter, TextFormatter, set_levels
from restored_logging import restored_logging
from server.keyed import HOURS, Keyed, fill, keyed
from server.live import wait_until


@contextmanager
def _log(formatter: logging.Formatter, level: str = "debug") -> Iterator[io.StringIO]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    with restored_logging():
        logging.getLogger().addHandler(handler)
        set_levels(level, {})
        try:
            yield out
        finally:
            logging.getLogger().removeHandler(handler)
            for name in ("ragstone", *(f"ragstone.{component}" for component in COMPONENTS)):
                logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("logged")
    fill(folder, {"default": [HOURS]})
    with keyed(folder) as running:
        yield running


def _lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_in_the_log_joins_its_response(service: Keyed) -> None:
    secret = service.key("laptop")
    with _log(JsonFormatter()) as out:
        reply = service.get("/api/search?q=when+nine", secret, **{"X-Request-ID": "from-outside.7"})
        assert reply.headers["x-request-id"] == "from-outside.7"
        wait_until(lambda: "/api/search" in out.getvalue(), "the line is written")
    (line,) = [line for line in _lines(out) if line["logger"] == "ragstone.access"]
    assert line["request_id"] == "from-outside.7"
    assert {line["method"], line["route"], line["status"], line["caller"]} == {
        "GET",
        "/api/search",
        200,
        "laptop",
    }
    assert line["ms"] > 0
    assert line["time"].endswith("Z")


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é", "a;b", '"}'])
def test_an_id_that_would_spoil_the_log_is_replaced(service: Keyed, given: str) -> None:
    own = service.get("/health/live", **{"X-Request-ID": given}).headers["x-request-id"]
    assert own != given
    assert len(own) == 16


def test_every_problem_document_names_its_request(service: Keyed) -> None:
    secret = service.key("problems")
    for path in (
        "/api/stats",
        "/nothing",
        "/api/search?q=",
        "/api/document?uri=absent",
        "/api/search?q=x&collection=z",
    ):
        for key in ("", secret):
            reply = service.get(path, key)
            if reply.status != 200:
                assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert service.get("/", Host="evil.example").json()["request_id"]


def test_what_a_request_says_is_not_in_the_log(service: Keyed) -> None:
    secret, revoked = service.key("private"), service.key("ended")
    service.keys.revoke("ended")
    words = ["zebrafish", "observatory"]
    for formatter in (JsonFormatter(), TextFormatter()):
        with _log(formatter) as out:
            service.get("/api/search?q=zebrafish&filter=type:zebrafish", secret)
            service.get("/zebrafish?zebrafish", secret)
            service.get("/ui/zebrafish")
            service.get("/api/document?uri=zebrafish", secret)
            service.post("/api/ask", {"question": "zebrafish in the observatory?"}, secret)
            service.post("/api/ask/stream", {"question": "zebrafish in the observatory?"}, secret)
            service.get("/api/stats", revoked)
            service.get("/api/stats", **{"X-API-Key": secret + "zebrafish"})
            service.get(f"/api/stats?key={secret}")
            service.live.request("POST", "/api/ask", b'{"zebrafish"', {"Authorization": f"Bearer {secret}"})
            wait_until(lambda: out.getvalue().count("/api/ask") >= 3, "the lines are written")
        said = out.getvalue()
        for hushed in (secret, secret[17:], revoked, *words):
            assert hushed not in said


def test_an_unexpected_error_is_in_the_log_under_its_request(service: Keyed) -> None:
    secret = service.key("errors")
    inner = service.engine.stats
    with _log(JsonFormatter()) as out:
        service.engine.stats = lambda *, collection=None: 1 / 0  # type: ignore
        try:
            reply = service.get("/api/stats", secret)
        finally:
            service.engine.stats = inner  # type: ignore[method-assign]
    assert reply.status == 500
    (line,) = [line for line in _lines(out) if "error" in line]
    assert "ZeroDivisionError" in line["error"]
    assert line["request_id"] == reply.headers["x-request-id"] == reply.json()["request_id"]
    assert "ZeroDivision" not in reply.body.decode()


def test_components_have_levels_of_their_own() -> None:
    with _log(TextFormatter()) as out:
        set_levels("warning", {"server": "debug"})
        logging.getLogger("ragstone.server").debug("heard")
        logging.getLogger("ragstone.access").info("not heard")
        logging.getLogger("ragstone").info("nor this")
        set_levels("warning", {"access": "info"})
        logging.getLogger("ragstone.access").info("heard now")
    assert [line.rpartition(": ")[2] for line in out.getvalue().splitlines()] == ["heard", "heard now"]


def test_every_component_that_can_be_set_logs_under_its_name_and_none_is_missing() -> None:
    sources = Path(ragstone.logs.__file__).parent.rglob("*.py")
    named = {
        name for path in sources for name in re.findall(r'getLogger\("ragstone\.(\w+)"\)', path.read_text())
    }
    assert named == set(COMPONENTS)
