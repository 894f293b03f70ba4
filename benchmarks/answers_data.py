"""Data sets and the collections they are searched in, for the benchmarks of answers."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragstone import Ragstone, Settings
from ragstone.answering.terms import Idf
from ragstone.embedding import load_embedder
from ragstone.store.keyword import KeywordIndex

BATCH = 1000  # texts added at once: progress is kept when a run is stopped


@dataclass(frozen=True, slots=True)
class DataSet:
    """A folder in BEIR layout: (id, text) questions, gold documents and answers per question id."""

    name: str
    documents: Sequence[Mapping[str, str]]
    questions: Sequence[tuple[str, str]]
    gold: Mapping[str, Sequence[str]] = field(default_factory=dict)
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def article_of(self) -> dict[str, str]:
        """Title of each document by its id; xquad's paragraphs share their article's."""
        return {d["_id"]: d["title"] for d in self.documents}


def read(folder: Path, *, limit: int | None = None) -> DataSet:
    """A data set; `limit` documents at most."""
    path = folder / "corpus.jsonl"
    with path.open() if path.exists() else gzip.open(folder / "corpus.jsonl.gz", "rt") as lines:
        rows = (json.loads(line) for line in itertools.islice(lines, limit))
        documents = [row for row in rows if row["text"].strip()]  # cranfield has two without text
    questions, gold, answers = [], {}, {}
    if (folder / "queries.jsonl").exists():
        asked = map(json.loads, (folder / "queries.jsonl").read_text().splitlines())
        questions = [(row["_id"], row["text"]) for row in asked]
    if (folder / "answers.jsonl").exists():
        for row in map(json.loads, (folder / "answers.jsonl").read_text().splitlines()):
            gold[row["_id"]], answers[row["_id"]] = row["supporting"], row.get("answers", ())
    return DataSet(folder.name, documents, questions, gold, answers)


class Library:
    """One engine with a collection for each data set, kept in `data_dir` between runs."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.embedder = load_embedder("minilm", cache_dir=data_dir / "models")
        self.engine = Ragstone(data_dir, settings=Settings(), embedder=self.embedder)

    def hold(self, data: DataSet) -> None:
        """Index a data set unless it is there already."""
        articles = list(dict.fromkeys(data.article_of.values()))
        self._add(data.name, data.documents, {title: number for number, title in enumerate(articles)})

    def part(self, data: DataSet, number: int, articles: set[str]) -> str:
        """A collection of some articles' documents; its name."""
        name = f"{data.name}-{number}"
        self._add(name, [d for d in data.documents if d["title"] in articles], {})
        return name

    def idf(self, collection: str) -> Idf:
        """Term weights of a collection, as the engine passes them on."""
        folder = self._data_dir / "collections" / collection / "keyword"
        return KeywordIndex.open(folder, writable=False).reader().idf

    def at(self, collection: str) -> Ragstone:
        """An engine whose default collection this is."""
        return Ragstone(self._data_dir, collection=collection, settings=Settings(), embedder=self.embedder)

    def _add(self, name: str, documents: Sequence[Mapping[str, str]], articles: Mapping[str, int]) -> None:
        with self.at(name) as engine:
            held = {d.uri for d in engine.documents()} if name in engine.collections() else set()
            missing = [d for d in documents if d["_id"] not in held]
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                engine.add(
                    [d["text"] for d in batch],
                    uris=[d["_id"] for d in batch],
                    titles=[d.get("title", "") for d in batch],
                    metadata=[
                        {"article": articles.get(d.get("title", ""), -1), "paragraph": d["_id"]}
                        for d in batch
                    ],
                )
                print(f"  {name}: {start + len(batch):,} of {len(missing):,} documents added", flush=True)
