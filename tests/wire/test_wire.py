"""The JSON that other tools rely on: names, order of events, and nothing that is not JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone import wire
from ragstone.errors import DocumentError
from ragstone.types import (
    Answer,
    AnswerDone,
    AnswerSources,
    AnswerToken,
    Citation,
    Degraded,
    FailedDocument,
    Hit,
    IndexReport,
    SearchResult,
    Usage,
)


def hit(score: float = 0.5, **changes: object) -> Hit:
    values: dict[str, object] = {
        "id": 7,
        "uri": "/notes/a.md",
        "title": "A",
        "text": "one two",
        "score": score,
        "start": 3,
        "end": 10,
        "page": 2,
        "time_s": None,
        "headings": ("Top", "Sub"),
        "sources": {"dense": 0.25},
        "metadata": {"author": "Ada"},
        "collection": "default",
    }
    return Hit(**{**values, **changes})  # type: ignore[arg-type]  # every field is given above


def answer() -> Answer:
    citation = Citation(n=1, uri="/notes/a.md", title="A", page=2, time_s=None, start=3, end=6, quote="one")
    return Answer(
        text="one [1]",
        citations=(citation,),
        grounded=True,
        model="extractive",
        hits=(hit(),),
        degraded=(Degraded(source="dense", reason="model missing"),),
        usage=Usage(),
        timings_ms={"total": 1.23456},
    )


def test_search_has_the_documented_names() -> None:
    form = wire.search_json(SearchResult(hits=(hit(),), degraded=(), timings_ms={"embed": 1.0}))
    assert set(form) == {"hits", "degraded", "timings_ms", "expansions"}
    documented = {"id", "uri", "title", "text", "score", "page", "start", "end", "sources"}
    assert documented <= set(form["hits"][0])


def test_ask_has_the_documented_names() -> None:
    form = wire.answer_json(answer())
    assert {"answer", "citations", "grounded", "hits", "degraded", "timings_ms"} <= set(form)
    assert {"n", "uri", "page", "start", "end", "quote"} <= set(form["citations"][0])
    assert form["degraded"] == [{"source": "dense", "reason": "model missing"}]
    assert form["timings_ms"] == {"total": 1.235}


def test_index_has_the_documented_names() -> None:
    report = IndexReport(
        indexed=2,
        unchanged=1,
        removed=0,
        failed=(FailedDocument(path="/x.pdf", code="encrypted", message="needs a password"),),
        chunks=9,
        embedded=9,
        seconds=0.5,
    )
    assert wire.index_json(report) == {
        "documents": {
            "indexed": 2,
            "unchanged": 1,
            "removed": 0,
            "failed": [{"path": "/x.pdf", "code": "encrypted", "message": "needs a password"}],
        },
        "chunks": 9,
        "embedded": 9,
        "seconds": 0.5,
        "degraded": [],
    }


def test_events_carry_sources_first_with_their_numbers() -> None:
    sources = wire.answer_events_json(AnswerSources(hits=(hit(), hit(id=8))))
    assert [(name, data["n"], data["id"]) for name, data in sources] == [
        ("source", 1, 7),
        ("source", 2, 8),
    ]
    assert wire.answer_events_json(AnswerToken(text="one")) == [("token", {"text": "one"})]
    assert wire.answer_events_json(AnswerDone(answer=answer())) == [("done", wire.answer_json(answer()))]


def test_numbers_that_are_not_json_become_null() -> None:
    form = wire.hit_json(hit(score=math.nan, metadata={"size": math.inf, "n": 3}))
    assert form["score"] is None
    assert form["metadata"] == {"size": None, "n": 3}
    assert json.loads(wire.encode(form)) == form


def test_an_error_says_what_happened_and_what_to_do() -> None:
    error = DocumentError("notes.pdf needs a password", hint="Remove it.", code="encrypted")
    assert wire.error_json(error) == {
        "code": "encrypted",
        "message": "notes.pdf needs a password",
        "hint": "Remove it.",
    }


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    path: Path
    colours: tuple[Colour, ...]


@dataclass(frozen=True, slots=True)
class Outer:
    inner: Inner
    ratio: float
    counts: dict[str, int]


def test_any_record_has_a_plain_form() -> None:
    record = Outer(inner=Inner(Path("/a/b"), (Colour.RED,)), ratio=math.nan, counts={"x": 1})
    assert wire.plain_json(record) == {
        "inner": {"path": "/a/b", "colours": ["red"]},
        "ratio": None,
        "counts": {"x": 1},
    }
    with pytest.raises(TypeError, match="no JSON form for bytes"):
        wire.plain_json({"raw": b"x"})


@given(st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0xFFFF, categories=None)))
def test_every_text_survives_encoding(text: str) -> None:
    assert json.loads(wire.encode({"t": text})) == json.loads(json.dumps({"t": text}))
