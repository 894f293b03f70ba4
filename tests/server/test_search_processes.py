"""Searches in processes: the same replies, figures that stay right, and a service that outlives its processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from ragstone.cli import checks
from ragstone.engine import Ragstone
from ragstone.errors import RagstoneError
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.server.admission import search_processes_of
from ragstone.server.problems import BusyError
from ragstone.server.requests import SearchRequest
from ragstone.server.search_processes import NoProcessError, SearchProcesses
from ragstone.server.workers import Room
from ragstone.settings import Settings
from ragstone.types import Embedder
from server.live import LiveService, Reply, running, wait_until

PROGRAM = "import sys; from ragstone.cli.app import main; sys.exit(main())"
SEARCHES: Sequence[Mapping[str, object]] = [
    {"q": "who built the third lighthouse"},
    {"q": "who built the third lighthouse", "rerank": "true"},
    *({"q": f"granite tower {mode}", "mode": mode, "rerank": 0} for mode in ("hybrid", "dense", "keyword")),
    {"q": "tower", "k": 1, "rerank": 0},
    {"q": "bee 🐝", "graph": 0, "rerank": 0},
    {"q": "bee", "filter": "path:bees*", "rerank": 0},
    {"q": "bee", "filter": "path>x", "rerank": 0},
    {"q": "ferry", "collection": ["notes", "default"], "rerank": 0},
    {"q": "ferry", "collection": "nowhere", "rerank": 0},
    {"q": "ferry", "collection": "hidden.memory", "rerank": 0},
    {"q": "x" * 1001},
    {"q": "nothing like it at all", "k": 100, "rerank": 0},
    {"q": "", "k": 0},
]


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, library: Path, models_dir: Path, embedder: Embedder
) -> Settings:
    """A data directory with two collections, a vote, and a reranker that does not answer."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "models").symlink_to(models_dir)
    with Ragstone(folder, embedder=embedder) as engine:
        assert engine.index([library]).failed == ()
        engine.add(["The ferry leaves at 7:40."], uris=["timetable"], collection="notes")
        last = engine.search("granite tower hybrid").hits[-1]
        engine.vote("granite tower hybrid", last.id)
    return Settings(
        data_dir=folder,
        enable_metrics=True,
        search_cache=50,
        reranker="judge",
        reranker_base_url="http://127.0.0.1:9",
    )


@pytest.fixture(scope="module")
def served(settings: Settings, embedder: Embedder) -> Iterator[LiveService]:
    with Ragstone(settings=settings, embedder=embedder) as engine:
        with running(engine, search_processes=2) as live:
            live.wait_ready()
            yield live
            pids = [process.worker.process.pid for process in pool(live)._ready]
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def pool(live: LiveService) -> SearchProcesses:
    found: SearchProcesses = live.app.state.service.searches.processes
    return found


def searched(live: LiveService, asked: Mapping[str, object], **headers: str) -> Reply:
    return live.get(f"/api/search?{urlencode(asked, doseq=True)}", **headers)


def told(reply: Reply) -> tuple[int, dict[str, str], Any]:
    """All of a reply but what differs from one to the next."""
    headers = {
        name: value
        for name, value in reply.headers.items()
        if name not in {"date", "x-request-id", "content-length"}
    }
    body = reply.json()
    timings_ms = body.pop("timings_ms", {})
    body.pop("request_id", None)
    return reply.status, headers, (body, sorted(timings_ms))


def as_sent(reply: Reply) -> bytes:
    """The body without times and ids, byte for byte."""
    return re.sub(rb'"(timings_ms":\{[^}]*\}|request_id":"[^"]*")', b"", reply.body)


def misses(live: LiveService) -> int:
    """Queries that the processes have embedded."""
    return sum(found.caches.get("query_vectors", {}).get("misses", 0) for found in pool(live).figures())


def test_replies_are_those_of_the_service_itself(
    served: LiveService, settings: Settings, embedder: Embedder
) -> None:
    before = misses(served)
    with Ragstone(settings=settings, embedder=embedder) as engine, running(engine) as alone:
        alone.wait_ready()
        statuses = set()
        for asked in SEARCHES:
            here, there = searched(alone, asked), searched(served, asked)
            assert told(there) == told(here), asked
            assert as_sent(there) == as_sent(here), asked
            statuses.add(here.status)
        assert statuses == {200, 404, 422}
        assert searched(served, SEARCHES[1]).json()["degraded"][0]["source"] == "reranker"
        first = [searched(live, SEARCHES[2]).json()["hits"][0]["uri"] for live in (alone, served)]
        assert first[0] == first[1]
    assert misses(served) > before  # and it was they who searched


