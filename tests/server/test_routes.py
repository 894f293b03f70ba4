"""What each route answers, over a real service."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import HOSTILE_NAME, LIBRARY, DrippingModel, LiveService, running, wait_until

QUESTION = "Who finished the third lighthouse?"


def test_ask_answers_with_a_citation_that_is_verbatim_in_its_document(service: LiveService) -> None:
    reply = service.post("/api/ask", {"question": QUESTION})
    assert reply.status == 200
    answer = reply.json()
    assert answer["grounded"] is True
    assert "Smeaton" in answer["answer"]
    citation = answer["citations"][0]
    found = service.get(f"/api/document?uri={quote(citation['uri'])}").json()
    assert found["text"][citation["start"] : citation["end"]] == citation["quote"]


def test_ask_says_so_when_the_documents_do_not_hold_the_answer(service: LiveService) -> None:
    answer = service.post("/api/ask", {"question": "What is the boiling point of tungsten?"}).json()
    assert answer["grounded"] is False
    assert answer["citations"] == []


def test_search_returns_at_most_k_hits_best_first_with_their_place(service: LiveService) -> None:
    reply = service.get("/api/search?q=lighthouse+granite&k=2")
    assert reply.status == 200
    hits = reply.json()["hits"]
    assert 1 <= len(hits) <= 2
    assert hits[0]["uri"].endswith("lighthouse.md")
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert LIBRARY["lighthouse.md"][hits[0]["start"] : hits[0]["end"]] == hits[0]["text"]


def test_search_modes_and_filters_are_taken_from_the_query(service: LiveService) -> None:
    keyword = service.get("/api/search?q=waggle&mode=keyword").json()
    assert [hit["uri"].rsplit("/", 1)[1] for hit in keyword["hits"]] == ["bees.md"]
    filtered = service.get("/api/search?q=lighthouse&filter=type:pdf").json()
    assert filtered["hits"] == []
    assert "no reranker" in service.get("/api/search?q=lighthouse&rerank=true").json()["detail"]
    assert service.get("/api/search?q=lighthouse&rerank=false").status == 200


def test_searching_calls_no_chat_model(data_dir: Path, embedder: Embedder) -> None:
    model = DrippingModel()
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as service,
    ):
        assert service.get(f"/api/search?q={quote(QUESTION)}").status == 200
        assert model.calls == 0
        assert service.post("/api/ask", {"question": QUESTION}).status == 200
        assert model.calls == 1


def test_stats_have_every_key_also_when_nothing_is_indexed(
    service: LiveService, tmp_path: Path, embedder: Embedder
) -> None:
    full = service.get("/api/stats").json()
    assert full["documents"] == len(LIBRARY)
    with Ragstone(tmp_path / "empty", embedder=embedder) as engine, running(engine) as bare:
        empty = bare.get("/api/stats").json()
    assert empty["documents"] == 0
    assert set(empty) == set(full)


def test_an_empty_service_says_what_to_do(tmp_path: Path, embedder: Embedder) -> None:
    with Ragstone(tmp_path / "empty", embedder=embedder) as engine, running(engine) as service:
        service.wait_ready()
        for reply in (
            service.get("/api/search?q=anything"),
            service.post("/api/ask", {"question": "anything"}),
            service.post("/api/ask/stream", {"question": "anything"}),
        ):
            assert reply.status == 404
            assert "ragstone index" in reply.json()["hint"]


def test_documents_are_listed_a_page_at_a_time(service: LiveService) -> None:
    first = service.get("/api/documents?limit=3").json()
    rest = service.get(f"/api/documents?limit=3&offset={first['next_offset']}").json()
    names = [entry["uri"].rsplit("/", 1)[1] for entry in first["documents"] + rest["documents"]]
    assert sorted(names) == sorted(LIBRARY)
    assert first["total"] == len(LIBRARY)
    assert rest["next_offset"] is None


def test_a_document_is_only_served_from_the_catalog(service: LiveService, library: Path) -> None:
    outside = library / "secret.txt"
    outside.write_text("never indexed")
    for uri in (str(outside), "/etc/passwd", "../../etc/passwd", "file:///etc/passwd"):
        reply = service.get(f"/api/document?uri={quote(uri, safe='')}")
        assert (reply.status, reply.json()["code"]) == (404, "not_found")
    outside.unlink()


def test_a_document_with_a_hostile_name_is_served_as_it_is(service: LiveService, library: Path) -> None:
    reply = service.get(f"/api/document?uri={quote(str(library / HOSTILE_NAME), safe='')}")
    assert reply.json()["text"] == LIBRARY[HOSTILE_NAME]
    assert reply.headers["content-type"] == "application/json"


def test_a_long_document_is_cut_around_the_place_asked_for(tmp_path: Path, embedder: Embedder) -> None:
    lines = "".join(f"line {number} of the long log\n" for number in range(20_000))
    with Ragstone(tmp_path / "data", embedder=embedder) as engine, running(engine) as service:
        engine.add([lines[:600_000]], uris=["log"], vectors=[[1.0] + [0.0] * (embedder.dim - 1)])
        start = lines.index("line 19000 of")
        found = service.get(f"/api/document?uri=log&start={start}").json()
        assert len(found["text"]) < found["length"]
        assert found["text"][start - found["offset"] :].startswith("line 19000 of")
        assert service.get("/api/document?uri=log&start=99999999").status == 422


def test_health_tells_live_ready_and_startup_apart(service: LiveService) -> None:
    for path in ("live", "ready", "startup"):
        assert service.get(f"/health/{path}").json()["status"] == "ok"


def test_indexing_in_the_background_is_reported_and_searchable(
    tmp_path: Path, library: Path, embedder: Embedder
) -> None:
    broken = tmp_path / "more"
    broken.mkdir()
    (broken / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing of use")
    with (
        Ragstone(tmp_path / "data", embedder=embedder) as engine,
        running(engine, paths=[library, broken]) as service,
    ):
        wait_until(lambda: service.get("/api/index/progress").json()["state"] == "done", "indexing is done")
        progress = service.get("/api/index/progress").json()
        assert progress["report"]["documents"]["indexed"] == len(LIBRARY)
        assert [failure["path"] for failure in progress["failures"]] == [str(broken / "broken.pdf")]
        assert service.get("/api/search?q=kraken&k=1").json()["hits"][0]["uri"].endswith(HOSTILE_NAME)


def test_a_missing_folder_is_told_and_the_service_stays_up(tmp_path: Path, embedder: Embedder) -> None:
    with (
        Ragstone(tmp_path / "data", embedder=embedder) as engine,
        running(engine, paths=[tmp_path / "nowhere"]) as service,
    ):
        wait_until(
            lambda: service.get("/api/index/progress").json()["state"] == "failed", "indexing has failed"
        )
        error = service.get("/api/index/progress").json()["error"]
        assert "nowhere" in error["message"]
        assert service.get("/health/live").status == 200
