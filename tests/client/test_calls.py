"""Both clients against a running service: they give what the engine gives."""

from __future__ import annotations

import dataclasses
import inspect
import math

import pytest

from client.conftest import Either
from ragstone.client import calls
from ragstone.client.asynchronous import AsyncClient
from ragstone.client.blocking import Client
from ragstone.client.errors import ServiceError
from ragstone.client.steps import AnswerSource
from ragstone.engine import Ragstone
from ragstone.types import AnswerDone, AnswerToken, Hit, Turn
from server.live import LiveService

QUESTION = "Who finished the third lighthouse?"


def test_a_search_finds_what_the_engine_finds(either: Either, service: LiveService, engine: Ragstone) -> None:
    found = either(service.url).call("search", "dovetail joints", top_k=3)
    expected = engine.search("dovetail joints", top_k=3)
    assert [_without_scores(hit) for hit in found.hits] == [_without_scores(hit) for hit in expected.hits]
    assert all(
        math.isclose(ours.score, its.score, abs_tol=1e-6)
        for ours, its in zip(found.hits, expected.hits, strict=True)
    )
    assert found.degraded == expected.degraded
    assert set(found.timings_ms) == set(expected.timings_ms)


def test_a_filter_and_a_mode_reach_the_service(either: Either, service: LiveService) -> None:
    client = either(service.url)
    only = client.call("search", "workers", filter="path:**/bees.md", mode="keyword", graph=False)
    assert {hit.title for hit in only.hits} == {"Bees 🐝🐝🐝"}
    with pytest.raises(ServiceError) as refused:
        client.call("search", "workers", collections=["nowhere"])
    assert (refused.value.status, refused.value.code) == (404, "not_found")


def test_an_answer_is_the_engines(either: Either, service: LiveService, engine: Ragstone) -> None:
    answer = either(service.url).call("ask", QUESTION, history=[Turn("user", "Tell me of lighthouses.")])
    assert answer.grounded
    assert "Smeaton" in answer.text
    assert answer.citations == engine.ask(QUESTION).citations


def test_a_stream_is_sources_then_tokens_then_the_whole(either: Either, service: LiveService) -> None:
    events = either(service.url).listen(QUESTION)
    kinds = [type(event) for event in events]
    sources, tokens = kinds.count(AnswerSource), kinds.count(AnswerToken)
    assert sources > 0
    assert tokens > 0
    assert kinds == [AnswerSource] * sources + [AnswerToken] * tokens + [AnswerDone]
    assert [event.n for event in events if isinstance(event, AnswerSource)] == list(range(1, sources + 1))
    assert isinstance(events[-1], AnswerDone)
    assert "Smeaton" in events[-1].answer.text


def test_a_stream_remembers_what_it_said(service: LiveService) -> None:
    with Client(service.url).ask_stream(QUESTION) as stream:
        tokens = [event.text for event in stream if isinstance(event, AnswerToken)]
    assert stream.text == "".join(tokens)
    assert stream.answer is not None
    assert stream.sources == list(stream.answer.hits)


def test_documents_come_a_page_at_a_time_and_open(
    either: Either, service: LiveService, engine: Ragstone
) -> None:
    client = either(service.url)
    first = client.call("documents", limit=3)
    rest = client.call("documents", offset=first.next_offset)
    assert [*first.documents, *rest.documents] == engine.documents()
    assert (first.total, rest.next_offset) == (4, None)
    bees = next(document for document in engine.documents() if document.uri.endswith("bees.md"))
    opened = client.call("document", bees.uri)
    assert (opened.document, opened.text) == engine.document(bees.uri)
    assert (opened.offset, opened.length) == (0, len(opened.text))


def test_figures_and_readiness(either: Either, service: LiveService) -> None:
    client = either(service.url)
    assert client.call("stats")["documents"] == 4
    assert client.call("ready") is True


def test_a_refused_request_is_an_error_in_the_services_words(either: Either, service: LiveService) -> None:
    with pytest.raises(ServiceError) as refused:
        either(service.url).call("ask", "x" * 1001)
    assert refused.value.status == 422
    assert "question" in refused.value.message


def test_both_clients_have_every_call_with_its_arguments() -> None:
    named = {
        name
        for name, found in inspect.getmembers(calls, inspect.isfunction)
        if found.__module__ == calls.__name__ and not name.startswith("_")
    }
    for kind in (Client, AsyncClient):
        assert named <= set(vars(kind))
        assert inspect.signature(kind.search) == inspect.signature(calls.search)


def _without_scores(hit: Hit) -> Hit:
    return dataclasses.replace(hit, score=0.0, sources={})
