"""The ten facts that document 001 names as its tests, under its names; the rest of this folder goes further."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from parallel.scripted_sources import Analysing, Scripted, items, raising, sleeping
from ragstone import ParallelRetriever, get_retriever, prefetch_all_rag_data
from ragstone.parallel.prefetch import close_retriever
from ragstone.parallel.sources import Found, Request, prepare

SAJU = {"dayMaster": {"heavenlyStem": "甲", "element": "wood"}, "dominantElement": "fire"}
ASTRO = {"sun": {"sign": "Leo", "house": 10}, "moon": {"sign": "Virgo"}}


def _five() -> ParallelRetriever:
    return ParallelRetriever(
        [Scripted(name, Found(items(name))) for name in ("graph", "corpus", "persona", "domain")],
        analysis=Analysing(),
    )


@pytest.fixture
def manager() -> Iterator[ParallelRetriever]:
    with _five() as retriever:
        yield retriever


def test_manager_initialization(manager: ParallelRetriever) -> None:
    assert manager.workers == 4


def test_singleton_manager() -> None:
    close_retriever()
    assert get_retriever(_five) is get_retriever(_five)
    close_retriever()


def test_prepare_query_data() -> None:
    request = prepare(
        SAJU, ASTRO, theme="career", locale="ko", concepts={"career": "vocation calling"}, timeout_s=5.0
    )
    assert request == Request(
        "career vocation calling 甲 wood fire Leo Virgo", SAJU, ASTRO, "career", "ko", 5.0
    )


def test_fetch_all_rag_data_structure(manager: ParallelRetriever) -> None:
    data = asyncio.run(manager.fetch_all_rag_data(SAJU, ASTRO))
    kinds = {key: type(data[key]) for key in list(data)[:8]}
    assert kinds == {
        "graph_nodes": list, "graph_context": str, "graph_rules": list, "corpus_quotes": list,
        "persona_context": dict, "domain_knowledge": list, "cross_analysis": str, "prefetch_time_ms": float,
    }  # fmt: skip


def test_parallel_execution_performance() -> None:
    documented_s = {"graph": 0.3, "corpus": 0.2, "persona": 0.2, "domain": 0.15, "cross": 0.05}
    with ParallelRetriever([sleeping(name, seconds) for name, seconds in documented_s.items()]) as retriever:
        started_s = time.perf_counter()
        retriever.fetch("question")
        assert time.perf_counter() - started_s < 0.7 * sum(documented_s.values())


def test_error_handling_graceful_degradation() -> None:
    with ParallelRetriever([raising("graph", RuntimeError("down")), Scripted("corpus")]) as retriever:
        data = retriever.fetch("question").to_dict()
    assert data["graph_nodes"] == []
    assert data["degraded"] == [{"source": "graph", "reason": "failed: RuntimeError: down"}]


def test_performance_metrics_tracking(manager: ParallelRetriever) -> None:
    data = manager.fetch("question").to_dict()
    assert data["prefetch_time_ms"] > 0
    assert all(source["ms"] >= 0 for source in data["sources"].values())


@pytest.mark.parametrize("theme", ["career", "love", "health", "life_path", "wealth", "family"])
def test_different_themes(manager: ParallelRetriever, theme: str) -> None:
    assert manager.fetch(SAJU, ASTRO, theme).to_dict()["cross_analysis"].startswith(theme)


@pytest.mark.parametrize("locale", ["ko", "en"])
def test_localization(manager: ParallelRetriever, locale: str) -> None:
    assert f" {locale}:" in manager.fetch(SAJU, ASTRO, "career", locale).to_dict()["cross_analysis"]


def test_sync_wrapper_calls_async() -> None:
    close_retriever()
    retriever = get_retriever(_five)
    changing = {"prefetch_time_ms", "sources"}
    by_wrapper = prefetch_all_rag_data(SAJU, ASTRO)
    awaited = asyncio.run(retriever.fetch_all_rag_data(SAJU, ASTRO))
    assert {k: v for k, v in by_wrapper.items() if k not in changing} == {
        k: v for k, v in awaited.items() if k not in changing
    }
    close_retriever()
