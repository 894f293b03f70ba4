"""A model is entered by one thread at a time, loaded once, and asked once for a query, whatever runs at once."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from parallel.scripted_sources import LIMIT_S
from ragstone import ParallelRetriever, Ragstone, Settings
from ragstone.embedding.owned import OwnedEmbedder
from ragstone.embedding.query_cache import QueryCache
from ragstone.errors import InputError, ModelError, RagstoneError
from ragstone.parallel.passages import DomainSource, PassageSource
from ragstone.parallel.sources import Source
from ragstone.types import Matrix, Vector

THREADS = 32


class Fragile(HashingEmbedder):
    """A model that must not be entered twice at once, as many are; notices if it is."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = threading.Lock()
        self.overlaps = 0
        self.queries: list[str] = []

    def _alone(self) -> None:
        if not self._inside.acquire(blocking=False):
            self.overlaps += 1
            return
        try:
            time.sleep(0.001)  # long enough for another thread to come in, were it let
        finally:
            self._inside.release()

    def embed_documents(self, texts: object) -> Matrix:
        self._alone()
        return np.array([super(Fragile, self).embed_query(text) for text in texts], np.float32)  # type: ignore[attr-defined]

    def embed_query(self, text: str) -> Vector:
        self.queries.append(text)
        self._alone()
        return super().embed_query(text)


def test_a_model_is_never_entered_by_two_threads_at_once() -> None:
    model = Fragile()
    owned = OwnedEmbedder(model)
    together = threading.Barrier(THREADS)

    def use(number: int) -> None:
        together.wait(LIMIT_S)
        for turn in range(5):
            owned.embed_query(f"query {number} {turn}")
            owned.embed_documents([f"text {number} {turn}"])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(use, range(THREADS)))
    assert model.overlaps == 0
    assert len(model.queries) == THREADS * 5


def test_the_test_would_notice_a_model_without_an_owner() -> None:
    model = Fragile()
    together = threading.Barrier(THREADS)

    def use(number: int) -> None:
        together.wait(LIMIT_S)
        model.embed_query(f"query {number}")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(use, range(THREADS)))
    assert model.overlaps > 0


def test_sources_over_three_collections_embed_each_query_once(tmp_path: Path) -> None:
    model = Fragile()
    owned = OwnedEmbedder(model)
    for name in ("corpus", "one", "two"):
        with Ragstone(tmp_path, collection=name, embedder=owned) as engine:
            engine.add([f"The tide of {name} turns at noon."])
    with Ragstone(tmp_path, collection="corpus", embedder=owned) as engine:
        sources: list[Source] = [
            PassageSource(engine),
            PassageSource(engine, name="dense", mode="dense"),
            DomainSource(engine, but_for=["corpus"]),
        ]
        with ParallelRetriever(sources, kept=0) as retriever, ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda n: retriever.fetch(f"tide {n % 8}"), range(THREADS * 4)))
    assert sorted(model.queries) == [f"tide {n}" for n in range(8)]
    assert model.overlaps == 0


def test_thirty_two_threads_share_one_session_of_the_real_model(tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    queries = [f"when does ferry {number} leave?" for number in range(THREADS)]

    def sessions() -> int:
        return sum(isinstance(thing, InferenceSession) for thing in gc.get_objects())

    before = sessions()
    with Ragstone(tmp_path, settings=Settings()) as engine:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: engine.warm_up(), range(THREADS)))  # all at once, before it is loaded
        engine.add(queries)
        embedder = engine._models.loaded_embedder
        assert embedder is not None
        assert sessions() == before + 1
        together = threading.Barrier(THREADS)

        def embed(query: str) -> Vector:
            together.wait(LIMIT_S)
            return embedder.embed_query(query)

        with ThreadPoolExecutor(THREADS) as pool:
            at_once = list(pool.map(embed, queries))
    with Ragstone(tmp_path, settings=Settings()) as engine:
        engine.warm_up()
        assert engine._models.loaded_embedder is not None
        for query, vector in zip(queries, at_once, strict=True):
            assert np.array_equal(engine._models.loaded_embedder.embed_query(query), vector)


def test_an_engine_may_be_closed_while_it_warms_up(tmp_path: Path) -> None:
    before = threading.active_count()
    model = HashingEmbedder()
    with Ragstone(tmp_path, embedder=model) as engine:
        engine.add(["The tide comes twice a day."])
    for pause_s in np.linspace(0.0, 0.01, 100):  # a warm-up takes a few milliseconds
        engine = Ragstone(tmp_path, embedder=model)
        with ThreadPoolExecutor(1) as pool:
            warming = pool.submit(engine.warm_up)
            time.sleep(pause_s)
            engine.close()
            if (error := warming.exception(LIMIT_S)) is not None:
                assert isinstance(error, RagstoneError) and "closed" in str(error)
        assert threading.active_count() == before
        with pytest.raises(InputError, match="closed"):
            engine.warm_up()


def test_what_is_asked_for_at_once_is_made_once_and_a_failure_is_everybodys() -> None:
    cache: QueryCache[str] = QueryCache()
    calls: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def make() -> str:
        calls.append(1)
        begun.set()
        go.wait(LIMIT_S)
        if len(calls) == 1:
            raise ModelError("down")
        return "made"

    def ask() -> str:
        return cache.get_or_make("text", make)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask)
        assert begun.wait(LIMIT_S)
        others = [pool.submit(ask) for _ in range(7)]
        give_up_s = time.monotonic() + LIMIT_S
        while len(cache._making["text"]._condition._waiters) < 7:  # type: ignore[attr-defined]
            assert time.monotonic() < give_up_s  # until all seven wait for the first
        go.set()
        for future in (first, *others):
            with pytest.raises(ModelError, match="down"):
                future.result(LIMIT_S)
        assert len(calls) == 1
        assert {future.result(LIMIT_S) for future in [pool.submit(ask) for _ in range(8)]} == {"made"}
    assert len(calls) == 2


def test_an_interrupted_maker_leaves_the_making_to_the_next() -> None:
    cache: QueryCache[str] = QueryCache()
    begun, go = threading.Event(), threading.Event()

    def interrupted() -> str:
        begun.set()
        go.wait(LIMIT_S)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get_or_make, "text", interrupted)
        assert begun.wait(LIMIT_S)
        second = pool.submit(cache.get_or_make, "text", lambda: "made")
        go.set()
        with pytest.raises(KeyboardInterrupt):
            first.result(LIMIT_S)
        assert second.result(LIMIT_S) == "made"
