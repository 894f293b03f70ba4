"""Queries widened in an engine, by what the texts of a collection define, kept in step with them, and by a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acronym_documents import SYNONYMS, Judged, by_acronym, by_synonym, texts
from hashing_embedder import HashingEmbedder
from older_catalog import set_back_before
from ragstone import Ragstone, Settings
from ragstone.errors import InputError
from ragstone.expansions import ADDED_WEIGHT, ExpandedText, expanded_text, reworded
from ragstone.store.schema import m006_acronyms_extractions
from ragstone.types import Expansion, QueryTokens, SearchMode, Vector

MODES: tuple[SearchMode, ...] = ("keyword", "hybrid")


def opened(folder: Path, **settings: object) -> Ragstone:
    return Ragstone(
        settings=Settings.model_validate({"data_dir": folder / "data", **settings}),
        embedder=HashingEmbedder(),
    )


def fill(engine: Ragstone) -> None:
    engine.add(list(texts().values()), uris=list(texts()))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with opened(tmp_path) as engine:
        fill(engine)
        yield engine


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "synonyms.txt"
    path.write_text(SYNONYMS)
    return path


def recall_of(engine: Ragstone, judged: Iterable[Judged], mode: SearchMode, *, top_k: int = 5) -> float:
    """The mean share of the relevant documents among the first hits."""
    return fmean(
        len({hit.uri for hit in engine.search(one.query, mode=mode, top_k=top_k).hits} & one.relevant)
        / len(one.relevant)
        for one in judged
    )


def added(engine: Ragstone, query: str) -> list[tuple[str, str, str]]:
    return [(found.written, found.added, found.origin) for found in engine.search(query).expansions]


def rows(engine: Ragstone) -> set[tuple[str, str, str]]:
    """Which document says what, by uri."""
    with engine._collection().catalog.reading() as db:
        query = "SELECT a.short, a.long, d.uri FROM acronyms a LEFT JOIN documents d ON d.id = a.document_id"
        return {(str(short), str(long), str(uri)) for short, long, uri in db.execute(query)}


# -- what it is for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_recall_rises_on_the_labelled_set(tmp_path: Path, table: Path, mode: SearchMode) -> None:
    """With the built-in model: recall@5 of acronyms and long forms, then of synonyms."""
    settings = Settings(data_dir=tmp_path / "data")
    with Ragstone(settings=settings.model_copy(update={"acronyms": False})) as plain:
        fill(plain)
        assert recall_of(plain, by_acronym(), mode) < 0.75
        assert recall_of(plain, by_synonym(), mode) < 0.5
    with Ragstone(settings=settings.model_copy(update={"synonyms": table})) as widened:
        assert recall_of(widened, by_acronym(), mode) == 1.0
        assert recall_of(widened, by_synonym(), mode) == 1.0


@pytest.mark.parametrize("query", ["HRU", "hru", "HRUs", "HRU-based", "the (HRU)?"])
def test_an_acronym_finds_the_long_form(engine: Ragstone, query: str) -> None:
    assert "HRU/long" in {hit.uri for hit in engine.search(query, mode="keyword").hits[:3]}
    assert [words for _, words, _ in added(engine, query)] == ["Harbour Radar Unit"]


@pytest.mark.parametrize("query", ["harbour radar unit", "who pays the harbour radar units?"])
def test_a_long_form_finds_the_acronym(engine: Ragstone, query: str) -> None:
    found = [hit.uri for hit in engine.search(query, mode="keyword").hits[:3]]
    assert "HRU/short" in found
    assert [words for _, words, _ in added(engine, query)] == ["HRU"]


def test_what_was_added_is_said_with_where_it_comes_from(tmp_path: Path, table: Path) -> None:
    with opened(tmp_path, synonyms=table) as engine:
        fill(engine)
        assert added(engine, "Does the HRU watch the ferry?") == [
            ("HRU", "Harbour Radar Unit", "collection"),
            ("ferry", "steamer", "synonyms"),
        ]
        assert added(engine, "chowder") == []
        assert added(engine, "the HRU is the Harbour Radar Unit") == []  # the query says it itself


def test_an_answer_may_stand_in_the_words_that_were_added(tmp_path: Path) -> None:
    """With the built-in model: what a document says of the long form answers a question about the acronym."""
    texts = [
        "The Zebra Quilting Xylem (ZQX) was set up in 1987 beside the old customs house.",
        "The zebra quilting xylem is led by Mara Lindqvist, who came from Holm.",
        "The fish market opens at six.",
        "Gulls nest on the roof of the customs house.",
    ]
    settings = Settings(data_dir=tmp_path / "data")
    with Ragstone(settings=settings) as engine:
        engine.add(texts)
        assert "Mara Lindqvist" in engine.ask("Who is the leader of ZQX?").text
    with Ragstone(settings=settings.model_copy(update={"acronyms": False})) as plain:
        assert not plain.ask("Who is the leader of ZQX?").grounded


# -- one embedding ---------------------------------------------------------------------------------------------


class _Listening(HashingEmbedder):
    """Remembers the queries it embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[str] = []

    def embed_query(self, text: str) -> Vector:
        self.queries.append(text)
        return super().embed_query(text)


