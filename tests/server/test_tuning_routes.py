"""Tuning, explaining, retrieving and what is kept, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.settings import Settings
from server.live import LiveService, running, wait_until
from server.uploading import ended, finished, upload

KEEPERS = [
    {"uri": f"keeper:{n}", "text": f"Keeper number {n} polished lens {n * 7} in year {1700 + n}."}
    for n in range(600)
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("tuned"), search_cache=10)
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine, running(engine) as live:
        live.wait_ready()
        assert live.post("/api/texts", {"texts": KEEPERS}).status == 200
        yield live


def test_a_tuning_job_names_the_best_setting_which_is_applied_and_undone(service: LiveService) -> None:
    tuned = finished(service, service.post("/api/tune", {"recall": 0.9, "budget_s": 1}))
    assert tuned["state"] == "done", tuned["error"]
    best = tuned["result"]["best"]
    assert best["recall_10"] >= 0.9
    assert (tuned["result"]["applied"], tuned["result"]["count"] > 0) == (False, True)
    applied = finished(service, service.post(f"/api/tune/{tuned['id']}/apply", {}))
    assert applied["state"] == "done", applied["error"]
    assert applied["result"]["plan"]["index_type"] == best["index_type"]
    undone = finished(service, service.post("/api/tune/rollback", {}))
    assert (undone["state"], undone["result"]) == ("done", {"plan": None})
    twice = finished(service, service.post("/api/tune/rollback", {}))
    assert (twice["state"], twice["error"]["code"]) == ("failed", "invalid_input")


def test_the_figures_hold_the_front_and_what_is_applied_also_after_a_restart(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        with running(engine) as service:
            service.wait_ready()
            assert service.get("/api/stats").json()["tuning"] == {"applied": None, "measured": None}
            service.post("/api/texts", {"texts": KEEPERS})
            service.post("/api/texts", {"texts": KEEPERS[:1], "collection": "other"})
            tuned = finished(
                service, service.post("/api/tune", {"recall": 0.9, "budget_s": 1, "apply": True})
            )
            assert tuned["result"]["applied"], tuned
            told = service.get("/api/stats").json()["tuning"]
            assert told["applied"]["index_type"] == tuned["result"]["best"]["index_type"]
            measured = told["measured"]
            assert (measured["job"], measured["front"]) == (tuned["id"], tuned["result"]["front"])
            other = service.get("/api/stats?collection=other").json()["tuning"]
            assert other == {"applied": None, "measured": None}
        with running(engine) as service:
            service.wait_ready()
            assert service.get("/api/stats").json()["tuning"] == told
            finished(service, service.post("/api/tune/rollback", {}))
            rolled_back = service.get("/api/stats").json()["tuning"]
            assert rolled_back == {"applied": None, "measured": measured}


def test_an_upload_is_read_while_a_tuning_job_measures(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine, running(engine) as service:
        service.wait_ready()
        service.post("/api/texts", {"texts": KEEPERS})
        tuning = service.post("/api/tune", {"recall": 0.9, "budget_s": 600}).json()["id"]
        wait_until(lambda: service.get(f"/api/jobs/{tuning}").json()["progress"]["done"] > 0, "it measures")
        assert finished(service, upload(service, {"tower.md": b"Smeaton's tower."}))["state"] == "done"
        assert service.get(f"/api/jobs/{tuning}").json()["state"] == "running"
        service.request("DELETE", f"/api/jobs/{tuning}")
        assert ended(service, tuning)["state"] in {
            "cancelled",
            "done",
        }  # what was measured by then is a result


def test_only_a_tuning_result_can_be_applied(service: LiveService) -> None:
    assert service.post("/api/tune/unknown/apply", {}).status == 404
    other = finished(service, service.post("/api/index", {"paths": [str(Path(__file__).parent / "live.py")]}))
    assert service.post(f"/api/tune/{other['id']}/apply", {}).status == 422


def test_an_index_is_recommended_by_size(service: LiveService) -> None:
    own = service.get("/api/recommend").json()
    assert (own["vectors"] >= 600, own["dim"]) == (True, 32)
    large = service.get("/api/recommend?vectors=5000000&dim=384&memory_mb=4000").json()
    assert large["memory_bytes"] <= 4_000_000_000
    assert large["reasons"]


def test_a_document_is_explained(service: LiveService) -> None:
    found = service.get("/api/explain?q=keeper+number+7&uri=keeper:7&k=5").json()
    assert (found["reason"], found["best"]["uri"], found["standings"][0]["rank"]) == ("found", "keeper:7", 1)
    assert [standing["mode"] for standing in found["standings"]] == ["hybrid", "dense", "keyword"]
    filtered = service.get("/api/explain?q=keeper+number+7&uri=keeper:7&filter=type:pdf").json()
    assert (filtered["reason"], filtered["best"]) == ("filtered", None)
    assert service.get("/api/explain?q=x&uri=nothing").status == 404


def test_several_sources_are_asked_and_memory_joins_once_there_is_one(service: LiveService) -> None:
    found = service.post("/api/retrieve", {"facts": "keeper number 7"}).json()
    assert found["corpus_quotes"][0]["uri"] == "keeper:7"
    assert set(found["sources"]) == {"corpus", "graph", "domain"}
    assert found["degraded"] == []
    service.post("/api/memory", {"text": "Keeper number 7 is called Smeaton."})
    again = service.post(
        "/api/retrieve", {"facts": {"who": {"name": "keeper number 7"}}, "theme": "names"}
    ).json()
    assert set(again["sources"]) == {"corpus", "graph", "domain", "persona"}
    assert b'operation="rag_corpus_fetch"' in service.app.state.service.engine.metrics_text().encode()
    assert service.post("/api/retrieve", {"facts": {}}).status == 422
    assert service.post("/api/retrieve", {"facts": "x", "locale": "not a locale"}).status == 422


def test_caches_are_shown_and_dropped(service: LiveService) -> None:
    service.request("DELETE", "/api/caches")
    for _ in range(2):
        service.get("/api/search?q=polished+lens")
    before = service.get("/api/caches").json()["caches"]["searches"]
    assert before["entries"] == 1
    assert service.request("DELETE", "/api/caches").json() == {"removed": 1}
    assert service.get("/api/caches").json()["caches"]["searches"]["entries"] == 0


def test_no_thread_is_left_when_the_service_has_ended(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine, running(engine) as service:
        service.post("/api/texts", {"texts": [{"text": "words"}]})
        service.post("/api/memory", {"text": "Words are remembered."})
        service.post("/api/retrieve", {"facts": "words"})
        finished(service, service.post("/api/index", {"paths": [str(Path(__file__).parent / "live.py")]}))
    lasting = {"ragstone-search"}  # threads of the process, not of a service
    left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    assert [thread.name for thread in left if thread.name.rsplit("_", 1)[0] not in lasting] == []
