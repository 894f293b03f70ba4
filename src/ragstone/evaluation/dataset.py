"""Reads retrieval test sets in the BEIR layout: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ragstone.errors import InputError, NotFoundError


@dataclass(frozen=True, slots=True)
class TestDocument:
    """A document of a corpus."""

    __test__ = False  # pytest takes names that begin with Test for its own

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus and judged queries.

    `qrels` maps query id to document id to grade, grades > 0 only; each query of it is in `queries` and has
    at least one relevant document, which need not be in the corpus (it then counts as never found).
    """

    name: str
    documents: tuple[TestDocument, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def read_dataset(folder: Path, *, split: str = "test") -> Dataset:
    """The test set in `folder` with the judgements of `split`.

    Raises `NotFoundError` where a file is missing and `InputError`, naming file and line, where one is malformed.
    """
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder}", hint="give the folder that holds corpus.jsonl")
    documents = tuple(
        TestDocument(id=_string(record, "_id", place), title=_title(record, place), text=_text(record, place))
        for place, record in _records(_existing(folder, "corpus.jsonl"))
    )
    _check_unique((document.id for document in documents), folder / "corpus.jsonl")
    queries = {
        _string(record, "_id", place): _text(record, place)
        for place, record in _records(_existing(folder, "queries.jsonl"))
    }
    qrels = _read_qrels(_existing(folder, f"qrels/{split}.tsv"), queries)
    return Dataset(folder.resolve().name, documents, queries, qrels)


def _read_qrels(path: Path, queries: Mapping[str, str]) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_lines(path), start=1):
        fields = line.rstrip("\r\n").split("\t")
        if number == 1 and fields[-1] == "score":
            continue
        if len(fields) != 3 or not fields[2].lstrip("-").isdecimal():
            raise InputError(
                f"{path}, line {number}: expected query-id, corpus-id and a whole number, got {line.rstrip()!r:.100}",
                hint="three columns separated by tabs",
            )
        query, document, grade = fields[0], fields[1], int(fields[2])
        if query not in queries:
            raise InputError(f"{path}, line {number}: query {query!r:.100} is not in queries.jsonl")
        if grade > 0:
            qrels.setdefault(query, {})[document] = grade
    if not qrels:
        raise InputError(f"{path} holds no relevant document", hint="choose another split")
    return qrels


def _existing(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise NotFoundError(
        f"{folder} has no {name}", hint="a test set has corpus.jsonl, queries.jsonl and qrels/<split>.tsv"
    )


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line for messages, the record) of each line that is not blank."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{place}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{place}: expected an object, got {line.strip()!r:.100}")
        yield place, record


def _lines(path: Path) -> Iterator[str]:
    try:
        with _opened(path) as file:
            yield from file
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _string(record: dict[str, Any], key: str, place: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{place}: {key!r} should be a text, got {value!r:.100}")
    return value


def _title(record: dict[str, Any], place: str) -> str:
    return _string(record, "title", place) if record.get("title") else ""


def _text(record: dict[str, Any], place: str) -> str:
    return _string(record, "text", place) if record.get("text") != "" else ""


def _check_unique(ids: Iterator[str], path: Path) -> None:
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            raise InputError(f"{path}: the id {id_!r:.100} occurs twice")
        seen.add(id_)
