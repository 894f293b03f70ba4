"""`/v1/rerank` where the engine has a reranker: its judgement, its scale, in portions that it has time for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.settings import Settings
from ragstone.types import Scores
from server.live import LiveService, running

DEPTH = 3
DOCUMENTS = ["herons", "herons nest on the pier", "", "terns nest", "herons nest"]


class LengthReranker:
    """Judges longer passages better, on a scale below 0; takes `pause_s` for each."""

    model_id = "by-length/1"
    pause_s = 0.0

    def __init__(self) -> None:
        self.given: list[int] = []

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        time.sleep(self.pause_s * len(texts))
        self.given.append(len(texts))
        return np.array([len(text) - 100 for text in texts], np.float32)

    def close(self) -> None:
        pass


@pytest.fixture
def reranker() -> LengthReranker:
    return LengthReranker()


@pytest.fixture
def service(tmp_path: Path, reranker: LengthReranker) -> Iterator[LiveService]:
    settings = Settings(data_dir=tmp_path, rerank_depth=DEPTH, rerank_timeout_s=0.5)
    with (
        Ragstone(settings=settings, embedder=HashingEmbedder(), reranker=reranker) as engine,
        running(engine) as live,
    ):
        live.wait_ready()
        reranker.given.clear()  # what warming up has asked
        yield live


def test_the_engines_reranker_judges_in_its_own_words(service: LiveService, reranker: LengthReranker) -> None:
    asked = {"query": "herons", "documents": DOCUMENTS, "return_documents": True}
    told = service.post("/v1/rerank", asked).json()
    assert told["model"] == "by-length/1"
    ranked = sorted(DOCUMENTS, key=len, reverse=True)
    assert [result["document"]["text"] for result in told["results"]] == ranked
    assert [result["relevance_score"] for result in told["results"]] == [len(text) - 100 for text in ranked]
    assert reranker.given == [3, 2]  # never more at once than it judges for a search
    named = service.post("/v1/rerank", {**asked, "model": "by-length/1", "top_n": 2}).json()
    assert [result["index"] for result in named["results"]] == [1, 4]


def test_another_model_that_is_named_judges_itself(service: LiveService, reranker: LengthReranker) -> None:
    models = [entry["id"] for entry in service.get("/v1/models").json()["data"]]
    assert models[-1] == "by-length/1"
    asked = {"query": "herons", "documents": DOCUMENTS, "model": models[-2]}
    told = service.post("/v1/rerank", asked).json()
    assert (told["model"], told["results"][0]["index"], reranker.given) == (models[-2], 0, [])
    assert all(0 <= result["relevance_score"] <= 1 for result in told["results"])
    assert service.post("/v1/rerank", {**asked, "model": "unknown"}).status == 404


def test_a_reranker_that_is_late_is_told(service: LiveService, reranker: LengthReranker) -> None:
    reranker.pause_s = 0.3  # three at once take longer than it may
    told = service.post("/v1/rerank", {"query": "herons", "documents": DOCUMENTS})
    assert (told.status, told.json()["error"]["code"]) == (503, "model_timeout")
