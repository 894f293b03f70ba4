"""Chunks beside the keyword index are found and scored as if they were in it; the oracle is an index that holds all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.store.keyword import KeywordIndex
from ragstone.store.keyword_reader import KeywordReader
from ragstone.store.keyword_tail import Feature, KeywordEntry, KeywordTail, TailChunk

WORDS = (
    "rotor",
    "blade",
    "flow",
    "wing",
    "heat",
    "plate",
    "shock",
    "wave",
    "readFile",
    "os.path",
    "東京都",
    "日",
)
QUERIES = (
    "rotor",
    "rotor rotor blade",
    "os.path",
    '"heat plate" wing',
    "東京",
    "日",
    "readFile flow 日 os.path",
)


def entries(count: int, *, first: int, seed: int, length: int = 60) -> list[KeywordEntry]:
    random = np.random.default_rng(seed)
    return [
        KeywordEntry(i, i, " ".join(random.choice(WORDS, random.integers(length // 2, length))))
        for i in range(first, first + count)
    ]


def both(
    folder: Path, base: list[KeywordEntry], later: list[KeywordEntry], deleted: list[int]
) -> tuple[KeywordReader, KeywordReader]:
    """A reader of the index of `base` with the rest beside it, and one of an index that went through it all."""
    behind = KeywordIndex.open(folder / "behind", writable=True)
    if base:
        behind.apply(add=base, delete=[], sequence=1)
    whole = KeywordIndex.open(folder / "whole", writable=True)
    kept = [entry for entry in [*base, *later] if entry.chunk_id not in deleted]
    whole.apply(add=kept, delete=[], sequence=1)
    waiting = [TailChunk.analysed(entry) for entry in later if entry.chunk_id not in deleted]
    return behind.reader(tail=KeywordTail(waiting, deleted)), whole.reader()


@pytest.mark.parametrize("query", QUERIES)
def test_a_chunk_scores_beside_the_index_what_it_will_score_in_it(tmp_path: Path, query: str) -> None:
    reader, whole = both(tmp_path, entries(600, first=1, seed=1), entries(40, first=601, seed=2), [])
    ids, scores = reader.search(query, top_k=1000)
    expected, expected_scores = whole.search(query, top_k=1000)
    assert sorted(ids) == sorted(expected)
    assert len(expected) > 40
    order, expected_order = np.argsort(ids), np.argsort(expected)
    # 1 %: the mean length of the texts is the index's own, without what lies beside it.
    np.testing.assert_allclose(scores[order], expected_scores[expected_order], rtol=0.01)
    np.testing.assert_allclose(reader.score(query, np.sort(ids)), scores[order], rtol=1e-6)
    assert reader.weigh(query).words == whole.weigh(query).words
    assert reader.weigh(query).bound == pytest.approx(whole.weigh(query).bound, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_deletes_and_filters_hold_beside_the_index(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = entries(data.draw(st.integers(0, 60)), first=1, seed=3)
    later = entries(data.draw(st.integers(0, 20)), first=100, seed=4)
    everything = [entry.chunk_id for entry in [*base, *later]]
    deleted = data.draw(st.lists(st.sampled_from(everything), unique=True)) if everything else []
    reader, whole = both(tmp_path_factory.mktemp("tail"), base, later, deleted)
    allowed = data.draw(st.none() | st.lists(st.sampled_from(everything or [1]), unique=True, min_size=1))
    documents = None if allowed is None else np.sort(np.array(allowed, np.int64))
    for query in ("rotor", "os.path wing"):
        ids, scores = reader.search(query, top_k=7, allowed=documents)
        every, _ = whole.search(query, top_k=1000, allowed=documents)
        assert len(ids) == min(7, len(every))
        assert np.isin(ids, every).all()
        assert [(-s, i) for s, i in zip(scores, ids, strict=True)] == sorted(
            (-s, i) for s, i in zip(scores, ids, strict=True)
        )
    assert not reader.score("rotor", np.array(deleted, np.int64)).any()


def test_a_length_counts_as_the_byte_that_the_index_keeps_of_it(tmp_path: Path) -> None:
    def texts(first: int) -> list[KeywordEntry]:
        lengths = [int(1.37**step) + step for step in range(27)]  # 1 to 4,000
        return [KeywordEntry(first + i, 1, "blade" + " filler" * n) for i, n in enumerate(lengths)]

    # Twenty times the same lengths in the index, so that its mean length is that of all.
    base = [entry for times in range(20) for entry in texts(1 + 100 * times)]
    reader, whole = both(tmp_path, base, texts(5001), [])
    ids, scores = reader.search("blade", top_k=1000)
    expected, expected_scores = whole.search("blade", top_k=1000)
    order, expected_order = np.argsort(ids), np.argsort(expected)
    assert len(ids) == 21 * 27
    np.testing.assert_allclose(scores[order], expected_scores[expected_order], rtol=0.005)


def test_a_phrase_counts_where_its_words_stand_together() -> None:
    chunk = TailChunk.analysed(KeywordEntry(1, 1, "heat plate, plate heat; heat plate heat plate"))
    assert chunk.frequency(Feature("words", ("heat", "plate"))) == 3
    assert chunk.frequency(Feature("words", ("plate", "plate"))) == 1
    assert chunk.frequency(Feature("words", ("heat", "wing"))) == 0
