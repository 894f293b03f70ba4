"""Answers that are kept: the same question over the same texts calls no model, and anything else does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from samples import FERRY, LIGHTHOUSE, ScriptedModel, WordEmbedder, down, hit

from fake_clock import FakeClock
from ragstone.answering import answer_events
from ragstone.answering.kept_answers import KeptAnswers
from ragstone.answering.templates import BUILT_IN, Templates
from ragstone.cache.memory_cache import MemoryCache
from ragstone.types import Answer, AnswerDone, AnswerSources, AnswerToken, Degraded, Hit, Turn

QUESTION = "When was the lighthouse on Skerry Point built?"
HITS = (hit(LIGHTHOUSE, n=1, title="Skerry Point", start=10), hit(FERRY, n=2, title="Ferry"))
SAID = "It was built in 1888 [1]."


class CountingEmbedder(WordEmbedder):
    """Counts what it embeds."""

    def __init__(self, name: str = "words") -> None:
        self.model_id = name
        self.calls = 0

    def embed_documents(self, texts: Sequence[str]) -> Any:
        self.calls += 1
        return super().embed_documents(texts)


def ask(
    kept: KeptAnswers,
    model: ScriptedModel,
    hits: Sequence[Hit] = HITS,
    question: str = QUESTION,
    **options: Any,
) -> Answer:
    embedder = options.pop("embedder", WordEmbedder())
    *_, last = answer_events(question, hits=hits, chat_model=model, embedder=embedder, kept=kept, **options)
    assert isinstance(last, AnswerDone)
    return last.answer


def test_the_second_identical_question_calls_no_model_and_embeds_nothing() -> None:
    kept, model, embedder = (
        KeptAnswers(60),
        ScriptedModel("It was built ", "in 1888 [1]."),
        CountingEmbedder(),
    )
    first = ask(kept, model, embedder=embedder)
    calls = embedder.calls
    seen = list(answer_events(QUESTION, hits=HITS, chat_model=model, embedder=embedder, kept=kept))
    assert (len(model.prompts), embedder.calls) == (1, calls)
    assert [type(event) for event in seen] == [AnswerSources, AnswerToken, AnswerDone]
    assert isinstance(seen[1], AnswerToken) and seen[1].text == SAID
    assert isinstance(seen[2], AnswerDone)
    again = seen[2].answer
    assert (again.text, again.citations, again.grounded, again.model) == (
        first.text,
        first.citations,
        True,
        "scripted",
    )
    assert first.usage.prompt_tokens and not again.usage.prompt_tokens
    assert kept.stats()["hits"] == 1


CHANGES = {
    "text": lambda first: replace(first, text=first.text.replace("204", "205")),
    "place": lambda first: replace(first, start=11, end=first.end + 1),
    "uri": lambda first: replace(first, uri="/docs/renamed.md"),
    "title": lambda first: replace(first, title="Skerry"),
    "headings": lambda first: replace(first, headings=("History",)),
    "page": lambda first: replace(first, page=2),
    "collection": lambda first: replace(first, collection="papers"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_answer_dies_with_any_change_of_a_chunk_it_used(change: str) -> None:
    kept, model = KeptAnswers(60), ScriptedModel(SAID)
    ask(kept, model)
    ask(kept, model, (CHANGES[change](HITS[0]), HITS[1]))
    assert len(model.prompts) == 2
    ask(kept, model)
    assert len(model.prompts) == 2


@pytest.mark.parametrize("hits", [HITS[::-1], HITS[:1], (*HITS, hit("Boats sail.", n=3))], ids=str)
def test_another_choice_of_chunks_is_another_answer(hits: Sequence[Hit]) -> None:
    kept, model = KeptAnswers(60), ScriptedModel(SAID)
    ask(kept, model)
    ask(kept, model, hits)
    assert len(model.prompts) == 2


def test_scores_and_ids_of_the_same_chunks_are_those_of_now() -> None:
    kept, model = KeptAnswers(60), ScriptedModel(SAID)
    ask(kept, model)
    moved = tuple(replace(one, id=one.id + 50, score=0.5) for one in HITS)
    again = ask(kept, model, moved)
    assert len(model.prompts) == 1
    assert again.hits == moved


def test_question_conversation_instructions_and_models_are_part_of_the_key() -> None:
    kept, model = KeptAnswers(60), ScriptedModel(SAID)
    other = ScriptedModel(SAID)
    other.name = "other"
    ask(kept, model)
    ask(kept, model, question=QUESTION + " ")
    ask(kept, model, history=[Turn("user", "Hello")])
    ask(kept, model, templates=Templates("Be brief.", BUILT_IN.by_type))
    ask(kept, model, embedder=CountingEmbedder("others"))
    ask(kept, other)
    assert len(model.prompts) + len(other.prompts) == 6


def test_a_flawed_or_unfinished_answer_is_not_kept() -> None:
    kept = KeptAnswers(60)
    for model in (
        ScriptedModel("It was built in 1999 [1]."),  # does not hold: its citation is removed
        ScriptedModel("It was built long ago."),  # cites nothing
        ScriptedModel(down()),
        ScriptedModel(""),
    ):
        assert ask(kept, model).degraded
    ask(kept, ScriptedModel(SAID), degraded=[Degraded("dense", "no model")])
    stopped = answer_events(
        QUESTION, hits=HITS, chat_model=ScriptedModel(SAID), embedder=WordEmbedder(), kept=kept
    )
    for _ in range(2):
        next(stopped)
    stopped.close()
    assert kept.stats()["entries"] == 0


def test_a_kept_answer_to_a_degraded_search_says_that_it_was_degraded() -> None:
    kept, model = KeptAnswers(60), ScriptedModel(SAID)
    ask(kept, model)
    late = [Degraded("dense", "no model")]
    assert list(ask(kept, model, degraded=late).degraded) == late
    assert len(model.prompts) == 1


def test_a_refusal_by_the_model_is_kept_and_one_without_it_costs_nothing() -> None:
    kept, model = KeptAnswers(60), ScriptedModel("NO_ANSWER")
    assert not ask(kept, model).grounded
    assert not ask(kept, model).grounded
    assert len(model.prompts) == 1


def test_answers_expire() -> None:
    clock = FakeClock()
    kept, model = KeptAnswers(60, clock=clock), ScriptedModel(SAID)
    for pause_s in (0, 59.9, 0.1):
        clock.advance(pause_s)
        ask(kept, model)
    assert len(model.prompts) == 2


def test_another_process_finds_the_answer_for_the_rest_of_its_time() -> None:
    clock, model = FakeClock(), ScriptedModel(SAID)

    def kept(of: str = "") -> KeptAnswers:
        return KeptAnswers(60, of=of, shared=level, clock=clock, wall_clock=clock)

    with closing(MemoryCache(clock=clock)) as level:
        first = ask(kept(), model)
        clock.advance(50)
        second = kept()
        again = ask(second, model)
        assert (len(model.prompts), again.text, again.citations) == (1, first.text, first.citations)
        assert second.stats()["shared_hits"] == 1
        clock.advance(10)
        ask(second, model)
        assert len(model.prompts) == 2
        ask(kept("another endpoint"), model)
        assert len(model.prompts) == 3


def test_what_is_no_answer_to_this_on_the_second_level_is_not_given() -> None:
    with closing(MemoryCache()) as level:
        ask(KeptAnswers(60, shared=level), ScriptedModel(SAID))
        (key,) = [key for key, entry in level._values._entries.items() if entry.value[:1] == b"{"]
        record = json.loads(level.get_many([key])[0] or b"")
        (n, start, end) = record["value"]["cited"][0]
        lies = (
            {"cited": [[3, start, end]]},
            {"cited": [[0, start, end]]},
            {"cited": [[n, 0, end]]},
            {"cited": [[n, start, 9_999]]},
            {"cited": [[n, end, start]]},
            {"cited": [[n, start]]},
            {"cited": None},
            {"text": 7},
            {"model": None},
        )
        for lie in lies:
            spoilt = record | {"value": record["value"] | lie}
            level.put_many({key: json.dumps(spoilt).encode()}, ttl_s=60)
            model = ScriptedModel(SAID)
            assert ask(KeptAnswers(60, shared=level), model).text == SAID
            assert len(model.prompts) == 1, lie
