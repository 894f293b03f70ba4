"""Every route, every state of a key, every way to send one: let in exactly as the route's policy says, before the
body is read. The routes are the application's own, so a new one is covered by being there."""

from __future__ import annotations

import http.client
import itertools
import re
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi import FastAPI

from fake_clock import FakeClock
from ragstone.keys import Granted, KeyStore
from ragstone.server.access import PERMISSIONS, Policy, policy_of
from server.keyed import HOURS, Keyed, fill, keyed

GRANTED: tuple[Granted, ...] = ("read", "write", "admin")
STATES = ("none", "read", "write", "admin", "revoked", "expired", "unknown", "other secret", "garbage")
FORMS = ("bearer", "BEARER", "x-api-key", "both", "basic", "query", "cookie", "two keys", "two headers")
CARRIED = {"bearer", "BEARER", "x-api-key", "both"}  # the forms in which a key counts


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    fill(folder, {"default": [HOURS]})
    with keyed(folder) as running:
        yield running


@pytest.fixture(scope="module")
def secrets(service: Keyed) -> dict[str, str]:
    made: dict[str, str] = {name: service.key(name, may=name) for name in GRANTED}
    made["second"] = service.key("second", may="admin")
    made["revoked"] = service.key("revoked", may="admin")
    service.keys.revoke("revoked")
    long_ago = KeyStore(_folder(service), clock=FakeClock(1_000.0))
    made["expired"] = long_ago.add("expired", permission="admin", days=1)[1]
    made["unknown"] = "rgs_" + "0" * 12 + "_" + "A" * 43
    made["other secret"] = made["admin"][:17] + made["read"][17:]
    made["garbage"] = "sk-" + "x" * 30
    return made


def test_every_route_answers_every_key_as_its_policy_says(service: Keyed, secrets: dict[str, str]) -> None:
    tried = 0
    for (method, path, policy), state, form in itertools.product(_routes(service.live.app), STATES, FORMS):
        if state == "none" and form != "bearer":
            continue
        status = _status(service, method, path, *_sent(form, secrets.get(state, ""), secrets["second"]))
        wanted = _wanted(policy, state if form in CARRIED else "none")
        assert status in wanted if wanted else status not in {401, 403}, (method, path, state, form, status)
        tried += 1
    assert tried > 500


def test_the_policies_are_those_of_a_service_that_keeps_documents(service: Keyed) -> None:
    """Whoever opens a route to everybody says so here."""
    opened = {path for _, path, policy in _routes(service.live.app) if policy.needs == "open"}
    assert opened <= {
        "/",
        "/ui/x",
        "/health/live",
        "/health/ready",
        "/health/startup",
        "/api/docs",
        "/api/openapi.json",
    }
    for method, path, policy in _routes(service.live.app):
        if method in {"DELETE", "PUT", "PATCH"}:
            assert PERMISSIONS.index(policy.needs) >= PERMISSIONS.index("write"), (method, path)


def test_who_may_not_pass_is_told_before_the_body_is_read(service: Keyed, secrets: dict[str, str]) -> None:
    posts = [(path, policy) for method, path, policy in _routes(service.live.app) if method == "POST"]
    assert posts
    for path, _ in posts:
        with closing(socket.create_connection(("127.0.0.1", service.live.port), timeout=10)) as raw:
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
            raw.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n{")
            assert raw.recv(4096).startswith(b"HTTP/1.1 401")
            # And the rest is not read for ever: the connection ends although the body never does.
            while raw.recv(4096):
                pass


def test_a_refusal_says_what_is_missing(service: Keyed, secrets: dict[str, str]) -> None:
    nobody = service.get("/api/stats")
    assert (nobody.status, nobody.json()["code"]) == (401, "key_required")
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    unknown = service.get("/api/stats", secrets["unknown"])
    revoked = service.get("/api/stats", secrets["revoked"])
    for reply in (unknown, revoked):  # nothing tells a wrong key from one that was right once
        assert {**reply.json(), "request_id": ""} == {**nobody.json(), "request_id": ""}


def _routes(app: FastAPI) -> list[tuple[str, str, Policy]]:
    found = [
        (method, re.sub(r"{[^}]*}", "x", route.path), policy_of(route))
        for route in app.state.declared_routes
        for method in sorted(getattr(route, "methods", None) or ())  # a WebSocket has none
    ]
    assert len(found) >= 10
    return found


def _wanted(policy: Policy, state: str) -> set[int]:
    """The statuses that are right; empty: whatever the route itself says."""
    if policy.needs == "open":
        return set()
    if state not in GRANTED:
        return {401}
    return set() if PERMISSIONS.index(state) >= PERMISSIONS.index(policy.needs) else {403}


def _sent(form: str, secret: str, other: str) -> tuple[dict[str, str], str]:
    """Headers and query in which the key travels."""
    if not secret:
        return {}, ""
    match form:
        case "bearer":
            return {"Authorization": f"Bearer {secret}"}, ""
        case "BEARER":
            return {"authorization": f"BEARER  {secret}"}, ""
        case "x-api-key":
            return {"X-API-Key": secret}, ""
        case "both":
            return {"X-API-Key": secret, "Authorization": f"Bearer {secret}"}, ""
        case "basic":
            return {"Authorization": "Basic " + b64encode(f"{secret}:{secret}".encode()).decode()}, ""
        case "query":
            return {}, f"?key={secret}&api_key={secret}&access_token={secret}"
        case "cookie":
            return {"Cookie": f"key={secret}; Authorization=Bearer {secret}"}, ""
        case "two keys":
            return {"X-API-Key": secret, "Authorization": f"Bearer {other}"}, ""
        case _:
            return {"X-API-Key": f"{secret}, {secret}"}, ""


def _status(service: Keyed, method: str, path: str, headers: dict[str, str], query: str) -> int:
    """Of the response's head: a stream's body may have no end."""
    connection = http.client.HTTPConnection("127.0.0.1", service.live.port, timeout=20)
    with closing(connection):
        connection.request(method, path + query, headers=headers)
        return connection.getresponse().status


def _folder(service: Keyed) -> Path:
    return service.engine.settings.data_dir
