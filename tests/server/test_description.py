"""The description of the interface: complete, and what is answered is what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.server import more_replies, replies
from ragstone.settings import Settings
from server.live import LiveService, running
from server.uploading import finished, upload

PAGES = {"/", "/ui/{name}", "/api/docs", "/api/openapi.json"}
OTHERS = ("/v1/", "/mcp")  # described by those who made them
NO_JSON = {"/metrics", "/api/page-image", "/api/ask/stream", "/api/jobs/{job_id}/events"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    options = Settings(data_dir=tmp_path_factory.mktemp("described"), enable_metrics=True)
    with Ragstone(settings=options, embedder=HashingEmbedder()) as engine, running(engine) as live:
        live.wait_ready()
        yield live


@pytest.fixture(scope="module")
def api(service: LiveService) -> Any:
    return service.get("/api/openapi.json").json()


def test_every_route_but_the_pages_is_described_with_its_answer_and_errors(
    api: Any, service: LiveService
) -> None:
    routes = [route for route in service.app.state.declared_routes if hasattr(route, "methods")]
    served = {route.path.replace(":path", "") for route in routes}
    assert set(api["paths"]) == served - PAGES
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            named = f"{method} {path}"
            assert operation["summary"], named
            assert operation["description"], named
            if path.startswith(OTHERS):
                assert {"4XX", "5XX"} <= set(operation["responses"]), named
                continue
            good = [response for status, response in operation["responses"].items() if status.startswith("2")]
            assert len(good) == 1, named
            if path not in NO_JSON and path != "/api/monitor":
                assert good[0]["content"]["application/json"]["schema"], named
            if not path.startswith("/health"):
                assert "application/problem+json" in operation["responses"]["4XX"]["content"], named


def test_every_reference_leads_somewhere(api: Any) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"].rsplit("/", 1)[1]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    assert set(references(api)) <= set(api["components"]["schemas"])


def test_every_string_number_and_list_of_a_request_has_a_limit(api: Any) -> None:
    def unbounded(schema: Any, name: str) -> Iterator[str]:
        schema = (
            api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
        )
        for option in schema.get("anyOf", []):
            yield from unbounded(option, name)
        kind = schema.get("type")
        if kind == "string" and not {"maxLength", "enum", "const", "pattern", "format"} & set(schema):
            yield name
        if kind in {"integer", "number"} and not {"maximum", "exclusiveMaximum"} & set(schema):
            yield name
        if kind == "array":
            if "maxItems" not in schema and schema.get("items", {}).get("format") != "binary":
                yield name
            yield from unbounded(schema.get("items", {}), f"{name}[]")
        for key, inner in schema.get("properties", {}).items():
            yield from unbounded(inner, f"{name}.{key}")

    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            if path.startswith(OTHERS):  # a conversation is as long as its body may be
                continue
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    assert list(unbounded(parameter["schema"], f"{method} {path} {parameter['name']}")) == []
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert list(unbounded(content["schema"], f"{method} {path}")) == []


def test_what_is_answered_is_what_is_described(service: LiveService) -> None:
    checked = 0

    def check(model: type[BaseModel], body: Any) -> Any:
        nonlocal checked
        model.model_validate(body, strict=True)
        checked += 1
        return body

    job = finished(
        service, upload(service, {"tower.md": b"# The tower\n\nSmeaton finished the tower in 1759."})
    )
    check(replies.Job, job)
    check(replies.JobList, service.get("/api/jobs").json())
    check(replies.IndexProgress, service.get("/api/index/progress").json())
    check(
        replies.Uris,
        service.post("/api/texts", {"texts": [{"text": "Oil lamps", "metadata": {"y": 1.5}}]}).json(),
    )
    found = check(replies.Found, service.get("/api/search?q=tower").json())
    check(replies.Answered, service.post("/api/ask", {"question": "When was the tower finished?"}).json())
    check(replies.Documents, service.get("/api/documents").json())
    check(replies.DocumentText, service.get("/api/document?uri=upload%3Atower.md").json())
    check(replies.Stats, service.get("/api/stats").json())
    check(replies.Collections, service.get("/api/collections").json())
    check(replies.Caches, service.get("/api/caches").json())
    check(replies.Problem, service.get("/api/search?q=").json())
    for name in ("live", "ready", "startup"):
        check(replies.Health, service.get(f"/health/{name}").json())
    check(
        more_replies.Stored, service.post("/api/memory", {"text": "The boiler was serviced in May."}).json()
    )
    check(more_replies.Memories, service.get("/api/memory").json())
    check(more_replies.FoundMemories, service.get("/api/memory/search?q=boiler").json())
    check(more_replies.Audit, service.get("/api/memory/audit").json())
    check(more_replies.Consolidated, service.post("/api/memory/consolidate", {}).json())
    vote = {"query": "tower", "id": found["hits"][0]["id"]}
    check(more_replies.VoteGiven, service.post("/api/feedback", vote).json())
    check(more_replies.Votes, service.get("/api/feedback").json())
    check(more_replies.Recommendation, service.get("/api/recommend").json())
    check(more_replies.Explanation, service.get("/api/explain?q=tower&uri=upload%3Atower.md").json())
    check(more_replies.Retrieved, service.post("/api/retrieve", {"facts": "tower"}).json())
    check(replies.Removed, service.request("DELETE", "/api/feedback?all=true").json())
    assert checked == 26


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
# Would index whatever path is drawn, take minutes, or end the collection the others look into.
NOT_TRIED = {"/api/index", "/api/tune", "/api/collections/{name}"}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nonsense_never_breaks_a_route(service: LiveService, api: Any, data: st.DataObject) -> None:
    """Values of the right names and any type: refused or answered, never a 500."""
    tried = [
        (path, method) for path, routes in api["paths"].items() for method in routes if path not in NOT_TRIED
    ]
    path, method = data.draw(st.sampled_from(sorted(tried)))
    operation = api["paths"][path][method]
    schemas = api["components"]["schemas"]
    fields = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
    query = {
        name: data.draw(st.text(max_size=30) | st.integers().map(str))
        for name in fields
        if data.draw(st.booleans())
    }
    body, kind = b"", "application/json"
    for kind_, content in operation.get("requestBody", {}).get("content", {}).items():
        model = schemas.get(content["schema"].get("$ref", "").rsplit("/", 1)[-1], {})
        names = sorted(model.get("properties", {}))
        drawn = {name: data.draw(JSON) for name in names if data.draw(st.booleans())}
        body, kind = json.dumps(drawn).encode(), kind_
    target = path.replace("{job_id}", quote(data.draw(st.text(min_size=1, max_size=8)), safe=""))
    reply = service.request(
        method.upper(), f"{target}?{urlencode(query, errors='replace')}", body, {"Content-Type": kind}
    )
    assert reply.status != 500, (method, path, query, body)


def test_the_page_of_the_interface_is_ours_alone(service: LiveService) -> None:
    page = service.get("/api/docs")
    assert page.status == 200
    text = page.body.decode()
    assert "http://" not in text
    assert "https://" not in text
    for name in ("interface.js", "interface.css"):
        assert f"/ui/{name}" in text
        assert service.get(f"/ui/{name}").status == 200
