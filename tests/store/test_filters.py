"""The filter language: what each form matches, against an evaluator in plain Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.errors import InputError
from ragstone.store import documents, storing
from ragstone.store.catalog import Catalog
from ragstone.store.filters import Term, parse_filter
from ragstone.types import Block, BlockKind, Chunk, DocumentInfo, MetadataValue, ParsedDocument

FILES: dict[str, tuple[str, str, dict[str, MetadataValue]]] = {
    "/home/ann/guides/setup.md": ("Setup Guide", "markdown", {"author": "Jane Doe", "year": 2019}),
    "/home/ann/guides/deep/tune.md": ("ÜBER Tuning", "markdown", {"author": "Åsa Öberg", "draft": True}),
    "/home/ann/papers/faiss.pdf": (
        "Billion-scale",
        "pdf",
        {"year": 2017, "tags": "index, gpu", "score": 0.5},
    ),
    "/home/ann/papers/old[1].pdf": ("Scan", "pdf", {"year": "1999", "date": "1999-12-31", "draft": False}),
    "/home/bob/guides.txt": ("", "text", {"tag": "GPU", "date": "2024-05-17T10:00:00Z", "code": "12a"}),
    "note:1": ("Shopping", "text", {"date": "2024-05-01", "tags": "2020,food", "big": 2**40}),
    "note:2": ("shopping list", "text", {"year": 2020, "tag": "food", "author": ""}),
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    opened = Catalog.open(tmp_path_factory.mktemp("filters") / "catalog.sqlite")
    with opened.transaction() as db:
        for uri, (title, kind, metadata) in FILES.items():
            document = ParsedDocument("text", (Block(BlockKind.PARAGRAPH, 0, 4),), title, kind, metadata)
            source = storing.Source(uri, 4, 1_700_000_000_000_000_000, b"\0" * 32)
            storing.put_document(db, source, document, [Chunk(0, 4, (), None, None, 3, f"{uri}\ntext")])
    yield opened
    opened.close()


def passing(catalog: Catalog, text: str) -> set[str]:
    with catalog.reading() as db:
        found = {info.uri for info in documents.list_documents(db, text)}
        allowed = set(documents.allowed_documents(db, text).tolist())
        assert allowed == {info.id for info in documents.list_documents(db, text)}
    return found


def names(*wanted: str) -> set[str]:
    return {uri for uri in FILES if any(uri.endswith(part) for part in wanted)}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", set(FILES)),
        ("type:pdf", names(".pdf")),
        ("type:.MD", names(".md")),
        ("type:txt", names(".txt")),
        ("type:pdf,markdown", names(".pdf", ".md")),
        ("-type:pdf,markdown", names("guides.txt", "note:1", "note:2")),
        ("path:guides/*", names("setup.md", "tune.md")),
        ("path:guides/**", names("setup.md", "tune.md")),
        ("path:/home/ann/guides/setup.md", names("setup.md")),
        ("path:uides/*", set()),
        ("path:old[1].pdf", names("old[1].pdf")),
        ("path:old1.pdf", set()),
        ("title:über", names("tune.md")),
        ("title:ÜBER", names("tune.md")),
        ("title:shopping", names("note:1", "note:2")),
        ('author:"jane doe"', names("setup.md")),
        ('author:"ÅSA öberg"', names("tune.md")),
        ("tag:gpu", names("faiss.pdf", "guides.txt")),
        ("tag:food", names("note:1", "note:2")),
        ("tags:2020", names("note:1")),
        ("year:2017,2019", names("setup.md", "faiss.pdf")),
        ("year:1999", names("old[1].pdf")),
        ("year>=2019", names("setup.md", "note:2")),
        ("year<2000", set()),  # "1999" is text there, and text is not compared with a number
        ("score>0.25", names("faiss.pdf")),
        ("draft:true", names("tune.md")),
        ("-draft:true", set(FILES) - names("tune.md")),
        ("draft:false", names("old[1].pdf")),
        ("date:2024-05", names("guides.txt", "note:1")),
        ("date>=2024-05-02", names("guides.txt")),
        ("date<=2024-05-01", set(FILES) - names("guides.txt")),
        ("date:1999", names("old[1].pdf")),
        (f"big:{2**40}", names("note:1")),
        (f"big<{10**30}", names("note:1")),
        ("uri:note:1", {"note:1"}),
        ("type:text year:2020 -draft:true", {"note:2"}),
        ("nothing:here", set()),
        ("-nothing:here", set(FILES)),
    ],
)
def test_a_filter_selects_the_documents_it_names(catalog: Catalog, text: str, wanted: set[str]) -> None:
    assert passing(catalog, text) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pdf", "not followed by"),
        ("type:", "has no value"),
        ("type:pdf,", "has no value"),
        ('author:"Jane', "not closed"),
        ("year>1,2", "takes one value"),
        ("path>3", "does not compare"),
        (":x", "expected a field name"),
        ("- type:pdf", "expected a field name"),
        ("a:b " * 65, "the limit is 64"),
        ("a:" + "b" * 5000, "the limit is 4096"),
        ("title:\ud800", "lone surrogate"),
    ],
)
def test_a_malformed_filter_is_refused_with_the_fault_named(catalog: Catalog, text: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        passing(catalog, text)


# -- the oracle -------------------------------------------------------------------------------------------


def evaluate(term: Term, info: DocumentInfo, date: str) -> bool:
    return any(_value_matches(term, value, info, date) for value in term.values) != term.negated


def _value_matches(term: Term, value: str, info: DocumentInfo, date: str) -> bool:
    if term.field == "type":
        suffix = Path(info.uri).suffix.removeprefix(".")
        return value.lower().removeprefix(".") in {info.format, suffix}
    if term.field == "path":
        glob = value.replace("**", "*").lstrip("/").replace("[", "[[]")
        return any(re.match(translate(pattern), info.uri) for pattern in (glob, f"*/{glob}"))
    if term.field == "title":
        return value.casefold() in info.title.casefold()
    if term.field == "uri":
        return value == info.uri
    if term.field == "date":
        return _compares(date[: len(value)], term.op, value)
    return _metadata_matches(term, value, info)


def _metadata_matches(term: Term, value: str, info: DocumentInfo) -> bool:
    found = info.metadata.get(term.field)
    if found is None and term.field == "tag":
        found = info.metadata.get("tags")
    if found is None:
        return False
    number = _as_number(value)
    if term.op != "=":
        if isinstance(found, str):
            return number is None and _compares(found, term.op, value)
        return number is not None and _compares(float(found), term.op, number)
    if not isinstance(found, str):
        truth = {"true": 1.0, "false": 0.0}.get(value.casefold(), number)
        return truth == float(found) or value == str(int(found) if isinstance(found, bool) else found)
    items = [item.strip(" ") for item in found.casefold().split(",")]
    wanted = value.casefold()
    return found.casefold() == wanted or wanted in items


def _as_number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _compares(left: str | float, op: str, right: str | float) -> bool:
    assert type(left) is type(right)
    results = {"=": left == right}
    if isinstance(left, str) and isinstance(right, str):
        results |= {">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}
    if isinstance(left, float) and isinstance(right, float):
        results |= {">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}
    return results[op]


_TEXT_VALUES = [
    "pdf",
    "md",
    "text",
    "gpu",
    "food",
    "Jane",
    "jane doe",
    "ÜBER",
    "Åsa Öberg",
    "12a",
    "true",
    "false",
]
_NUMBERS_AND_DATES = ["2017", "2019", "2020", "0.5", "2024-05", "1999-12-31"]
_NAMES = ["guides/*", "*.pdf", "note:?", "old[1].pdf"]
_VALUES = st.sampled_from([*_TEXT_VALUES, *_NUMBERS_AND_DATES, *_NAMES])
_FIELDS = st.sampled_from(
    ["type", "path", "title", "uri", "date", "author", "year", "tag", "tags", "draft", "score"]
)


@st.composite
def filters(draw: st.DrawFn) -> str:
    terms = []
    for _ in range(draw(st.integers(1, 4))):
        field = draw(_FIELDS)
        comparable = field not in {"type", "path", "title", "uri"}
        op = draw(st.sampled_from([":", "=", ">", ">=", "<", "<="] if comparable else [":", "="]))
        values = draw(st.lists(_VALUES, min_size=1, max_size=3 if op in {":", "="} else 1))
        quoted = ",".join(f'"{value}"' for value in values)
        terms.append(f"{'-' if draw(st.booleans()) else ''}{field}{op}{quoted}")
    return " ".join(terms)


@given(text=filters())
@settings(max_examples=300, deadline=None)
def test_a_filter_agrees_with_its_meaning_in_python(catalog: Catalog, text: str) -> None:
    with catalog.reading() as db:
        everything = documents.list_documents(db)
        dates: dict[int, str] = dict(db.execute("SELECT id, date FROM documents"))
    terms = parse_filter(text)
    wanted = {info.uri for info in everything if all(evaluate(t, info, dates[info.id]) for t in terms)}
    assert passing(catalog, text) == wanted


@given(text=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_filter_or_a_clear_error(catalog: Catalog, text: str) -> None:
    try:
        passing(catalog, text)
    except InputError as error:
        assert error.message
