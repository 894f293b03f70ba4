"""A search with a reranker, and what becomes of it when the reranker fails, is late, or lies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from hashing_embedder import HashingEmbedder
from ragstone import Ragstone, Settings
from ragstone.deadlines import within
from ragstone.errors import InputError, ModelError
from ragstone.types import Scores, SearchResult
from reranking.overlap_model import make_folder
from reranking.rerank_server import rerank_server

TEXTS = [
    "the lamp the keeper the noon",
    "the ferry the boat",
    "lamp keeper keeper lamp",
    "tide and tide again",
    "keeper of the boat",
]
QUERY = "the lamp keeper"

Open = Callable[..., Ragstone]


class LastFirst:
    """Judges the other way round: the longer a text, the worse. Keeps what it was asked; behaves as told."""

    model_id = "last-first"

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.behave: Callable[[Sequence[str]], Any] = lambda texts: np.array([-len(text) for text in texts])
        self.closed = False

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.asked.append((query, list(texts)))
        scores: Scores = self.behave(texts)
        return scores

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens engines on one store of `TEXTS`, with settings, and closes them; no thread of theirs is left."""
    engines: list[Ragstone] = []

    def open_engine(reranker: LastFirst | None = None, **given: object) -> Ragstone:
        settings = Settings(data_dir=tmp_path / "data", **given)  # type: ignore[arg-type]
        engines.append(Ragstone(settings=settings, embedder=HashingEmbedder(), reranker=reranker))
        return engines[-1]

    open_engine().add(TEXTS, uris=[str(n) for n in range(len(TEXTS))], titles=["Title"] * len(TEXTS))
    yield open_engine
    for engine in engines:
        engine.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ragstone-rerank")]


def uris(result: SearchResult) -> list[str]:
    return [hit.uri for hit in result.hits]


def test_the_best_hits_are_judged_and_moved(opened: Open) -> None:
    plain = opened().search(QUERY)
    reranker = LastFirst()
    found = opened(reranker, rerank_depth=3).search(QUERY)
    assert reranker.asked == [(QUERY, [f"Title\n{hit.text}" for hit in plain.hits[:3]])]
    assert set(uris(found)[:3]) == set(uris(plain)[:3])
    assert uris(found)[3:] == uris(plain)[3:]
    assert uris(found) != uris(plain)
    assert [hit.sources.get("reranker") for hit in found.hits] == [
        -len(f"Title\n{hit.text}") if hit.uri in uris(plain)[:3] else None for hit in found.hits
    ]
    assert found.timings_ms["reranker"] > 0
    assert not found.degraded
    assert all(0 <= hit.score <= 1 for hit in found.hits)


def test_a_search_that_does_not_want_it_and_the_other_modes_go_without(opened: Open) -> None:
    reranker = LastFirst()
    engine, plain = opened(reranker), opened()
    for options in ({"rerank": False}, {"mode": "dense"}, {"mode": "keyword"}):
        found = engine.search(QUERY, **options)
        assert found.hits == plain.search(QUERY, **options).hits
        assert "reranker" not in found.timings_ms
    assert not reranker.asked
    with pytest.raises(InputError, match="no reranker"):
        plain.search(QUERY, rerank=True)


def test_an_answer_draws_on_reranked_hits(opened: Open) -> None:
    reranker = LastFirst()
    opened(reranker, answer_k=2).ask("What is the keeper of the boat?")
    assert len(reranker.asked) == 1


