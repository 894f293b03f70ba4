"""Why a document is, or is not, among the hits: each mode, each stage, and what stands above it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import ModelError
from ragstone.explaining import DEPTH, explain, explain_hits
from ragstone.settings import Settings
from ragstone.types import Scores, Vector

KEEPERS = [f"lighthouse keeper number {n} " + "and his lamp " * n for n in range(8)]
QUERY = "lighthouse keeper number 3"


class LongestFirst:
    """A reranker that likes long texts."""

    model_id = "longest"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        return np.array([len(text) for text in texts], np.float32)

    def close(self) -> None:
        """Holds nothing."""


class FailsOnce(HashingEmbedder):
    """A model elsewhere that does not answer the third query."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def embed_query(self, text: str) -> Vector:
        self._asked += text == QUERY
        if self._asked == 3:
            raise ModelError("the endpoint is away")
        return super().embed_query(text)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as opened:
        opened.add(KEEPERS, uris=[f"k{n}" for n in range(8)])
        yield opened


def test_the_ranks_and_scores_are_those_of_the_searches_themselves(engine: Ragstone) -> None:
    found = explain(engine, QUERY, "k5")
    for standing in found.standings:
        hits = engine.search(QUERY, mode=standing.mode, top_k=10).hits
        (rank,) = (rank for rank, hit in enumerate(hits, start=1) if hit.uri == "k5")
        assert (standing.rank, standing.score) == (rank, hits[rank - 1].score)
        assert standing.first_score == hits[0].score
    assert [standing.mode for standing in found.standings] == ["hybrid", "dense", "keyword"]
    assert found.best is not None
    assert set(found.best.sources) == {"dense", "keyword"}


def test_what_stands_above_are_the_first_hits_before_it(engine: Ragstone) -> None:
    hits = engine.search(QUERY, top_k=8).hits
    third = explain(engine, QUERY, hits[2].uri)
    assert [(above.rank, above.uri) for above in third.above] == [(1, hits[0].uri), (2, hits[1].uri)]
    assert explain(engine, QUERY, hits[0].uri).above == ()
    out = explain(engine, QUERY, hits[0].uri, filter="type:pdf")
    assert (out.above, out.stages, out.best) == ((), (), None)


def test_each_stage_says_where_the_passage_stood_before_the_next(tmp_path: Path) -> None:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder(), reranker=LongestFirst()) as engine:
        engine.add(KEEPERS, uris=[f"k{n}" for n in range(8)])
        last = engine.search(QUERY, top_k=8, rerank=False, graph=False).hits[-1]
        found = explain(engine, QUERY, last.uri)
        assert [stage.name for stage in found.stages] == ["sources", "graph", "reranker"]
        assert (found.stages[0].rank, found.stages[0].score) == (8, last.score)
        followed = engine.search(QUERY, top_k=8, rerank=False).hits[(found.stages[1].rank or 0) - 1]
        assert (followed.uri, followed.score) == (last.uri, found.stages[1].score)
        judged = engine.search(QUERY, top_k=8).hits
        rank = [hit.uri for hit in judged].index(last.uri) + 1
        assert rank < 8
        assert (found.stages[2].rank, found.stages[2].score) == (rank, judged[rank - 1].score)
        assert found.best is not None
        assert found.best.sources["reranker"] == judged[rank - 1].sources["reranker"]


def test_a_name_that_led_to_it_is_told_and_the_graph_is_a_stage_only_where_it_is_used(tmp_path: Path) -> None:
    titles = ["Emil Krantz", "Velvet Harbour", *(f"Filler {n}" for n in range(6))]
    texts = [
        "He painted boats.",
        "Three songs were written by Emil Krantz.",
        *(f"Tin can {n}." for n in range(6)),
    ]
    for graph in (True, False):
        settings = Settings(data_dir=tmp_path / "data", graph=graph)
        with Ragstone(settings=settings, embedder=HashingEmbedder()) as engine:
            engine.add(texts, uris=titles, titles=titles)
            found = explain(engine, "who wrote the songs of Velvet Harbour", "Emil Krantz")
            assert found.names == (("Emil Krantz",) if graph else ())
            assert [stage.name for stage in found.stages] == (["sources", "graph"] if graph else ["sources"])
            if graph:
                before, after = (stage.score for stage in found.stages)
                assert before is not None and after is not None and after > before


def test_votes_on_the_passage_and_words_added_to_the_query_are_told(engine: Ragstone) -> None:
    engine.add(["The Harbour Radar Unit (HRU) watches the pier."], uris=["radar"])
    radar = explain(engine, "HRU", "radar")
    assert (radar.expansions, radar.votes) == (("Harbour Radar Unit",), ())
    assert radar.best is not None
    given = engine.vote("HRU", radar.best.id)
    assert [vote.id for vote in explain(engine, "HRU", "radar").votes] == [given]
    assert explain(engine, QUERY, "k3").votes == ()


def test_the_first_hits_are_explained_as_each_would_be_alone(engine: Ragstone) -> None:
    found = explain_hits(engine, QUERY, top_k=3)
    assert [one.document.uri for one in found] == [hit.uri for hit in engine.search(QUERY, top_k=3).hits]
    assert list(found) == [explain(engine, QUERY, one.document.uri, top_k=3) for one in found]


def test_a_collection_of_vectors_without_their_model_is_explained_by_words(engine: Ragstone) -> None:
    vectors = np.eye(2, 16, dtype=np.float32)
    engine.add(["granite", "slate"], uris=["g", "s"], vectors=vectors, model="elsewhere", collection="stones")
    found = explain(engine, "granite", "g", collection="stones")
    assert {standing.mode: standing.rank for standing in found.standings} == {
        "hybrid": 1,
        "dense": None,
        "keyword": 1,
    }
    assert [missing.source for missing in found.degraded] == ["dense"]


def test_a_source_that_fails_just_then_is_an_error_and_not_a_document_out_of_reach(tmp_path: Path) -> None:
    with Ragstone(tmp_path / "data", embedder=FailsOnce()) as engine:
        engine.add(KEEPERS, uris=[f"k{n}" for n in range(8)])
        with pytest.raises(ModelError, match="away"):
            explain(engine, QUERY, "k3")


def test_the_rank_told_is_the_one_a_user_sees_although_a_deeper_search_ranks_otherwise(
    tmp_path: Path,
) -> None:
    choice = random.Random(1)  # of 8,000 such texts; fewer are all among the candidates
    words = [f"w{n}" for n in range(400)]
    texts = [" ".join(choice.choices(words, k=12)) for _ in range(8_000)]
    query = "w308 w255 w309 w70 w151 w205 w204 w52"
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        engine.add(texts, uris=[str(n) for n in range(8_000)])
        shown = [hit.uri for hit in engine.search(query, top_k=10).hits]
        assert shown != [hit.uri for hit in engine.search(query, top_k=DEPTH).hits][:10]
        told = explain_hits(engine, query, top_k=10)
        assert [(one.document.uri, one.standings[0].rank) for one in told] == list(
            zip(shown, range(1, 11), strict=True)
        )


def test_what_nothing_reaches_is_said_to_be_out_of_reach(engine: Ragstone) -> None:
    engine.add([f"lamp {n}" for n in range(DEPTH)], uris=[f"lamp:{n}" for n in range(DEPTH)])
    engine.add(["zinc"], uris=["zinc"])
    found = explain(engine, "lamp", "zinc")
    assert found.reason == "not_reached"
    assert "1,000" in found.because
    assert [above.rank for above in found.above] == [1, 2, 3, 4, 5]