def test_a_commit_is_found_by_the_next_search(served: LiveService) -> None:
    asked = {"q": "zeppelin mooring mast", "mode": "keyword"}
    assert searched(served, asked).json()["hits"] == []
    sent = {"texts": [{"text": "A zeppelin is tied to a mooring mast.", "uri": "mast"}]}
    assert served.post("/api/texts", sent).status in {200, 201}
    for _ in range(2):
        assert [hit["uri"] for hit in searched(served, asked).json()["hits"]] == ["mast"]
    assert served.request("DELETE", "/api/documents?uri=mast").status == 200
    assert searched(served, asked).json()["hits"] == []


def test_figures_are_those_of_all_processes(served: LiveService) -> None:
    def figures() -> tuple[int, int, int, int, float, float]:
        stats = served.get("/api/stats").json()
        text = served.get("/metrics").body.decode()
        errors = served.get("/api/monitor").json()["operations"]["search"]["errors"]
        found = [
            float(re.search(rf"^{line} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]
            for line in ("ragstone_search_processes_ready", r'ragstone_search_results_count\{mode="hybrid"\}')
        ]
        return (
            stats["latencies_ms"]["search"]["count"],
            stats["degraded"]["reranker"],
            stats["caches"]["query_vectors"]["misses"],
            errors,
            found[0],
            found[1],
        )

    searched(served, {"q": "before", "rerank": 1})
    before = figures()
    for number in range(4):
        assert searched(served, {"q": f"lighthouse {number}", "rerank": 1}).status == 200
    assert searched(served, {"q": "lighthouse", "filter": "path>x"}).status == 422
    after = figures()
    assert [now - then for now, then in zip(after, before, strict=True)] == [4, 4, 4, 1, 0, 4]
    assert after[4] == 2
    assert served.get("/health/ready").json()["checks"]["search_processes"] == "ok"
    assert "ragstone_search_processes_resident_bytes" in served.get("/metrics").body.decode()


def test_nothing_is_searched_after_its_deadline(served: LiveService) -> None:
    searched(served, {"q": "in time"})
    before = misses(served)
    with stopped(served):
        reply = searched(served, {"q": "late"}, **{"X-Request-Timeout": "0.2", "X-Request-ID": "mine"})
    assert (reply.status, reply.json()["code"], reply.json()["request_id"]) == (504, "deadline", "mine")
    wait_until(lambda: len(pool(served)._free) == 2, "both are free")
    assert misses(served) == before


class stopped:  # noqa: N801 - used as a word: with stopped(service)
    """All search processes stand still inside the block."""

    def __init__(self, live: LiveService) -> None:
        self.pids = [process.worker.process.pid for process in pool(live)._ready]

    def __enter__(self) -> list[int]:
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in self.pids:
            state = Path(f"/proc/{pid}/stat")
            wait_until(lambda state=state: ") T " in state.read_text(), "it stands still")  # type: ignore[misc]
        return self.pids

    def __exit__(self, *error: object) -> None:
        for pid in self.pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)


def busy(live: LiveService) -> list[int]:
    """The processes that a search is in."""
    return [process.worker.process.pid for process in pool(live)._ready if process.asked is not None]


def test_a_search_whose_process_dies_is_tried_once_more(served: LiveService) -> None:
    with ThreadPoolExecutor(1) as client, stopped(served):
        answer = client.submit(searched, served, {"q": "lighthouse that is tried again"})
        wait_until(lambda: len(busy(served)) == 1, "a process has the search")
        (first,) = busy(served)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: busy(served) not in ([], [first]), "the other one has it")
        reason = served.get("/health/ready").json()["checks"]["search_processes"]
        with pytest.raises(RagstoneError, match=f"{served.port} only 1 of 2 are there"):
            checks.service(Settings(port=served.port))
        (second,) = busy(served)
        os.kill(second, signal.SIGCONT)
        reply = answer.result()
    assert reply.status == 200
    assert reply.json()["hits"]
    assert reason == "1 of 2"
    assert not Path(f"/proc/{first}").exists()  # no zombie
    wait_until(lambda: pool(served).ready == 2, "another one is there")
    assert served.get("/health/ready").json()["checks"]["search_processes"] == "ok"
    assert checks.service(Settings(port=served.port)) == f"installed, and one answers on port {served.port}"


