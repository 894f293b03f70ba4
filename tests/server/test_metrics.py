"""/metrics: behind its setting, by route template, readable by Prometheus's own rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from prometheus_parser import parse
from ragstone.engine import Ragstone
from ragstone.settings import Settings
from server.live import LiveService, running, wait_until

PROMTOOL = shutil.which("promtool")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("metrics"), enable_metrics=True)
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine, running(engine) as live:
        live.wait_ready()
        live.post("/api/texts", {"texts": [{"text": f"keeper {n} of the light"} for n in range(5)]})
        yield live


def sample(service: LiveService, line: str) -> float:
    """The value of the sample whose name and labels are `line`; 0 where there is none."""
    found = re.search(rf"^{re.escape(line)} (\S+)$", service.get("/metrics").body.decode(), re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_metrics_are_off_unless_switched_on(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine, running(engine) as off:
        reply = off.get("/metrics")
    assert (reply.status, "enable_metrics" in reply.json()["detail"]) == (404, True)


def test_requests_are_counted_by_route_template_method_and_status(service: LiveService) -> None:
    line = 'ragstone_http_requests_total{method="GET",route="/api/jobs/{job_id}",status="404"}'
    before = sample(service, line)
    for stranger in ("a", "b", "c"):
        service.get(f"/api/jobs/{stranger}")
    wait_until(lambda: sample(service, line) == before + 3, "three are counted in one series")
    service.get("/nowhere/at/all")
    text = service.get("/metrics").body.decode()
    assert "/nowhere" not in text
    assert 'ragstone_http_requests_total{method="(none)",route="(none)",status="404"}' in text
    assert (
        'ragstone_http_request_duration_seconds_bucket{method="GET",route="/api/jobs/{job_id}",le="0.1"}'
        in text
    )
    assert sample(service, "ragstone_http_requests_in_flight") == 1  # this one


def test_searches_leave_their_scores_and_numbers_of_hits(service: LiveService) -> None:
    service.get("/api/search?q=keeper&k=3")
    service.get("/api/search?q=zebra&mode=keyword")
    assert sample(service, 'ragstone_search_results_bucket{mode="hybrid",le="2.0"}') == 0
    assert sample(service, 'ragstone_search_results_bucket{mode="hybrid",le="5.0"}') == 1
    assert sample(service, 'ragstone_search_top_score_count{mode="hybrid"}') == 1
    assert sample(service, 'ragstone_search_results_bucket{mode="keyword",le="0.0"}') == 1
    assert sample(service, 'ragstone_operations_total{operation="search",outcome="ok"}') >= 2


def test_index_build_time_and_tokens_are_there(service: LiveService) -> None:
    service.post("/api/ask", {"question": "Which keeper of the light?"})
    assert sample(service, 'ragstone_operation_duration_seconds_count{operation="add"}') == 1
    assert 'ragstone_answer_tokens_total{kind="completion"}' in service.get("/metrics").body.decode()


def test_the_text_is_what_prometheus_reads(service: LiveService) -> None:
    reply = service.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    parse(reply.body.decode())
    if PROMTOOL is not None:
        subprocess.run([PROMTOOL, "check", "metrics"], input=reply.body, check=True, timeout=60)