def test_a_query_and_its_added_words_are_embedded_at_once(tmp_path: Path) -> None:
    listening = _Listening()
    with Ragstone(tmp_path, settings=Settings(), embedder=listening) as engine:
        fill(engine)
        listening.queries.clear()
        result = engine.search("Is the HRU aerial new?")
        assert [found.added for found in result.expansions] == ["Harbour Radar Unit"]
        engine.search("Is the HRU aerial old?", mode="dense")  # by meaning alone nothing is added
    assert listening.queries == ["Is the HRU (Harbour Radar Unit) aerial new?", "Is the HRU aerial old?"]


def expansion(written: str, added: str) -> Expansion:
    return Expansion(written, added, "synonyms", (written,), (added,), ADDED_WEIGHT)


def test_of_several_meanings_the_first_is_told_and_each_word_once() -> None:
    found = [
        expansion("HRU", "Harbour Radar Unit"),
        expansion("HRU", "hull repair"),
        expansion("TLB", "Tidal Board"),
    ]
    told = expanded_text("HRU, HRU or TLB?", found)
    assert told.text == "HRU (Harbour Radar Unit), HRU or TLB (Tidal Board)?"
    assert [told.text[start:end] for start, end in told.added] == [" (Harbour Radar Unit)", " (Tidal Board)"]
    assert reworded("HRU, HRU or TLB?", found) == "Harbour Radar Unit, HRU or Tidal Board?"
    assert reworded("HRU?", []) == expanded_text("HRU?", []).text == "HRU?"


@given(st.data())
def test_the_tokens_of_a_query_stand_where_they_stood(data: st.DataObject) -> None:
    words = data.draw(
        st.lists(st.sampled_from(["HRU", "a", "TLB", "é", "radar", "HR"]), min_size=1, max_size=8)
    )
    query = data.draw(st.sampled_from([" ", ", ", "  ("])).join(words)
    asked = data.draw(st.lists(st.sampled_from(sorted(set(words))), unique=True))
    found = [expansion(word, f"{word} of (all) {word}") for word in sorted(asked, key=words.index)]
    told = expanded_text(query, found)
    assert "".join(part for part, _ in _outside(told)) == query
    spans = [match.span() for match in re.finditer(r"\w+", told.text)]
    signs = np.arange(3 * len(spans), dtype=np.uint64).reshape(-1, 3)
    kept = told.tokens_of_query(QueryTokens(signs, spans))
    assert list(kept.spans) == [match.span() for match in re.finditer(r"\w+", query)]
    own = [
        number
        for number, (start, end) in enumerate(spans)
        if any(first <= start and end <= first + len(part) for part, first in _outside(told))
    ]
    np.testing.assert_array_equal(kept.signs, signs[own])


def _outside(told: ExpandedText) -> list[tuple[str, int]]:
    """The stretches of the query itself, and where they begin."""
    ends = [0, *(end for _, end in told.added)]
    starts = [*(start for start, _ in told.added), len(told.text)]
    return [(told.text[end:start], end) for end, start in zip(ends, starts, strict=True)]


# -- scores ----------------------------------------------------------------------------------------------------


