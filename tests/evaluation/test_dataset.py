"""Reading test sets: what a good folder gives, and what each fault is called."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ragstone.errors import InputError, NotFoundError
from ragstone.evaluation.dataset import read_dataset

CORPUS = '{"_id": "d1", "title": "Wings", "text": "lift"}\n\n{"_id": "d2", "text": "drag"}\n'
QUERIES = '{"_id": "q1", "text": "why fly"}\n{"_id": "q2", "text": "unjudged"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t3\nq1\td2\t0\nq1\tgone\t1\n"


def write(folder: Path, *, corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_a_test_set_is_read_with_its_graded_judgements(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "tiny"))
    assert dataset.name == "tiny"
    assert [(d.id, d.title, d.text) for d in dataset.documents] == [
        ("d1", "Wings", "lift"),
        ("d2", "", "drag"),
    ]
    assert dataset.queries == {"q1": "why fly", "q2": "unjudged"}
    assert dataset.qrels == {"q1": {"d1": 3, "gone": 1}}


def test_a_compressed_corpus_reads_the_same(tmp_path: Path) -> None:
    plain = read_dataset(write(tmp_path / "tiny"))
    corpus = tmp_path / "tiny" / "corpus.jsonl"
    (tmp_path / "tiny" / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.read_bytes()))
    corpus.unlink()
    assert read_dataset(tmp_path / "tiny") == plain


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        read_dataset(tmp_path)


def test_a_missing_folder_or_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match=r"qrels/dev\.tsv"):
        read_dataset(write(tmp_path), split="dev")


@pytest.mark.parametrize(
    ("corpus", "fault"),
    [
        ('{"_id": "d1", "text": "x"}\nnot json\n', "line 2: not JSON"),
        ('["d1"]\n', "line 1: expected an object"),
        ('{"text": "x"}\n', "line 1: '_id' should be a text"),
        ('{"_id": 7, "text": "x"}\n', "line 1: '_id' should be a text, got 7"),
        ('{"_id": "d1"}\n', "line 1: 'text' should be a text, got None"),
        ('{"_id": "d1", "text": "x"}\n' * 2, "'d1' occurs twice"),
    ],
)
def test_a_malformed_corpus_is_refused_with_file_and_line(tmp_path: Path, corpus: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        read_dataset(write(tmp_path, corpus=corpus))
    assert "corpus.jsonl" in caught.value.message


@pytest.mark.parametrize(
    ("qrels", "fault"),
    [
        ("q1\td1\n", "line 1: expected query-id"),
        ("query-id\tcorpus-id\tscore\nq1\td1\tgood\n", "line 2: expected query-id"),
        ("q9\td1\t1\n", "line 1: query 'q9' is not in queries.jsonl"),
        ("q1\td1\t0\n", "no relevant document"),
        ("", "no relevant document"),
    ],
)
def test_malformed_judgements_are_refused(tmp_path: Path, qrels: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        read_dataset(write(tmp_path, qrels=qrels))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "corpus.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_dataset(tmp_path)
    (tmp_path / "corpus.jsonl").rename(tmp_path / "corpus.jsonl.gz")
    with pytest.raises(InputError, match="cannot be read"):
        read_dataset(tmp_path)
