"""Votes on hits through the whole engine: they move what is near, for queries alike, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone import Ragstone
from ragstone.errors import InputError, NotFoundError
from ragstone.retrieval.votes import BOUND, Votes
from ragstone.store import votes as stored_votes
from ragstone.types import SearchMode, SearchResult

TEXTS = {
    "early": "The ferry to Skarholm leaves at 7:40 on weekdays.",
    "late": "The last ferry from Skarholm leaves at 22:10 on weekdays.",
    "fares": "A ticket for the ferry costs four crowns, and bicycles travel free.",
    "mill": "Interest in old mills grows, and the grain is ground by water.",
    "jam": "Boil the plums with sugar for two hours and stir.",
}
QUERY = "When does the ferry to Skarholm leave?"
ALIKE = "At what time does the ferry to Skarholm leave?"
OTHER = "How do I boil plums into jam?"


@pytest.fixture
def engine(tmp_path: Path) -> Ragstone:
    engine = Ragstone(tmp_path)
    engine.add(list(TEXTS.values()), uris=list(TEXTS))
    return engine


def order(result: SearchResult) -> list[str]:
    return [hit.uri for hit in result.hits]


def vote_often(engine: Ragstone, uri: str, value: float, *, query: str = QUERY) -> list[int]:
    (chunk,) = [hit.id for hit in engine.search(query, top_k=10).hits if hit.uri == uri]
    return [engine.vote(query, chunk, value) for _ in range(10)]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
def test_ten_votes_move_a_hit_and_taking_them_back_restores_every_bit(
    engine: Ragstone, mode: SearchMode
) -> None:
    before = engine.search(QUERY, top_k=3, mode=mode)
    second = order(before)[1]
    given_ids = vote_often(engine, second, 1.0)
    vote_often(engine, order(before)[0], -1.0)
    voted = engine.search(QUERY, top_k=3, mode=mode)
    if mode == "keyword":  # BM25 lies too far apart to be turned round
        assert voted.hits[0].score < before.hits[0].score and voted.hits[1].score > before.hits[1].score
    else:
        assert order(voted)[0] == second
    assert engine.take_back_votes(given_ids) == 10
    assert engine.take_back_votes() == 10
    after = engine.search(QUERY, top_k=3, mode=mode)
    assert after.hits == before.hits


def test_no_vote_lifts_what_does_not_fit_and_no_score_moves_beyond_the_bound(engine: Ragstone) -> None:
    before = {hit.uri: hit.score for hit in engine.search(QUERY, top_k=5).hits}
    vote_often(engine, "jam", 1.0)
    vote_often(engine, "early", -1.0)
    found = engine.search(QUERY, top_k=5)
    assert order(found)[-1] in {"jam", "mill"}
    for hit in found.hits:
        assert abs(hit.score - before[hit.uri]) <= BOUND * before[hit.uri] + 1e-6
    assert found.hits[0].sources.keys() >= {"dense"}
    assert {hit.uri for hit in found.hits if "votes" in hit.sources} == {"jam", "early"}


def test_a_vote_counts_for_the_same_question_in_other_words_and_not_for_another(engine: Ragstone) -> None:
    alike, other = engine.search(ALIKE, top_k=5), engine.search(OTHER, top_k=5)
    vote_often(engine, "late", 1.0)
    late = {hit.uri: hit.score for hit in engine.search(ALIKE, top_k=5).hits}["late"]
    assert late > {hit.uri: hit.score for hit in alike.hits}["late"]
    assert engine.search(OTHER, top_k=5).hits == other.hits


def test_a_hit_comes_up_from_below_the_last_one_asked_for(engine: Ragstone) -> None:
    first, second = order(engine.search(QUERY, top_k=2))
    vote_often(engine, first, -1.0)
    vote_often(engine, second, 1.0)
    assert order(engine.search(QUERY, top_k=1)) == [second]


def test_votes_go_with_their_chunk_and_purge_leaves_no_byte_of_them(engine: Ragstone, tmp_path: Path) -> None:
    query = "is xyzzyplugh on the ferry?"
    vote_often(engine, "late", 1.0, query=query)
    assert {vote.query for vote in engine.votes()} == {query}
    engine.delete(["late"])
    assert engine.votes() == []
    engine.purge()
    engine.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"xyzzyplugh" in path.read_bytes()]


def test_another_engine_sees_a_vote_at_its_next_search(engine: Ragstone, tmp_path: Path) -> None:
    with Ragstone(tmp_path) as other:
        second = order(other.search(QUERY, top_k=3))[1]
        vote_often(engine, second, 1.0)
        assert "votes" in {hit.uri: hit for hit in other.search(QUERY, top_k=3).hits}[second].sources


def test_bad_votes_are_refused_and_change_nothing(engine: Ragstone) -> None:
    chunk = engine.search(QUERY, top_k=1).hits[0].id
    for value in (0.0, 1.5, -2.0, float("nan")):
        with pytest.raises(InputError, match="a vote of"):
            engine.vote(QUERY, chunk, value)
    with pytest.raises(InputError, match="the query is empty"):
        engine.vote("  ", chunk)
    with pytest.raises(NotFoundError, match="no chunk 999"):
        engine.vote(QUERY, 999)
    assert engine.votes() == []


def test_only_the_latest_votes_are_kept(engine: Ragstone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_votes, "KEPT", 5)
    given_ids = vote_often(engine, "late", 1.0)
    assert [vote.id for vote in engine.votes()] == given_ids[-5:]


@given(
    said=st.lists(st.tuples(st.integers(0, 5), st.floats(-1, 1, width=32)), max_size=50),
    seed=st.integers(0, 99),
)
def test_factors_stay_within_the_bound_and_follow_the_sign(said: list[tuple[int, float]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(len(said), 8)).astype(np.float32)
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-9)
    votes = Votes(
        np.array([chunk for chunk, _ in said], np.int64),
        ["asked"] * len(said),
        queries,
        np.array([value for _, value in said], np.float32),
    )
    ids = np.arange(6)
    factors = votes.factors("ASKED ", None, ids)
    assert (np.abs(factors - 1) <= BOUND + 1e-6).all()
    totals = np.array([sum(value for chunk, value in said if chunk == id_) for id_ in ids])
    clear = np.abs(totals) > 1e-3
    assert (np.sign(factors - 1)[clear] == np.sign(totals)[clear]).all()
    assert (votes.factors("something else", None, ids) == 1).all()