def late(texts: Sequence[str]) -> Scores:
    raise AssertionError("replaced by the test")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (lambda texts: 1 / 0, "failed: division by zero"),
        (lambda texts: np.zeros(len(texts) - 1), "no finite score for each of 5"),
        (lambda texts: np.full(len(texts), np.nan), "no finite score"),
        (lambda texts: np.array([np.inf] + [0.0] * (len(texts) - 1)), "no finite score"),
        (lambda texts: np.zeros((len(texts), 1)), "no finite score"),
        (lambda texts: None, "no finite score"),
        (lambda texts: ["good"] * len(texts), "failed: could not convert"),
        (late, "took more than 0.05 s"),
    ],
)
def test_one_that_fails_or_lies_or_is_late_is_reported_and_the_search_answers_without_it(
    opened: Open, behave: Callable[[Sequence[str]], Any], reason: str
) -> None:
    plain = opened().search(QUERY)
    reranker, release = LastFirst(), threading.Event()
    good, reranker.behave = reranker.behave, behave
    timeout_s = 30.0
    if behave is late:
        timeout_s, reranker.behave = 0.05, lambda texts: release.wait(20)
    engine = opened(reranker, search_cache=10, rerank_timeout_s=timeout_s)
    found = engine.search(QUERY)
    assert [entry.source for entry in found.degraded] == ["reranker"]
    assert reason in found.degraded[0].reason
    assert found.hits == plain.hits
    release.set()
    reranker.behave = good  # a result without its reranker was not kept
    if behave is not late:
        assert not engine.search(QUERY).degraded
        assert uris(engine.search(QUERY)) != uris(plain)
        assert len(reranker.asked) == 2


def test_many_that_hang_hold_up_no_search(opened: Open) -> None:
    reranker, release = LastFirst(), threading.Event()
    reranker.behave = lambda texts: release.wait(20)
    engine = opened(reranker, rerank_timeout_s=0.02)
    for n in range(20):
        found = engine.search(f"{QUERY} {n}")
        assert [entry.source for entry in found.degraded] == ["reranker"]
    assert len(reranker.asked) < 20  # the others waited for a thread and were called off
    release.set()


def test_a_search_that_has_to_be_over_earlier_waits_no_longer(opened: Open) -> None:
    reranker, release = LastFirst(), threading.Event()
    engine = opened(reranker, rerank_timeout_s=600.0)
    engine.search(QUERY)
    reranker.behave = lambda texts: release.wait(20)
    with within(2.0):
        found = engine.search(QUERY)
    assert [entry.source for entry in found.degraded] == ["reranker"]
    release.set()


def test_one_that_was_given_is_closed_by_its_owner(opened: Open) -> None:
    reranker = LastFirst()
    engine = opened(reranker)
    engine.search(QUERY)
    engine.close()
    assert not reranker.closed


def test_a_folder_set_as_reranker_judges(opened: Open, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", reranker=str(make_folder(tmp_path / "tiny")))
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine:
        engine.warm_up()
        found = engine.search(QUERY)
        assert {hit.uri: hit.sources["reranker"] for hit in found.hits} == {
            "0": 5, "1": 2, "2": 4, "3": 0, "4": 2,
        }  # fmt: skip


def test_a_folder_that_is_not_there_is_reported_by_each_search_and_stops_a_start(
    opened: Open, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path / "data", reranker=str(tmp_path / "nowhere"))
    with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine:
        found = engine.search(QUERY)
        assert found.hits == opened().search(QUERY).hits
        assert "no folder" in found.degraded[0].reason
        with pytest.raises(ModelError, match="no folder"):
            engine.warm_up()


def test_an_endpoint_set_as_reranker_judges_with_its_key_until_it_does_not_answer(
    opened: Open, tmp_path: Path
) -> None:
    with rerank_server() as server:
        settings = Settings(
            data_dir=tmp_path / "data",
            reranker="jina",
            reranker_base_url=server.url,
            reranker_api_key=SecretStr("k-4"),
            rerank_timeout_s=0.5,
        )
        with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine:
            found = engine.search(QUERY)
            assert not found.degraded
            assert (server.bodies[0]["model"], server.keys) == ("jina", ["Bearer k-4"])
            server.hang = True
            found = engine.search(QUERY)
            assert [entry.source for entry in found.degraded] == ["reranker"]
            assert found.hits == opened().search(QUERY).hits