def test_the_querys_own_words_count_more_and_no_score_falls(tmp_path: Path) -> None:
    query = "ZQX aerial"
    extra = {"defines": "Zebra quilting xylem (ZQX).", "own": "ZQX now", "added": "zebra quilting xylem"}
    with opened(tmp_path) as engine:
        fill(engine)
        engine.add(list(extra.values()), uris=list(extra))
    scores: list[dict[str, float]] = []
    for acronyms in (True, False):
        with opened(tmp_path, acronyms=acronyms) as engine:
            scores.append({hit.uri: hit.score for hit in engine.search(query, mode="keyword", top_k=50).hits})
            reader = engine._collection().snapshot().keyword
            assert reader is not None
            bound = reader.weigh(query).bound
    widened, plain = scores
    assert widened["own"] > widened["added"] > 0
    assert "added" not in plain
    assert all(widened[uri] >= score - 1e-5 for uri, score in plain.items())
    assert max(widened.values()) < bound


def test_chunks_beside_the_index_are_scored_as_those_inside(tmp_path: Path) -> None:
    """Of the same text, one is in the index and one waits in the tail: the same score, by its added words alone."""
    with opened(tmp_path) as engine:
        fill(engine)
        engine.add(["Seen: the harbour radar unit."], uris=["inside"])
        collection = engine._collection()
        with collection.writing():
            collection.rebuild_keyword()
        engine.add(["Seen: the harbour radar unit."], uris=["waiting"])
        snapshot = collection.snapshot()
        assert snapshot.keyword is not None
        assert len(snapshot.keyword._tail.chunks) == 1
        scores = {hit.uri: hit.score for hit in engine.search("HRU", mode="keyword", top_k=50).hits}
        assert scores["inside"] == pytest.approx(scores["waiting"], rel=0.02)


def test_what_is_added_counts_by_the_rarity_of_what_it_stands_for(tmp_path: Path) -> None:
    """Who asks for the long form wants the texts that have the acronym, however many those are."""
    with opened(tmp_path) as engine:
        engine.add(["optical character recognition (OCR)", *(f"OCR of page {n}" for n in range(40))])
        reader = engine._collection().snapshot().keyword
        assert reader is not None
        highest = ADDED_WEIGHT * reader.weigh("optical character recognition").bound
        hits = engine.search("optical character recognition", mode="keyword", top_k=50).hits
        assert len(hits) == 41
        assert 0.4 * highest < hits[1].score < highest


def test_the_query_is_embedded_with_what_was_added(tmp_path: Path) -> None:
    """By meaning, too, the long form's text is nearer, which shares no word with the acronym."""
    cosines = []
    for acronyms in (False, True):
        with opened(tmp_path / str(acronyms), acronyms=acronyms) as engine:
            fill(engine)
            hits = engine.search("about the HRU", top_k=50).hits
            cosines.append({hit.uri: hit.sources["dense"] for hit in hits}["HRU/long"])
    assert cosines[1] > cosines[0] + 0.1


def test_a_filter_holds_for_what_is_found_by_added_words(engine: Ragstone) -> None:
    for mode in MODES:
        hits = engine.search("HRU", mode=mode, filter="-uri:HRU/long", top_k=50).hits
        assert "HRU/long" not in {hit.uri for hit in hits}


def test_searching_by_meaning_alone_adds_nothing(engine: Ragstone) -> None:
    assert engine.search("HRU", mode="dense").expansions == ()


# -- when a word is no acronym ---------------------------------------------------------------------------------


def test_a_word_that_looks_like_an_acronym_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        engine.add(
            [
                "The Clean Air Transport (CAT) has a cat.",
                "The World Health Office (WHO) is open.",
                "The Island Tramway (IT) is closed.",
            ]
        )
        for query in ("my cat", "Cat food", "who is it", "it rains", "CAT AND DOG"):
            assert added(engine, query) == [], query
        for query in ("the CAT", "the WHO", "the IT"):
            assert len(added(engine, query)) == 1, query


def test_the_usual_meanings_of_an_acronym_are_added_and_rare_ones_are_not(tmp_path: Path) -> None:
    meanings = [*["port control tower"] * 4, *["pilot call table"] * 2, "paid crew time"]
    with opened(tmp_path) as engine:
        engine.add([f"Number {n}: {meaning} (PCT)." for n, meaning in enumerate(meanings)])
        assert [words for _, words, _ in added(engine, "PCT")] == ["port control tower", "pilot call table"]


# -- kept in step ----------------------------------------------------------------------------------------------


