"""Refusals: what the documents do not hold, by real questions on real documents and the real model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from samples import FERRY, LIGHTHOUSE, WordEmbedder, hit

from ragstone.answering.grounding import ground
from ragstone.answering.passages import score_passages
from ragstone.answering.terms import analyse_question
from ragstone.embedding import load_embedder
from ragstone.types import Embedder, Hit

QUESTIONS = 40


def answerable(question: str, hits: Sequence[Hit], embedder: Embedder) -> bool:
    asked = analyse_question(question)
    return ground(asked, hits, score_passages(asked, hits, embedder=embedder)).answerable


def test_no_hits_and_empty_hits_hold_no_answer() -> None:
    assert not answerable("Who?", [], WordEmbedder())
    assert not answerable("Who?", [hit(" \n ")], WordEmbedder())


def test_an_inflected_word_is_the_same_word() -> None:
    asked = analyse_question("Wie hoch ist der Leuchtturm?")
    hits = [hit("Die Höhe des Leuchtturms beträgt 41 Meter.", title="Insel")]
    ranked = score_passages(asked, hits, embedder=WordEmbedder())
    assert ranked[0].coverage > 0


def test_a_question_of_function_words_only_is_still_a_question() -> None:
    assert analyse_question("Who are you?").terms
    assert not analyse_question("???").terms


@pytest.mark.data
def test_wrong_documents_are_refused_and_right_ones_are_not(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Forty questions of xquad-en on their own paragraph, and on four of Python's documentation pages."""
    embedder = load_embedder("minilm", cache_dir=tmp_path_factory.mktemp("models"))
    folder = shared_data / "xquad-en-ir"
    corpus = {row["_id"]: row for row in map(json.loads, (folder / "corpus.jsonl").read_text().splitlines())}
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()][::29][
        :QUESTIONS
    ]
    pages = sorted((shared_data / "folders").rglob("*.rst*"))[:40:10]
    wrong = [hit(page.read_text()[:1000], n=i + 1, title=page.stem) for i, page in enumerate(pages)]
    right_refused = wrong_refused = 0
    for row in rows:
        gold = corpus[row["supporting"][0]]
        right_refused += not answerable(row["question"], [hit(gold["text"], title=gold["title"])], embedder)
        wrong_refused += not answerable(row["question"], wrong, embedder)
    embedder.close()
    assert wrong_refused >= 0.9 * len(rows)
    assert right_refused <= 0.1 * len(rows)


def test_the_right_document_among_others_is_enough() -> None:
    hits = [hit(FERRY, n=1), hit(LIGHTHOUSE, n=2, title="Skerry Point")]
    assert answerable("When was the lighthouse on Skerry Point built?", hits, WordEmbedder())
