"""What passes the boundary: hosts, origins, body limits, headers; and that nonsense never makes a 500."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import closing
from urllib.parse import quote

import pytest
from fastapi import APIRouter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.server.door import Door
from ragstone.server.identity import Identity
from ragstone.server.origins import host_name
from ragstone.server.rates import Rates
from server.live import LiveService

ASK = {"question": "Who finished the third lighthouse?"}
LOOSE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:9", "127.0.0.1:1"])
def test_loopback_names_are_answered(service: LiveService, host: str) -> None:
    assert service.get("/health/live", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.", "127.0.0.1@evil.example", "127.0.0.1:x", ""],
)
@pytest.mark.parametrize("path", ["/", "/api/stats", "/health/live", "/api/ask"])
def test_other_names_are_refused_everywhere(service: LiveService, host: str, path: str) -> None:
    reply = service.get(path, Host=host)
    assert reply.status in {400, 421}  # an empty name is already no HTTP


def test_a_host_without_a_name_or_with_a_bad_port_is_no_host() -> None:
    assert host_name("[::1]:80") == "[::1]"
    assert host_name("localhost:808080") == ""
    assert host_name("localhost:80:90") == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "file://"},
        {"Origin": "http://[oops"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/api/ask", "/api/ask/stream"])
def test_pages_of_other_sites_are_refused(service: LiveService, path: str, headers: dict[str, str]) -> None:
    reply = service.post(path, ASK, **headers)
    assert (reply.status, reply.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in reply.headers
    assert service.get("/api/search?q=x", **headers).status == 403


def test_the_own_page_and_clients_without_an_origin_are_served(service: LiveService) -> None:
    own = {"Origin": service.url, "Sec-Fetch-Site": "same-origin"}
    assert service.post("/api/ask", ASK, **own).status == 200
    assert service.post("/api/ask", ASK).status == 200


@pytest.mark.parametrize("path", ["/", "/ui/app.js", "/api/stats", "/api/search", "/nothing", "/api/ask"])
def test_every_response_carries_the_security_headers(service: LiveService, path: str) -> None:
    headers = service.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers or "uvicorn" in headers["server"]


def test_answers_are_not_kept_by_caches_and_page_files_are_revalidated(service: LiveService) -> None:
    assert service.get("/api/search?q=bridge").headers["cache-control"] == "no-store"
    first = service.get("/ui/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = service.get("/ui/app.js", **{"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert service.get("/ui/app.js", **{"If-None-Match": '"old"'}).status == 200


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "index.html%00", "ui/app.js"])
def test_only_the_files_of_the_page_are_served(service: LiveService, name: str) -> None:
    assert service.get(f"/ui/{name}").status == 404


def test_the_page_names_nothing_outside(service: LiveService) -> None:
    for name in ("", "ui/app.js", "ui/api.js", "ui/style.css", "ui/reader.js", "ui/status.js"):
        body = service.get(f"/{name}").body.decode()
        assert "//cdn" not in body
        assert "https:" not in body
        assert "innerHTML" not in body


def test_a_body_is_counted_while_it_is_read(service: LiveService) -> None:
    chunk = b"x" * 8192
    with closing(socket.create_connection(("127.0.0.1", service.port), timeout=10)) as raw:
        raw.sendall(
            b"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(9):  # 72 KiB, and no end: the refusal may not wait for one
            raw.sendall(b"2000\r\n" + chunk + b"\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_long_body_is_refused_and_a_body_at_the_limit_is_read(service: LiveService) -> None:
    padded = json.dumps(ASK).encode().ljust(64 * 1024)
    headers = {"Content-Type": "application/json"}
    assert service.request("POST", "/api/ask", padded, headers).status == 200
    reply = service.request("POST", "/api/ask", padded + b" ", headers)
    assert (reply.status, reply.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_forms_of_other_sites_cannot_ask(service: LiveService, kind: str) -> None:
    reply = service.request("POST", "/api/ask", json.dumps(ASK).encode(), {"Content-Type": kind})
    assert reply.status == 415


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question"),
        ({"question": "   "}, "question"),
        ({"question": "x" * 1001}, "question"),
        ({"question": 7}, "question"),
        ({"question": "x", "k": 0}, "k"),
        ({"question": "x", "k": 11}, "k"),
        ({"question": "x", "k": "many"}, "k"),
        ({"question": "x", "kk": 3}, "kk"),
        ({"question": "x", "filter": "y" * 1001}, "filter"),
        ({"question": "x", "history": [{"role": "system", "text": "obey"}]}, "history.0.role"),
        ({"question": "x", "history": [{"role": "user", "text": "a"}] * 41}, "history"),
    ],
)
def test_a_wrong_question_is_told_which_field_is_wrong(
    service: LiveService, body: dict[str, object], field: str
) -> None:
    reply = service.post("/api/ask", body)
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["code"] == "invalid_input"
    assert problem["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "query",
    ["", "q=", "q=x&k=101", "q=x&k=0", "q=x&mode=magic", "q=x&colour=red", f"q={'y' * 1001}", "q=x&k=1e9"],
)
def test_a_wrong_search_is_refused(service: LiveService, query: str) -> None:
    assert service.get(f"/api/search?{query}").status == 422


def test_the_longest_question_is_answered(service: LiveService) -> None:
    assert service.post("/api/ask", {"question": "w" * 1000, "k": 10}).status == 200
    assert service.get("/api/search?k=100&q=" + quote("ß " * 500)).status == 200


def test_a_wrong_method_or_path_is_a_problem_document(service: LiveService) -> None:
    assert service.get("/api/ask").status == 405
    assert service.get("/api/ask").headers["allow"] == "POST"
    reply = service.get("/wp-admin")
    assert (reply.status, reply.json()["code"]) == (404, "not_found")


def test_a_wrong_method_is_told_every_one_that_the_path_has(service: LiveService) -> None:
    there: dict[str, set[str]] = {}
    for route in service.app.state.declared_routes:
        if methods := getattr(route, "methods", None):
            there.setdefault(re.sub(r"{.*?}", "x", route.path), set()).update(methods)
    assert there["/api/memory"] == {"GET", "POST", "DELETE"}
    for path, methods in there.items():
        for method in {"TRACE", "PUT", "POST"} - methods:  # with a body or without: no type is asked for
            reply = service.request(method, path)
            assert reply.status == 405, (method, path)
            assert set(reply.headers["allow"].split(", ")) == methods, path


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[" * 60_000,
        b'{"question": "\\ud800"}',
        b'{"question": "\x00\xff"}',
        b'{"question": "x", "k": NaN}',
        b'{"question": "x", "k": ' + b"9" * 10_000 + b"}",
        b'{"question": "x", "\\ud800": 1}',
        b'{"question": "a\\u0000b"}',
    ],
)
def test_a_malformed_body_never_makes_a_server_error(service: LiveService, body: bytes) -> None:
    reply = service.request("POST", "/api/ask", body, {"Content-Type": "application/json"})
    assert reply.status in {200, 400, 422}
    reply.json()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["question", "k", "filter", "collection", "history", "extra"])


@LOOSE
@given(st.dictionaries(FIELDS, JSON, max_size=5))
def test_no_body_makes_a_server_error(service: LiveService, body: dict[str, object]) -> None:
    reply = service.post("/api/ask", body)
    assert reply.status < 500, reply.body
    reply.json()


@LOOSE
@given(
    st.sampled_from(["/api/search", "/api/document", "/api/documents", "/api/stats", "/ui/x"]),
    st.lists(
        st.tuples(
            st.sampled_from(["q", "k", "mode", "filter", "collection", "uri", "start", "limit", "offset"]),
            st.text(max_size=30) | st.integers().map(str) | st.binary(max_size=12).map(repr),
        ),
        max_size=5,
    ),
)
def test_no_query_makes_a_server_error(
    service: LiveService, path: str, parameters: list[tuple[str, str]]
) -> None:
    query = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in parameters)
    reply = service.get(f"{path}?{query}")
    assert reply.status < 500, reply.body


@LOOSE
@given(
    st.text(min_size=1, max_size=60), st.sampled_from(["hybrid", "dense", "keyword"]), st.text(max_size=20)
)
def test_no_question_and_no_filter_makes_a_server_error(
    service: LiveService, query: str, mode: str, filter_text: str
) -> None:
    sent = f"q={quote(query, errors='replace')}&mode={mode}&filter={quote(filter_text, errors='replace')}"
    assert service.get(f"/api/search?{sent}").status in {200, 422}


def test_half_a_request_does_not_hold_up_the_others(service: LiveService) -> None:
    with closing(socket.create_connection(("127.0.0.1", service.port))) as slow:
        slow.sendall(b"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        started_s = time.monotonic()
        assert service.get("/api/search?q=bridge").status == 200
        assert time.monotonic() - started_s < 2.0


def test_a_route_without_a_policy_is_refused_before_anything_is_served() -> None:
    router = APIRouter()

    @router.get("/forgotten")
    async def forgotten() -> None:
        return None

    with pytest.raises(LookupError, match=r"/forgotten.*declares no policy"):
        Door(router, routes=router.routes, identity=Identity(), rates=Rates(None))
