"""Passages, domains, graph, persona and rules as sources, over real collections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hashing_embedder import HashingEmbedder
from parallel.scripted_sources import items
from ragstone import ParallelRetriever, Ragstone
from ragstone.errors import InputError
from ragstone.parallel.cross_analysis import CrossAnalysis, Rule
from ragstone.parallel.graph import GraphAnswer, GraphNode, GraphSource
from ragstone.parallel.passages import DomainSource, PassageSource
from ragstone.parallel.persona import PersonaSource
from ragstone.parallel.sources import Found, Request, Source, prepare
from ragstone.types import SearchMode

TIDES = ["The tide turns at noon.", "A tide table hangs in the harbour office.", "Kurs Nord bei Ebbe."]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with Ragstone(tmp_path, collection="corpus", embedder=HashingEmbedder()) as opened:
        opened.add(TIDES, metadata=[{"locale": "en"}, {"locale": "en"}, {"locale": "de"}])
        yield opened


def _add(engine: Ragstone, collection: str, *texts: str) -> None:
    folder = engine.settings.data_dir
    with Ragstone(folder, collection=collection, embedder=HashingEmbedder()) as other:
        other.add(texts)


def test_passages_are_the_hits_of_a_search_in_their_order(engine: Ragstone) -> None:
    found = PassageSource(engine, min_score=0.0).fetch(Request("tide table"))
    hits = engine.search("tide table", top_k=8).hits
    assert [(item.text, item.score) for item in found.items] == [(hit.text, hit.score) for hit in hits]
    assert found.items[0].details["uri"] == hits[0].uri


def test_what_scores_too_low_is_left_out(engine: Ragstone) -> None:
    all_of_them = PassageSource(engine, min_score=0.0).fetch(Request("tide table")).items
    between = (all_of_them[0].score + all_of_them[1].score) / 2
    assert PassageSource(engine, min_score=between).fetch(Request("tide table")).items == all_of_them[:1]


@pytest.mark.parametrize("mode", ["dense", "keyword"])
def test_one_way_of_searching_can_be_a_source(engine: Ragstone, mode: SearchMode) -> None:
    found = PassageSource(engine, name=mode, mode=mode).fetch(Request("tide table"))
    assert found.items[0].text == TIDES[1]
    assert set(found.items[0].details["sources"]) == {mode}


def test_dense_and_keyword_sources_merge_into_one_list(engine: Ragstone) -> None:
    with ParallelRetriever(
        [PassageSource(engine, name=mode, mode=mode) for mode in ("dense", "keyword")]
    ) as retriever:
        best = retriever.fetch("tide table").to_dict()["merged"][0]
    assert (best["text"], best["ranks"]) == (TIDES[1], {"dense": 1, "keyword": 1})


def test_the_locale_chooses_among_documents_that_say_theirs(engine: Ragstone) -> None:
    source = PassageSource(engine, min_score=0.0, locale_field="locale")
    assert [item.text for item in source.fetch(Request("tide", locale="de")).items] == [TIDES[2]]
    assert source.fetch(Request("tide", locale="en")).items[0].text in TIDES[:2]


def test_a_theme_chooses_the_collection_and_an_unknown_one_all(engine: Ragstone) -> None:
    _add(engine, "safety", "Life jackets hang on deck, tide or not.")
    _add(engine, "meals", "Soup is served at every tide.")
    source = DomainSource(engine, by_theme={"safety": "safety", "food": "meals"}, min_score=0.0)

    def collections(theme: str) -> set[str]:
        found = source.fetch(Request("tide", theme=theme))
        return {str(item.details["collection"]) for item in found.items}

    assert collections("safety") == {"safety"}
    assert collections("food") == {"meals"}
    assert collections("love") == {"safety", "meals"}


def test_kept_results_follow_every_write_to_any_collection_they_came_from(engine: Ragstone) -> None:
    _add(engine, "safety", "Life jackets hang on deck.")
    sources: list[Source] = [
        PassageSource(engine, min_score=0.0),
        DomainSource(engine, but_for=["corpus"], min_score=0.0),
    ]
    with ParallelRetriever(sources) as retriever:

        def texts() -> set[str]:
            return {item.text for found in retriever.fetch("tide").found.values() for item in found.items}

        before = texts()
        assert retriever.fetch("tide").kept
        engine.add(["A new tide."], uris=["new"])
        assert texts() - before == {"A new tide."}
        engine.delete(["new"])
        assert texts() == before
        assert retriever.fetch("tide").kept
        _add(engine, "meals", "Soup at every tide.")  # a collection that was not there
        assert texts() - before == {"Soup at every tide."}


def test_a_graphs_nodes_context_and_rules_fill_their_keys() -> None:
    class Harbours:
        asked: tuple[str, int] | None = None

        def search(self, query: str, top_k: int) -> GraphAnswer:
            self.asked = (query, top_k)
            return GraphAnswer(
                [GraphNode("n1", "Sandwick", 1.0, {"kind": "pier"})],
                "Sandwick faces Skell.",
                ["Berth bow first."],
            )

    graph = Harbours()
    with ParallelRetriever([GraphSource(graph)]) as retriever:
        data = retriever.fetch({"pier": "Sandwick"}, theme="night_sailing").to_dict()
    assert graph.asked == ("night sailing Sandwick", 20)
    assert data["graph_nodes"] == [{"id": "n1", "text": "Sandwick", "score": 1.0, "kind": "pier"}]
    assert (data["graph_context"], data["graph_rules"]) == ("Sandwick faces Skell.", ["Berth bow first."])


@dataclass(frozen=True)
class Entry:
    id: str
    text: str
    tier: str = "semantic"
    importance: float = 0.5
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recalled:
    entry: Entry
    score: float


def test_memories_are_grouped_by_their_first_tag_or_tier() -> None:
    class Diary:
        def search(self, query: str, *, limit: int) -> list[Recalled]:
            entries = [Entry("m1", "Gets seasick.", tags=("health", "old")), Entry("m2", "Likes the bow.")]
            return [Recalled(entry, 0.5) for entry in entries][:limit]

    with ParallelRetriever([PersonaSource(Diary())]) as retriever:
        context = retriever.fetch("crossing").to_dict()["persona_context"]
        assert not retriever.fetch("crossing").kept  # nobody says when the diary changes
    assert list(context) == ["health", "semantic"]
    assert context["health"] == [
        {"tier": "semantic", "importance": 0.5, "tags": ["health", "old"], "id": "m1", "text": "Gets seasick.",
         "score": 0.5}
    ]  # fmt: skip


GALE = Rule(
    {"other_facts": "gale", "graph": "open deck", "corpus": "Tide"},
    {"en": "Stay inside.", "de": "Drinnen bleiben."},
)
FOUND = {"graph": Found(text="The Orra has an OPEN  deck."), "corpus": Found(items("the tide turns"))}


def _said(rule: Rule, *, found: dict[str, Found] | None = None, theme: str = "", locale: str = "en") -> str:
    request = Request("q", {}, {"wind": {"force": "Gale"}}, theme, locale)
    return CrossAnalysis([rule]).analyse(request, FOUND if found is None else found).text


def test_a_rule_applies_when_all_it_goes_by_is_mentioned() -> None:
    assert _said(GALE) == "Stay inside."
    assert _said(GALE, found={"graph": FOUND["graph"]}) == ""  # the corpus did not answer
    assert _said(GALE, found={**FOUND, "corpus": Found(items("the tides turn"))}) == ""  # another word


@pytest.mark.parametrize(
    ("locale", "said"),
    [
        ("de", "Drinnen bleiben."),
        ("de-AT", "Drinnen bleiben."),
        ("en_GB", "Stay inside."),
        ("ko", "Stay inside."),
    ],
)
def test_a_rule_speaks_the_language_asked_for_or_english(locale: str, said: str) -> None:
    assert _said(GALE, locale=locale) == said


def test_a_rule_is_for_its_themes() -> None:
    rule = Rule({"other_facts": "gale"}, {"fi": "Myrsky."}, frozenset({"safety"}))
    assert _said(rule, theme="safety") == "Myrsky."
    assert _said(rule, theme="food") == ""


def test_rules_speak_in_their_order_and_once() -> None:
    rules = [
        Rule({"facts": word}, {"en": text}) for word, text in (("b", "two"), ("a", "one"), ("a b", "two"))
    ]
    request = Request("q", {"x": "a", "y": "b"})
    assert CrossAnalysis(rules).analyse(request, {}).text == "two\none"


@pytest.mark.parametrize(
    ("mentions", "says"), [({}, {"en": "x"}), ({"facts": " . "}, {"en": "x"}), ({"facts": "a"}, {})]
)
def test_a_rule_that_can_never_speak_is_refused(mentions: dict[str, str], says: dict[str, str]) -> None:
    with pytest.raises(InputError):
        Rule(mentions, says)


def _query(facts: Any, other: dict[str, object] | None = None, theme: str = "", **concepts: str) -> str:
    return prepare(
        facts,
        other,
        theme=theme,
        locale="en",
        concepts=concepts,
        timeout_s=5.0,
    ).query


def test_the_query_is_the_question_or_all_texts_of_the_facts_each_once() -> None:
    assert _query("  When? ", {"sun": "Leo"}, "career") == "When?"
    facts = {"day": {"stem": "甲", "year": 1990}, "signs": ["Leo", "Virgo", b"x", None, True]}
    assert _query(facts, {"moon": "Leo", "house": "tenth  house"}, "career", career="vocation calling") == (
        "career vocation calling 甲 Leo Virgo tenth house"
    )


def test_a_query_from_many_facts_stays_short_and_ends_with_a_whole_text() -> None:
    query = _query({str(number): f"fact number {number}" for number in range(500)})
    assert 950 < len(query) <= 1_000
    assert query.split("fact number ")[-1].isdigit()
    assert _query({"long": "x" * 5_000}) == "x" * 1_000


def test_facts_without_end_are_refused() -> None:
    facts: dict[str, object] = {}
    facts["again"] = facts
    with pytest.raises(InputError, match="nested"):
        _query(facts)
