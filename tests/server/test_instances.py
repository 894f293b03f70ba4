"""Several services over one data directory: what another process commits, each of them finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from server.keyed import HOURS, fill
from server.live import running

WRITE = """
import sys
sys.path[:0] = [sys.argv[2]]
from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
with Ragstone(sys.argv[1], embedder=HashingEmbedder()) as engine:
    engine.add(["The pelican arrives at noon."], uris=["new"])
    engine.delete(["default/0"])
"""


def test_two_services_find_what_a_third_process_writes(tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS, "A lamp burns."]})
    with (
        Ragstone(tmp_path, embedder=HashingEmbedder()) as one,
        Ragstone(tmp_path, embedder=HashingEmbedder()) as two,
        running(one) as first,
        running(two) as second,
    ):
        for service in (first, second):
            service.wait_ready()
            hits = service.get("/api/search?q=observatory&mode=keyword").json()["hits"]
            assert [hit["uri"] for hit in hits] == ["default/0"]
        tests = str(Path(__file__).resolve().parents[1])
        written = subprocess.run(
            [sys.executable, "-c", WRITE, str(tmp_path), tests], capture_output=True, text=True, timeout=60
        )
        assert written.returncode == 0, written.stderr
        for service in (first, second):  # at once: no poll, no message
            hits = service.get("/api/search?q=pelican&mode=keyword").json()["hits"]
            assert [hit["uri"] for hit in hits] == ["new"]
            assert service.get("/api/search?q=observatory&mode=keyword").json()["hits"] == []
            assert service.get("/api/documents").json()["total"] == 2
