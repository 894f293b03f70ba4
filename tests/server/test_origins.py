"""Names and sites: own names are answered, listed sites are let in by CORS, everybody else is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragstone.server.admission import admission_of
from ragstone.settings import Settings
from server.keyed import HOURS, Keyed, fill, keyed
from server.live import Reply

SITE = "https://docs.example.org"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


def told(reply: Reply) -> dict[str, str]:
    """What a refusal says; below `/v1` in OpenAI's form."""
    body = reply.json()
    said: dict[str, str] = body.get("error", body)
    return said


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("origins")
    fill(folder, {"default": [HOURS]})
    with keyed(folder, allowed_origins=(SITE,), allowed_hosts=("Docs.example.org",)) as running:
        yield running


def test_a_listed_site_may_ask_and_read(service: Keyed) -> None:
    secret = service.key("site")
    cross = {"Origin": SITE, "Sec-Fetch-Site": "cross-site"}
    preflight = service.live.request("OPTIONS", "/api/ask", headers={**cross, **PREFLIGHT})
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == SITE
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    reply = service.get("/api/search?q=nine", secret, **cross)
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, SITE)
    assert "Origin" in reply.headers["vary"]
    assert "access-control-allow-credentials" not in reply.headers
    refused = service.get("/api/search?q=nine", **cross)  # a listed site still needs a key, and may read why
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, SITE)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://docs.example.org",
        f"{SITE}.evil.example",
        f"{SITE}:444",
        "null",
        "*",
        SITE.upper(),
    ],
)
def test_no_other_site_may(service: Keyed, origin: str) -> None:
    secret = service.key(f"other {origin}")
    for path in ("/api/search?q=nine", "/api/openapi.json", "/v1/models", "/metrics", "/mcp"):
        reply = service.get(path, secret, Origin=origin)
        assert (reply.status, told(reply)["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in reply.headers
    preflight = service.live.request("OPTIONS", "/api/ask", headers={"Origin": origin, **PREFLIGHT})
    assert preflight.status == 403


def test_listed_names_are_answered(service: Keyed) -> None:
    assert service.get("/health/live", Host="docs.example.org").status == 200
    assert service.get("/health/live", Host="DOCS.EXAMPLE.ORG:443").status == 200
    assert service.get("/health/live", Host="192.0.2.7").status == 421  # it listens on loopback only
    assert service.get("/health/live", Host="other.example.org").status == 421


def test_a_public_service_answers_to_addresses_and_not_to_names_of_others(tmp_path: Path) -> None:
    admission = admission_of(Settings(data_dir=tmp_path, host="0.0.0.0"))  # noqa: S104
    names = admission.names
    assert all(host in names for host in ("192.0.2.7", "[2001:db8::1]", "localhost"))
    assert not any(host in names for host in ("evil.example", "192.0.2.7.evil.example", "", "[::1"))
