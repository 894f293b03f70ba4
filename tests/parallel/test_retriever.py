"""Sources asked at once: what each gives, what is said of those that give nothing, and what is kept."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel.scripted_sources import (
    LIMIT_S,
    Analysing,
    Clock,
    Hanging,
    Scripted,
    items,
    raising,
    sleeping,
)
from ragstone.errors import CancelledError, InputError, ModelError
from ragstone.parallel.fetched import Fetched
from ragstone.parallel.retriever import ParallelRetriever
from ragstone.parallel.runner import Outcome
from ragstone.parallel.sources import Found, Item
from ragstone.types import Degraded

KEYS = {
    "graph_nodes", "graph_context", "graph_rules", "corpus_quotes", "persona_context", "domain_knowledge",
    "cross_analysis", "prefetch_time_ms", "sources", "merged", "degraded", "kept",
}  # fmt: skip
NAMES = ("graph", "corpus", "persona", "domain")
Open = Callable[..., ParallelRetriever]


@pytest.fixture
def opened() -> Iterator[Open]:
    retrievers: list[ParallelRetriever] = []

    def open_one(*sources: Any, **options: Any) -> ParallelRetriever:
        retrievers.append(ParallelRetriever(sources, **options))
        return retrievers[-1]

    yield open_one
    for retriever in retrievers:
        retriever.close(LIMIT_S)


def test_five_sources_of_a_fifth_of_a_second_take_a_fifth_of_a_second(opened: Open) -> None:
    retriever = opened(*(sleeping(f"s{number}", 0.2) for number in range(5)))
    retriever.fetch("warm up")
    started_s = time.perf_counter()
    fetched = retriever.fetch("question")
    took_s = time.perf_counter() - started_s
    assert 0.2 <= took_s < 0.6  # one after the other: 1.0
    assert [outcome.status for outcome in fetched.outcomes.values()] == ["ok"] * 5


def test_a_hung_and_a_raising_source_leave_the_others_on_time_and_are_both_named(opened: Open) -> None:
    hung = Hanging("persona")
    retriever = opened(
        Scripted("graph", Found(items("a pier"))),
        Scripted("corpus", Found(items("a saying"))),
        hung,
        raising("domain", ModelError("the endpoint does not answer")),
        analysis=Analysing(),
        source_timeout_s=0.2,
    )
    started_s = time.perf_counter()
    data = retriever.fetch("question").to_dict()
    assert time.perf_counter() - started_s < 2.0
    assert data["graph_nodes"][0]["text"] == "a pier"
    assert data["corpus_quotes"][0]["text"] == "a saying"
    assert data["degraded"] == [
        {"source": "persona", "reason": "late: no answer within 0.20 s"},
        {"source": "domain", "reason": "failed: the endpoint does not answer"},
    ]
    assert data["cross_analysis"] == " en: graph, corpus"
    assert {name: source["status"] for name, source in data["sources"].items()} == {
        "graph": "ok", "corpus": "ok", "persona": "late", "domain": "failed", "cross": "ok",
    }  # fmt: skip
    hung.released.set()


def test_everything_ends_by_the_total_time(opened: Open) -> None:
    hung, analysis = Hanging("graph"), Analysing()
    retriever = opened(
        hung, Scripted("corpus"), analysis=analysis, source_timeout_s=60.0, total_timeout_s=0.2
    )
    data = retriever.fetch("question").to_dict()
    assert 200 <= data["prefetch_time_ms"] < 2_000
    assert data["sources"]["cross"] == {
        "status": "refused",
        "items": [],
        "ms": 0.0,
        "error": "no time was left",
    }
    assert [part["source"] for part in data["degraded"]] == ["graph", "cross"]
    assert hung.begun.acquire(timeout=0)
    hung.released.set()


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1), StopIteration()])
def test_all_documented_keys_are_there_when_all_fails(opened: Open, error: BaseException) -> None:
    def analyse(request: object, found: object) -> Found:
        raise error

    data = (
        opened(*(raising(name, error) for name in NAMES), analysis=Analysing(script=analyse))
        .fetch("question")
        .to_dict()
    )
    assert set(data) == KEYS
    empty = {key: data[key] for key in sorted(KEYS - {"prefetch_time_ms", "sources", "degraded"})}
    assert empty == {
        "corpus_quotes": [], "cross_analysis": "", "domain_knowledge": [], "graph_context": "", "graph_nodes": [],
        "graph_rules": [], "kept": False, "merged": [], "persona_context": {},
    }  # fmt: skip
    assert [part["source"] for part in data["degraded"]] == [*NAMES, "cross"]
    assert json.loads(json.dumps(data)) == data


def test_documented_limits_hold(opened: Open) -> None:
    many = items(*(f"thing {number}" for number in range(40)))
    traits = tuple(Item(f"m{n}", f"trait {n}", 1.0, group=("stoic", "bold")[n % 2]) for n in range(20))
    data = (
        opened(
            Scripted("graph", Found(many, "c" * 5_000, tuple(f"rule {n}" for n in range(20)))),
            Scripted("corpus", Found(many)),
            Scripted("persona", Found(traits)),
            Scripted("domain", Found(many)),
        )
        .fetch("question")
        .to_dict()
    )
    assert [len(data[key]) for key in ("graph_nodes", "graph_rules", "corpus_quotes", "domain_knowledge")] == [
        15, 5, 8, 5,
    ]  # fmt: skip
    assert data["graph_context"] == "c" * 2000
    assert {group: len(listed) for group, listed in data["persona_context"].items()} == {
        "stoic": 5,
        "bold": 5,
    }
    assert [node["text"] for node in data["graph_nodes"][:2]] == ["thing 0", "thing 1"]
    assert len(data["merged"]) == 20
    assert len(data["sources"]["graph"]["items"]) == 40  # whole, in the generic form


def test_theme_locale_and_facts_reach_every_source(opened: Open) -> None:
    sources, analysis = [Scripted(name) for name in (*NAMES, "own")], Analysing()
    facts, other = {"ship": {"name": "Orra Light"}}, {"wind": "gale"}
    data = (
        opened(*sources, analysis=analysis, themes={"life_path": "vocation"})
        .fetch(facts, other, "life_path", "de")
        .to_dict()
    )
    for source in sources:
        (request,) = source.requests
        assert (request.theme, request.locale) == ("life_path", "de")
        assert (request.facts, request.other_facts) == (facts, other)
        assert request.query == "life path vocation Orra Light gale"
        assert request.timeout_s == 5.0
    assert data["cross_analysis"] == "life_path de: graph, corpus, persona, domain, own"


def test_the_analysis_sees_what_answered_in_the_order_of_the_sources(opened: Open) -> None:
    analysis = Analysing()
    opened(
        sleeping("graph", 0.1), raising("corpus", ValueError()), Scripted("domain"), analysis=analysis
    ).fetch("q")
    assert analysis.seen == [("graph", "domain")]


@pytest.mark.parametrize(
    ("facts", "options", "message"),
    [
        ("  ", {}, "nothing to ask"),
        ({"year": 1990, "known": True}, {}, "nothing to ask"),
        ("q", {"locale": "e n"}, "locale"),
        ("q", {"theme": "x" * 101}, "theme"),
    ],
)
def test_a_request_that_cannot_be_asked_is_refused_before_any_source(
    opened: Open, facts: Any, options: dict[str, Any], message: str
) -> None:
    source = Scripted("graph")
    with pytest.raises(InputError, match=message):
        opened(source).fetch(facts, **options)
    assert source.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"workers": 0}, "workers"), ({"total_timeout_s": 0}, "timeouts"), ({"failures": 0}, "failures")],
)
def test_a_retriever_that_could_do_nothing_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParallelRetriever([Scripted("a")], **options)  # type: ignore[arg-type]


def test_two_sources_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="share a name"):
        ParallelRetriever([Scripted("a")], analysis=Analysing("a"))


def test_workers_are_four_or_one_a_source_unless_said(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    five = [Scripted(f"s{number}") for number in range(5)]
    assert opened(*five[:2]).workers == 4
    assert opened(*five).workers == 5
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert opened(*five, workers=2).workers == 2
    assert "2 workers for 5 sources" in caplog.text


# -- kept ------------------------------------------------------------------------------------------------


def test_a_complete_result_is_kept_for_its_time(opened: Open) -> None:
    clock, source = Clock(), Scripted("graph", Found(items("a pier")), held_version=1)
    retriever = opened(source, kept_s=300.0, clock=clock)
    first = retriever.fetch("question").to_dict()
    clock.now_s += 299
    again = retriever.fetch("question").to_dict()
    assert (first["kept"], again["kept"], len(source.requests)) == (False, True, 1)
    assert again["graph_nodes"] == first["graph_nodes"]
    again["graph_nodes"].clear()  # what a caller does to its own is nobody else's
    assert retriever.fetch("question").to_dict()["graph_nodes"] == first["graph_nodes"]
    clock.now_s += 1
    assert not retriever.fetch("question").kept
    assert len(source.requests) == 2


def test_what_changed_since_is_asked_again(opened: Open) -> None:
    source = Scripted("graph", Found(items("a pier")), held_version=1)
    retriever = opened(source)
    retriever.fetch("question")
    source.found, source.held_version = Found(items("two piers")), 2
    assert retriever.fetch("question").found["graph"].items[0].text == "two piers"


@pytest.mark.parametrize("differing", [{"theme": "love"}, {"locale": "de"}, {"other_facts": {"a": "b"}}])
def test_another_request_is_another_result(opened: Open, differing: dict[str, Any]) -> None:
    source = Scripted("graph", held_version=1)
    retriever = opened(source)
    retriever.fetch("question")
    assert not retriever.fetch("question", **differing).kept
    assert retriever.fetch("question").kept


def test_a_source_that_does_not_say_whether_it_changed_is_always_asked(opened: Open) -> None:
    retriever = opened(Scripted("graph", held_version=1), Scripted("corpus"))
    retriever.fetch("question")
    assert not retriever.fetch("question").kept


def test_incomplete_results_are_never_kept(opened: Open) -> None:
    hung = Hanging("persona")
    hung.version = lambda: 1  # type: ignore[method-assign, assignment]
    failing = raising("corpus", ValueError("down"))
    inside = Scripted("domain", Found(degraded=(Degraded("dense", "no model"),)))
    for unwell in (hung, failing, inside):
        if isinstance(unwell, Scripted):
            unwell.held_version = 1
        graph = Scripted("graph", held_version=1)
        retriever = opened(graph, unwell, source_timeout_s=0.05)
        assert retriever.fetch("question").degraded
        assert not retriever.fetch("question").kept
        assert len(graph.requests) == 2
    hung.released.set()


def test_no_more_is_kept_than_said_and_the_least_recent_goes(opened: Open) -> None:
    source = Scripted("graph", held_version=1)
    retriever = opened(source, kept=2)
    for question in ("a", "b", "a", "c"):
        retriever.fetch(question)
    assert [retriever.fetch(question).kept for question in ("a", "c", "b")] == [True, True, False]


def test_facts_that_are_not_json_are_asked_about_and_not_kept(opened: Open) -> None:
    retriever = opened(Scripted("graph", held_version=1))
    facts = {"name": "Orra", "born": object()}
    assert [retriever.fetch(facts).kept for _ in range(2)] == [False, False]


def test_a_version_that_fails_only_costs_what_was_kept(opened: Open) -> None:
    source = Scripted("graph", held_version=1)
    retriever = opened(source)
    retriever.fetch("question")

    def failing() -> int:
        raise OSError("gone")

    source.version = failing  # type: ignore[method-assign]
    assert not retriever.fetch("question").kept
    assert not retriever.fetch("question").degraded


# -- the rest --------------------------------------------------------------------------------------------


def test_a_switched_off_retriever_asks_nobody_and_says_so(opened: Open) -> None:
    source = Scripted("graph")
    data = opened(source, analysis=Analysing(), disabled=True).fetch("question").to_dict()
    assert source.requests == []
    assert set(data) == KEYS
    assert data["degraded"][0] == {"source": "graph", "reason": "refused: switched off (disable_sources)"}


def test_every_step_is_told_with_what_it_took(opened: Open) -> None:
    told: list[tuple[str, bool]] = []
    taken: dict[str, float] = {}

    def observe(step: str, took_ms: float, failed: bool) -> None:  # noqa: FBT001
        told.append((step, failed))
        taken[step] = took_ms

    retriever = opened(
        sleeping("graph", 0.05), raising("corpus", ValueError()), Scripted("persona"), Scripted("domain"),
        analysis=Analysing(), observe=observe,
    )  # fmt: skip
    retriever.fetch("question")
    assert told == [
        ("prepare", False), ("graph", False), ("corpus", True), ("persona", False), ("domain", False),
        ("cross", False),
    ]  # fmt: skip
    assert 50 <= taken["graph"] < 1_000
    assert 0 <= taken["prepare"] < 1_000


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(opened: Open) -> None:
    def echo(name: str) -> Scripted:
        return Scripted(name, script=lambda request: Found(items(f"{name} {request.query}")))

    retriever = opened(*(echo(name) for name in NAMES), analysis=Analysing())
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda n: retriever.fetch(f"question {n}"), range(200)))
    for number, answer in enumerate(answers):
        assert not answer.degraded
        assert {found.items[0].text for name, found in answer.found.items() if name != "cross"} == {
            f"{name} question {number}" for name in NAMES
        }


def test_closing_tells_who_waits_and_closes_what_it_owns_unless_it_is_in_use() -> None:
    class Owned:
        closed = False

        def close(self) -> None:
            self.closed = True

    free, used, hung = Owned(), Owned(), Hanging("graph")
    with ParallelRetriever([Scripted("graph")], owned=[free]) as retriever:
        retriever.fetch("question")
    assert free.closed
    with pytest.raises(InputError, match="closed"):
        retriever.fetch("question")
    busy = ParallelRetriever([hung], owned=[used])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(busy.fetch, "question")
        assert hung.begun.acquire(timeout=LIMIT_S)
        busy.close(0.0)
        with pytest.raises(CancelledError, match="closed"):
            waiting.result(LIMIT_S)
    assert not used.closed
    hung.join()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=5), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_merging_does_not_depend_on_who_was_faster(found: list[list[str]], shuffled: Any) -> None:
    names = [f"s{number}" for number in range(len(found))]
    outcomes = [
        (name, Outcome("ok", Found(tuple(Item(text, text, 0.0) for text in texts)), 1.0, ""))
        for name, texts in zip(names, found, strict=True)
    ]
    merged = Fetched(dict(outcomes), 1.0).merged()
    expected: dict[str, float] = {}
    for texts in found:
        for text in dict.fromkeys(texts):
            expected[text] = expected.get(text, 0.0) + 1 / (61 + texts.index(text))
    assert {entry.item.id: pytest.approx(entry.score) for entry in merged} == expected
    assert all(a.score >= b.score for a, b in itertools.pairwise(merged))
    first_seen = list(dict.fromkeys(itertools.chain(*found)))
    for a, b in itertools.pairwise(merged):
        if a.score == b.score:
            assert first_seen.index(a.item.id) < first_seen.index(b.item.id)


def test_two_runs_with_other_speeds_give_the_same(opened: Open) -> None:
    texts = {name: Found(items(f"{name} one", "shared", f"{name} two")) for name in NAMES}

    def paced(order: tuple[str, ...]) -> dict[str, Any]:
        turns = {name: threading.Event() for name in order}

        def at_its_turn(name: str) -> Scripted:
            def fetch(request: object) -> Found:
                before = order.index(name)
                if before:
                    turns[order[before - 1]].wait(LIMIT_S)
                turns[name].set()
                return texts[name]

            return Scripted(name, script=fetch)

        data = opened(*(at_its_turn(name) for name in NAMES)).fetch("question").to_dict()
        return {key: value for key, value in data.items() if key not in {"prefetch_time_ms", "sources"}}

    results = [paced(order) for order in itertools.permutations(NAMES)][::5]
    assert all(result == results[0] for result in results)
    assert results[0]["merged"][0]["text"] == "shared"
