"""Memory and feedback over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragstone.engine import Ragstone
from ragstone.mcp.forms import MemoriesAnswer, MemorySearchArguments
from ragstone.mcp.tools import Toolbox
from ragstone.server.access import Caller
from ragstone.settings import Settings
from ragstone.types import Embedder
from server.live import LiveService, running, wait_until

BOILER = "The boiler was serviced in May."


@pytest.fixture
def service(tmp_path: Path, embedder: Embedder) -> Iterator[LiveService]:
    with Ragstone(tmp_path / "data", embedder=embedder) as engine, running(engine) as live:
        live.wait_ready()
        yield live


def test_a_statement_is_remembered_found_audited_and_forgotten(service: LiveService) -> None:
    nothing = service.get("/api/memory")
    assert (nothing.status, nothing.json()["code"]) == (404, "not_found")
    stored = service.post("/api/memory", {"text": BOILER, "importance": 0.8, "tags": ["house"]}).json()
    assert (stored["id"], stored["outcome"]) == ("m1", "added")
    again = service.post("/api/memory", {"text": BOILER}).json()
    assert (again["id"], again["outcome"]) == ("m1", "refreshed")
    (listed,) = service.get("/api/memory").json()["memories"]
    assert (listed["text"], listed["tags"], "chunk_id" in listed) == (BOILER, ["house"], False)
    found = service.get("/api/memory/search?q=when+was+the+heating+checked").json()["memories"]
    assert [memory["id"] for memory in found] == ["m1"]
    audit = service.get("/api/memory/audit").json()
    assert (audit["total"], audit["memories"][0]["id"]) == (1, "m1")
    unknown = service.request("DELETE", "/api/memory?id=m1&id=m9")
    assert unknown.status == 404
    assert service.request("DELETE", "/api/memory?id=m1").json() == {"removed": 1}
    assert service.get("/api/memory").json()["memories"] == []


def test_consolidating_promotes_what_is_worth_it(service: LiveService) -> None:
    service.post("/api/memory", {"text": BOILER, "tier": "working", "importance": 1.0})
    done = service.post("/api/memory/consolidate", {}).json()
    assert [(each["from_tier"], each["to_tier"]) for each in done["promoted"]] == [("working", "short_term")]


def test_open_memories_are_tended_at_intervals(tmp_path: Path, embedder: Embedder) -> None:
    settings = Settings(data_dir=tmp_path / "data", memory_cleanup_interval=0.05)
    with Ragstone(settings=settings, embedder=embedder) as engine, running(engine) as service:
        service.post("/api/memory", {"text": BOILER, "tier": "working", "importance": 1.0})
        wait_until(
            lambda: service.get("/api/memory").json()["memories"][0]["tier"] != "working",
            "it has been promoted",
        )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": " "},
        {"text": "x", "tier": "eternal"},
        {"text": "x", "importance": 2},
        {"text": "x", "more": 1},
    ],
)
def test_what_is_no_statement_is_refused(service: LiveService, body: dict[str, object]) -> None:
    reply = service.post("/api/memory", body)
    assert (reply.status, reply.json()["code"]) == (422, "invalid_input")


def test_a_memory_of_no_collection_is_not_made(service: LiveService) -> None:
    assert service.post("/api/memory", {"text": BOILER, "collection": "nowhere"}).status == 404


def test_ten_votes_move_a_hit_and_taking_them_back_undoes_it(service: LiveService) -> None:
    texts = [
        {"uri": "a", "text": "The lighthouse keeper lights the lamp at dusk."},
        {"uri": "b", "text": "The lighthouse keeper trims the lamp at dawn."},
    ]
    service.post("/api/texts", {"texts": texts})
    query = "lighthouse keeper lamp"

    def order() -> list[str]:
        return [hit["uri"] for hit in service.get(f"/api/search?q={query.replace(' ', '+')}").json()["hits"]]

    before = order()
    last = service.get("/api/search?q=lighthouse+keeper+lamp").json()["hits"][-1]
    ids = [
        service.post("/api/feedback", {"query": query, "id": last["id"], "value": 1}).json()["vote"]
        for _ in range(10)
    ]
    assert order() == before[::-1]
    votes = service.get("/api/feedback").json()["votes"]
    assert [(vote["id"], vote["chunk_id"], vote["query"]) for vote in votes] == [
        (id_, last["id"], query) for id_ in ids
    ]
    assert service.request("DELETE", f"/api/feedback?id={ids[0]}").json() == {"removed": 1}
    assert service.request("DELETE", "/api/feedback").status == 422
    assert service.request("DELETE", f"/api/feedback?all=true&id={ids[1]}").status == 422
    assert service.request("DELETE", "/api/feedback?all=true").json() == {"removed": 9}
    assert order() == before
    assert service.post("/api/feedback", {"query": query, "id": 10**6}).status == 404
    assert service.post("/api/feedback", {"query": query, "id": last["id"], "value": 0}).status == 422


def test_a_memory_that_another_process_restored_is_opened_anew(tmp_path: Path, embedder: Embedder) -> None:
    data = tmp_path / "data"
    settings = Settings(data_dir=data, memory_cleanup_interval=0.05)
    with Ragstone(settings=settings, embedder=embedder) as engine, running(engine) as service:
        service.post("/api/texts", {"texts": [{"text": "words"}]})
        service.post("/api/memory", {"text": BOILER})
        mcp = Toolbox(engine, writes=False)
        visitor = Caller("owner", "admin")
        search = mcp.tool("memory_search", visitor)
        assert search is not None

        def texts() -> list[list[str]]:
            given = MemorySearchArguments(query="boiler")
            found = search.call(given, visitor, lambda: False)
            assert isinstance(found, MemoriesAnswer)
            listed = service.get("/api/memory").json()["memories"]
            return [[memory["text"] for memory in listed], [memory.text for memory in found.memories]]

        with Ragstone(data, embedder=embedder) as other:
            other.backup(tmp_path / "copy")
            service.post("/api/memory", {"text": "The boiler's chimney was swept in June."})
            assert [len(each) for each in texts()] == [2, 2]
            other.restore(tmp_path / "copy", replace=True)
        assert texts() == [[BOILER], [BOILER]]
        service.post(
            "/api/memory", {"text": "Herons nest on the pier.", "tier": "working", "importance": 1.0}
        )
        wait_until(
            lambda: "working" not in {each["tier"] for each in service.get("/api/memory").json()["memories"]},
            "it is tended",
        )
        shutil.rmtree(data / "collections" / "default.memory")
        assert service.get("/api/memory").status == 404
        assert service.post("/api/memory", {"text": BOILER}).json()["id"] == "m1"
        mcp.close()