def test_a_search_that_ends_two_processes_is_given_up_and_the_service_searches_itself(
    served: LiveService,
) -> None:
    with ThreadPoolExecutor(1) as client, stopped(served):
        answer = client.submit(searched, served, {"q": "what no process survives"})
        wait_until(lambda: len(busy(served)) == 1, "a process has the search")
        (first,) = busy(served)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: busy(served) not in ([], [first]), "the other one has it")
        os.kill(busy(served)[0], signal.SIGKILL)
        reply = answer.result()
    assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (503, "search_died", "1")
    assert pool(served).state == "0 of 2"
    assert searched(served, {"q": "lighthouse, by the service"}).status == 200
    assert pool(served).ready == 0
    wait_until(lambda: pool(served).ready == 2, "both are there again")
    assert searched(served, {"q": "lighthouse, by a process"}).status == 200


def test_a_full_lane_is_told_at_the_door_and_the_rest_goes_on(served: LiveService) -> None:
    def refused() -> float:
        text = served.get("/metrics").body.decode()
        line = r'^ragstone_http_requests_total\{method="GET",route="/api/search",status="503"\} (\S+)$'
        found = re.search(line, text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    wait_until(lambda: pool(served).ready == 2, "both are there")
    before = refused()
    with ThreadPoolExecutor(80) as clients, stopped(served):
        asked = [clients.submit(searched, served, {"q": f"lighthouse {n}"}) for n in range(80)]
        wait_until(lambda: refused() > before, "some are refused")
        invalid = served.get("/api/search")
        assert (invalid.status, invalid.headers["retry-after"]) == (503, "1")
        assert served.get("/api/documents").status == 200
        for pid in busy(served):
            os.kill(pid, signal.SIGCONT)
        replies = [answer.result() for answer in asked]
    assert {reply.status for reply in replies} == {200, 503}
    assert all(reply.headers["retry-after"] == "1" for reply in replies if reply.status == 503)
    wait_until(lambda: served.get("/api/search").status == 422, "there is room again")


def test_kept_results_are_dropped_in_every_process(served: LiveService) -> None:
    def hits() -> int:
        found: int = served.get("/api/caches").json()["caches"]["searches"]["hits"]
        return found

    asked = {"q": "kept", "rerank": 0}
    for _ in range(2):  # one after the other, they come to the same process
        assert searched(served, asked).json()["hits"]
    before = hits()
    assert before
    assert served.request("DELETE", "/api/caches").json()["removed"] >= 1
    searched(served, asked)
    assert hits() == before
    searched(served, asked)
    assert hits() == before + 1


def test_what_does_not_fit_is_refused_and_a_search_that_never_ends_costs_its_process(
    settings: Settings,
) -> None:
    async def overload() -> None:
        searches = SearchProcesses(
            settings,
            count=1,
            monitor=PerformanceMonitor(),
            room=Room("searches", waiting=1),
            stuck_s=-3599.0,  # 1 s after it has begun: nobody gave a deadline
        )
        with pytest.raises(NoProcessError):
            await searches.search(SearchRequest(q="too early"))
        await searches.start()
        (process,) = searches._ready
        pid = process.worker.process.pid
        assert (await searches.search(SearchRequest(q="who built the third lighthouse"))).hits
        assert process.watch is not None
        assert process.watch.cancelled()
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(searches.search(SearchRequest(q=f"bee {n}"))) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2"):
            await searches.search(SearchRequest(q="one too many"))
        waiting[1].cancel()  # its client left: there is room for one more
        await asyncio.sleep(0)
        left = asyncio.create_task(searches.search(SearchRequest(q="bee")))
        done = await asyncio.gather(waiting[0], left, return_exceptions=True)
        assert [type(error).__name__ for error in done] == ["SearchDiedError", "NoProcessError"]
        await searches.close()
        assert not Path(f"/proc/{pid}").exists()

    asyncio.run(overload())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_the_service_ends(settings: Settings, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, "--data-dir", str(settings.data_dir), "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--json", "--search-processes", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if number == signal.SIGTERM:
            wait_until(lambda: _status(url) == 200, "it is ready")
        else:  # in the middle of their start
            wait_until(lambda: len(children.read_text().split()) == 2, "both are started")
        pids = children.read_text().split()
        assert len(pids) == 2
        process.send_signal(number)
        out, err = process.communicate(timeout=15)
        assert (process.returncode, out, err) == (0 if number == signal.SIGTERM else -number, "", "")
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "they end", timeout_s=10)
    finally:
        process.kill()
        process.communicate()


def _status(url: str) -> int:
    try:
        with urlopen(url + "health/ready", timeout=5) as reply:
            return int(reply.status)
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, 0), ({"host": "0.0.0.0"}, 1), ({"search_processes": 3}, 3)],  # noqa: S104
)
def test_only_what_others_can_reach_has_processes_unasked(given: dict[str, Any], count: int) -> None:
    found = search_processes_of(Settings(**given))
    assert found >= count if "host" in given else found == count