def test_a_definition_counts_from_its_commit_to_its_deletion(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        engine.add(["The harbour radar unit turns."], uris=["long"])
        assert added(engine, "HRU") == []
        engine.add(["Harbour Radar Unit (HRU)."], uris=["defines"])
        assert len(added(engine, "HRU")) == 1
        engine.add(["No more of it."], uris=["defines"])
        assert added(engine, "HRU") == []
        engine.add(["Harbour Radar Unit (HRU)."], uris=["defines"])
        engine.delete(["defines"])
        assert added(engine, "HRU") == []
        assert rows(engine) == set()
        assert engine.verify().ok


def test_adding_and_deleting_documents_leaves_the_table_of_a_fresh_one(
    engine: Ragstone, tmp_path: Path
) -> None:
    before = rows(engine)
    assert len(before) == 10
    passing = {f"passing:{n}": f"Harbour Radar Unit (HRU) and Passing Thing {n} (PT{n})." for n in range(50)}
    engine.add(list(passing.values()), uris=list(passing))
    assert len(rows(engine)) == 10 + 100
    engine.delete(list(passing))
    assert rows(engine) == before


def test_folders_and_vectors_of_ones_own_are_read_too(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("# Notes\n\nThe Harbour Radar Unit (HRU) turns.\n")
    with opened(tmp_path) as engine:
        engine.index([notes])
        assert len(added(engine, "HRU")) == 1
        (notes / "a.md").unlink()
        (notes / "b.md").write_text("# Notes\n\nNothing.\n")
        engine.index([notes])
        assert rows(engine) == set()
        vector = HashingEmbedder().embed_documents(["x"])
        engine.add(["Tidal Lagoon Board (TLB)"], vectors=vector, model=HashingEmbedder().model_id)
        assert len(rows(engine)) == 1
        assert engine.verify().ok


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM acronyms WHERE document_id = (SELECT min(document_id) FROM acronyms)",
        "INSERT INTO acronyms VALUES (1000000, 1, 2, 'XY', 'x-ray yard', 0)",
        "UPDATE acronyms SET long = 'High Road Users' WHERE short = 'HRU'",
        "UPDATE counters SET value = 0 WHERE name = 'acronyms_version'",
    ],
)
def test_a_table_that_disagrees_is_seen_and_mended(engine: Ragstone, spoil: str) -> None:
    wanted = rows(engine)
    with engine._collection().catalog.transaction() as db:
        db.execute(spoil)
    assert [problem.code for problem in engine.verify().problems] == ["acronyms_differ"]
    report = engine.repair()
    assert report.ok
    assert [problem.code for problem in report.repaired] == ["acronyms_differ"]
    assert rows(engine) == wanted


def test_the_acronyms_of_an_older_collection_are_collected_when_it_is_first_searched(
    engine: Ragstone, tmp_path: Path
) -> None:
    wanted = rows(engine)
    engine.close()
    set_back_before(
        tmp_path / "data" / "collections" / "default" / "catalog.sqlite", m006_acronyms_extractions
    )
    with opened(tmp_path) as reopened:
        result = reopened.search("HRU")
        assert (len(result.expansions), result.degraded) == (1, ())
        assert rows(reopened) == wanted
        assert reopened.verify().ok


def test_purging_leaves_no_byte_of_a_deleted_definition(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        engine.add(["Zebra Quilting Xylem (ZQX) is here.", "Other text."], uris=["gone", "kept"])
        engine.delete(["gone"])
        engine.purge()
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or b"ZQX" not in path.read_bytes()


# -- settings --------------------------------------------------------------------------------------------------


def test_the_setting_switches_acronyms_off_and_leaves_synonyms(tmp_path: Path, table: Path) -> None:
    with opened(tmp_path, acronyms=False, synonyms=table) as engine:
        fill(engine)
        assert added(engine, "HRU on the ferry") == [("ferry", "steamer", "synonyms")]


def test_a_table_with_a_fault_is_reported_with_its_line_when_it_is_first_needed(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("ferry = steamer\nnonsense\n")
    with opened(tmp_path, synonyms=tmp_path / "bad.txt") as engine:
        fill(engine)
        with pytest.raises(InputError, match=r"bad\.txt line 2"):
            engine.search("ferry")
