"""The documented functions: without a loop, inside a running one, from many threads, and at the process's end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hashing_embedder import HashingEmbedder
from parallel.scripted_sources import LIMIT_S, Analysing, Hanging, Scripted, items, our_threads, raising
from ragstone import (
    ParallelRetriever,
    Ragstone,
    Settings,
    get_performance_stats,
    get_retriever,
    open_retriever,
    prefetch_all_rag_data,
    prefetch_all_rag_data_async,
    reset_performance_stats,
)
from ragstone.errors import InputError
from ragstone.memory.opening import open_memory, settings_embedder
from ragstone.parallel.prefetch import close_retriever
from ragstone.parallel.sources import Found

QUESTION = "when does the ferry leave?"


def _built() -> ParallelRetriever:
    echo = Scripted("corpus", script=lambda request: Found(items(request.query)))
    return ParallelRetriever([Scripted("graph"), echo], analysis=Analysing())


@pytest.fixture
def retriever() -> Iterator[ParallelRetriever]:
    close_retriever()
    yield get_retriever(_built)
    close_retriever()


def _quote(data: dict[str, Any]) -> str:
    assert data["degraded"] == []
    return str(data["corpus_quotes"][0]["text"])


@pytest.mark.usefixtures("retriever")
def test_it_answers_without_a_loop() -> None:
    assert _quote(prefetch_all_rag_data(QUESTION)) == QUESTION
    saju, astro = {"dayMaster": {"name": "甲"}}, {"sun": {"sign": "Leo"}}
    data = prefetch_all_rag_data(saju, astro, "career", "ko")
    assert (_quote(data), data["cross_analysis"]) == ("career 甲 Leo", "career ko: graph, corpus")


@pytest.mark.usefixtures("retriever")
def test_it_answers_inside_a_running_loop() -> None:
    async def handler() -> str:
        return _quote(prefetch_all_rag_data(QUESTION))

    assert asyncio.run(asyncio.wait_for(handler(), LIMIT_S)) == QUESTION


@pytest.mark.usefixtures("retriever")
def test_it_can_be_awaited_in_any_number_of_loops() -> None:
    async def many() -> list[str]:
        found = await asyncio.gather(*(prefetch_all_rag_data_async(f"{QUESTION} {n}") for n in range(20)))
        return [_quote(data) for data in found]

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda _: asyncio.run(many()), range(4)):
            assert answers == [f"{QUESTION} {n}" for n in range(20)]


def test_awaiting_leaves_the_loop_free() -> None:
    async def waited() -> int:
        task = asyncio.create_task(retriever.fetch_all_rag_data(QUESTION))
        await asyncio.to_thread(hung.begun.acquire, True, LIMIT_S)
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
            if turns == 1_000:
                hung.released.set()
        return turns

    hung = Hanging("graph")
    with ParallelRetriever([hung]) as retriever:
        assert asyncio.run(waited()) >= 1_000


@pytest.mark.usefixtures("retriever")
def test_it_answers_many_threads_and_loops_at_once() -> None:
    def ask(number: int) -> str:
        if number % 2:
            return _quote(prefetch_all_rag_data(f"{QUESTION} {number}"))
        return _quote(asyncio.run(prefetch_all_rag_data_async(f"{QUESTION} {number}")))

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(128))) == [f"{QUESTION} {number}" for number in range(128)]


def test_a_source_may_ask_the_retriever_itself() -> None:
    """Nested calls end, at the latest by their deadline: they wait for the places that their callers hold."""

    def nested(request: Any) -> Found:
        return (
            nesting.fetch("inner").found.get("a", Found())
            if request.query == "outer"
            else Found(items("end"))
        )

    with ParallelRetriever([Scripted("a", script=nested)], workers=2) as nesting:
        assert nesting.fetch("outer").found["a"].items[0].text == "end"


def test_a_hundred_threads_get_one_retriever_and_closing_ends_its_threads() -> None:
    made: list[ParallelRetriever] = []

    def build() -> ParallelRetriever:
        time.sleep(0.05)  # opening takes a while, in which the others come
        made.append(_built())
        return made[-1]

    together = threading.Barrier(100)

    def get(_: int) -> ParallelRetriever:
        together.wait(LIMIT_S)
        return get_retriever(build)

    close_retriever()
    with ThreadPoolExecutor(100) as pool:
        assert len(set(map(id, pool.map(get, range(100))))) == len(made) == 1
    prefetch_all_rag_data(QUESTION)
    assert our_threads()
    close_retriever()
    assert our_threads() == []
    assert get_retriever(build) is not made[0]
    close_retriever()


def test_one_failing_source_spoils_nothing(retriever: ParallelRetriever) -> None:
    del retriever
    close_retriever()
    get_retriever(lambda: ParallelRetriever([raising("graph", ValueError("down")), Scripted("corpus")]))
    data = prefetch_all_rag_data(QUESTION)
    assert data["degraded"] == [{"source": "graph", "reason": "failed: ValueError: down"}]


# -- from settings ---------------------------------------------------------------------------------------


def _settings(folder: Path, **environ: str) -> Settings:
    base = {"HOME": str(folder), "RAGSTONE_DATA_DIR": str(folder / "data")}
    return Settings.load(environ=base | environ, working_dir=folder)


@pytest.mark.parametrize("name", ["RAG_EXECUTOR_WORKERS", "RAGSTONE_EXECUTOR_WORKERS"])
def test_as_many_sources_are_asked_at_once_as_set(tmp_path: Path, name: str) -> None:
    with Ragstone(settings=_settings(tmp_path), embedder=HashingEmbedder()) as engine:
        with open_retriever(_settings(tmp_path), engine=engine) as usual:
            assert usual.workers == 4
        with open_retriever(_settings(tmp_path, **{name: "2"}), engine=engine) as set_to_two:
            assert set_to_two.workers == 2


@pytest.mark.parametrize(("name", "value"), [("RAG_DISABLE", "1"), ("RAGSTONE_DISABLE_SOURCES", "true")])
def test_switched_off_by_its_setting_nothing_is_asked(tmp_path: Path, name: str, value: str) -> None:
    with Ragstone(settings=_settings(tmp_path), embedder=HashingEmbedder()) as engine:
        engine.add(["The ferry leaves at 7:40."])
        with open_retriever(_settings(tmp_path, **{name: value}), engine=engine) as off:
            assert off.fetch(QUESTION).to_dict()["corpus_quotes"] == []
        with open_retriever(_settings(tmp_path, RAG_DISABLE="0"), engine=engine) as on:
            assert on.fetch(QUESTION).to_dict()["corpus_quotes"]


def test_the_settings_collection_is_the_corpus_and_the_others_are_the_domain(tmp_path: Path) -> None:
    with (
        Ragstone(settings=_settings(tmp_path), embedder=HashingEmbedder()) as engine,
        open_retriever(_settings(tmp_path), engine=engine) as retriever,
    ):
        data = retriever.fetch(QUESTION).to_dict()
        assert [part["source"] for part in data["degraded"]] == ["corpus", "graph"]
        assert "no collection 'default'" in data["degraded"][0]["reason"]
        engine.add(["The ferry leaves at 7:40."])
        engine.add(["The ferry of the timetables leaves at 8:15."], collection="timetables")
        with open_memory(_settings(tmp_path), embedder=HashingEmbedder()) as memory:
            memory.add("The ferry of the memory leaves at 8:15.")
        data = retriever.fetch(QUESTION).to_dict()
        assert [quote["text"] for quote in data["corpus_quotes"]] == ["The ferry leaves at 7:40."]
        assert [known["collection"] for known in data["domain_knowledge"]] == ["timetables"]
        assert not data["degraded"]


def test_what_the_sources_took_is_in_the_processs_figures(tmp_path: Path) -> None:
    reset_performance_stats()
    settings = _settings(tmp_path)
    with (
        Ragstone(settings=settings, embedder=HashingEmbedder()) as engine,
        open_retriever(settings, engine=engine) as retriever,
    ):
        engine.add(["The ferry leaves at 7:40."])
        retriever.fetch(QUESTION)
    figures = get_performance_stats()
    assert set(figures) == {"rag_prepare_query", "rag_corpus_fetch", "rag_graph_fetch", "rag_domain_fetch"}
    assert figures["rag_corpus_fetch"]["avg_ms"] > 0
    reset_performance_stats()


def test_the_names_in_the_collection_are_the_graph(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with (
        Ragstone(settings=settings, embedder=HashingEmbedder()) as engine,
        open_retriever(settings, engine=engine) as retriever,
    ):
        texts = ["She was built at Krantz Yard in 1931.", "A yard on the north shore.", "Boil plums for jam."]
        engine.add(texts, uris=["ship", "yard", "jam"], titles=["Sea Lark", "Krantz Yard", "Jam"])
        data = retriever.fetch("Where was the Sea Lark built?").to_dict()
        assert [node["uri"] for node in data["graph_nodes"]] == ["ship", "yard"]
        assert data["graph_context"].splitlines() == [
            "“Sea Lark”, in the question: Sea Lark",
            "“Krantz Yard”, in Sea Lark: Krantz Yard",
        ]
        assert retriever.fetch("Where was the Sea Lark built?").kept
        engine.delete(["yard"])
        assert [
            node["uri"] for node in retriever.fetch("Where was the Sea Lark built?").to_dict()["graph_nodes"]
        ] == ["ship"]


def test_what_is_remembered_for_the_collection_is_the_persona(tmp_path: Path) -> None:
    settings, embedder = _settings(tmp_path), HashingEmbedder()
    with (
        Ragstone(settings=settings, embedder=embedder) as engine,
        open_memory(settings, embedder=embedder) as memory,
        open_retriever(settings, engine=engine, memory=memory) as retriever,
    ):
        engine.add(["The ferry leaves at 7:40."])
        stored = memory.add("I get seasick on the ferry.", tier="semantic", tags=["health"])
        assert stored.id is not None
        remembered = retriever.fetch(QUESTION).to_dict()["persona_context"]
        assert [item["text"] for item in remembered["health"]] == ["I get seasick on the ferry."]
        assert retriever.fetch(QUESTION).kept
        assert memory.entry(stored.id).access_count == 0  # looking is not remembering
        memory.forget([stored.id])
        assert retriever.fetch(QUESTION).to_dict()["persona_context"] == {}


def test_memory_and_collections_share_one_model(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with closing(settings_embedder(settings)) as embedder, open_memory(settings, embedder=embedder) as memory:
        memory.add("I get seasick on the ferry.", tier="semantic", tags=["health"])
    retriever = open_retriever(settings)
    _store, engine, shared = retriever._owned
    assert isinstance(engine, Ragstone)
    assert engine.embedder() is shared
    engine.add(["The ferry leaves at 7:40."])
    data = retriever.fetch("the ferry makes me seasick").to_dict()
    assert not data["degraded"]
    assert data["persona_context"]["health"]
    retriever.close()


def test_the_engine_it_opened_is_closed_with_it(tmp_path: Path) -> None:
    retriever = open_retriever(_settings(tmp_path))
    (engine,) = retriever._owned
    assert isinstance(engine, Ragstone)
    retriever.close()
    with pytest.raises(InputError, match="closed"):
        engine.version()


# -- the process's end -----------------------------------------------------------------------------------

HUNG_AT_THE_END = """
import threading
from ragstone import ParallelRetriever, get_retriever, prefetch_all_rag_data
from ragstone.parallel.sources import Found

class Hung:
    name = "graph"
    def fetch(self, request): threading.Event().wait()
    def version(self): return None

get_retriever(lambda: ParallelRetriever([Hung()], source_timeout_s=0.1))
print(prefetch_all_rag_data("question")["degraded"][0]["reason"])
"""


def test_a_hung_source_does_not_keep_the_process_alive() -> None:
    started_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", HUNG_AT_THE_END], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stdout) == (0, "late: no answer within 0.10 s\n")
    assert "left behind" in done.stderr
    assert time.perf_counter() - started_s < 15


FORKED = """
import os
from ragstone import ParallelRetriever, get_retriever, prefetch_all_rag_data
from ragstone.parallel.sources import Found

class Quick:
    name = "graph"
    def fetch(self, request): return Found(text=request.query)
    def version(self): return None

build = lambda: ParallelRetriever([Quick()])
get_retriever(build)
assert prefetch_all_rag_data("parent")["graph_context"] == "parent"
child = os.fork()
if not child:
    get_retriever(build)
    assert prefetch_all_rag_data("child")["graph_context"] == "child"
    raise SystemExit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert prefetch_all_rag_data("parent")["graph_context"] == "parent"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_a_retriever_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
