"""The keyword index against a slow BM25 written from the formula, and through crashes and other processes."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import replace_bytes
from ragstone.errors import DamagedError, LockedError, NotFoundError
from ragstone.store.analysis import analyse
from ragstone.store.keyword import KeywordIndex, damaged_files
from ragstone.store.keyword_tail import KeywordEntry
from ragstone.types import Expansion

WORDS = ("rotor", "blade", "flow", "wing", "heat", "plate", "shock", "wave")


def filled(folder: Path, texts: dict[int, str], *, per_document: int = 1) -> KeywordIndex:
    index = KeywordIndex.open(folder / "keyword", writable=True)
    entries = [KeywordEntry(i, (i - 1) // per_document + 1, text) for i, text in texts.items()]
    index.apply(add=entries, delete=[], sequence=1)
    return index


def found(index: KeywordIndex, query: str, *, top_k: int = 10) -> list[int]:
    return [int(i) for i in index.reader().search(query, top_k=top_k)[0]]


def slow_bm25(texts: dict[int, str], query: str) -> dict[int, float]:
    """BM25 with k1 1.2 and b 0.75, term by term; the record of the sequence counts as an empty chunk."""
    terms = {i: analyse(text) for i, text in texts.items()}
    total = len(texts) + 1
    mean = sum(map(len, terms.values())) / total
    scores: defaultdict[int, float] = defaultdict(float)
    for word in analyse(query):
        frequency = sum(word in chunk for chunk in terms.values())
        idf = math.log(1 + (total - frequency + 0.5) / (frequency + 0.5))
        for i, chunk in terms.items():
            tf = chunk.count(word)
            scores[i] += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(chunk) / mean))
    return {i: score for i, score in scores.items() if score > 0}


@given(
    chunks=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), min_size=1, max_size=25),
    query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_scores_are_bm25_with_repeated_query_terms_counted(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[str]], query: list[str]
) -> None:
    texts = {i: " ".join(words) for i, words in enumerate(chunks, 1)}
    index = filled(tmp_path_factory.mktemp("bm25"), texts)
    ids, scores = index.reader().search(" ".join(query), top_k=100)
    expected = slow_bm25(texts, " ".join(query))
    assert set(ids.tolist()) == set(expected)
    np.testing.assert_allclose(scores, [expected[int(i)] for i in ids], rtol=1e-4)
    assert [(-s, i) for s, i in zip(scores, ids, strict=True)] == sorted(
        (-s, i) for s, i in zip(scores, ids, strict=True)
    )
    everyone = np.array([*texts, 999], np.int64)[::-1].copy()
    np.testing.assert_allclose(
        index.reader().score(" ".join(query), everyone),
        [expected.get(int(i), 0.0) for i in everyone],
        rtol=1e-4,
    )


@given(
    asked=st.lists(
        st.sampled_from([*WORDS, "rotor blade", '"wing heat" flow', "flow"]), min_size=2, max_size=12
    )
)
@settings(max_examples=30, deadline=None)
def test_what_a_reader_was_asked_before_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, asked: list[str]
) -> None:
    index = filled(tmp_path_factory.mktemp("asked"), {i: " ".join(WORDS[: i % 7 + 1]) for i in range(1, 15)})
    ids, reader = np.arange(1, 15), index.reader()
    for query in asked:
        fresh = index.reader()
        assert np.array_equal(reader.score(query, ids), fresh.score(query, ids))
        assert reader.weigh(query).bound == fresh.weigh(query).bound
        assert np.array_equal(reader.search(query, top_k=9)[0], fresh.search(query, top_k=9)[0])


def test_a_filter_still_returns_top_k(tmp_path: Path) -> None:
    texts = {i: f"turbine number{i % 7} " + "filler " * (i % 5) for i in range(1, 4001)}
    index = filled(tmp_path, texts, per_document=2)
    for size in (1, 5, 500, 1500):  # the term set and the over-fetching path
        allowed = np.sort(np.random.default_rng(size).choice(np.arange(1, 2001), size, replace=False))
        ids, scores = index.reader().search("turbine number3", top_k=10, allowed=allowed)
        every, every_score = index.reader().search("turbine number3", top_k=4000)
        keep = np.isin((every - 1) // 2 + 1, allowed)
        assert ids.size == min(10, keep.sum())
        assert np.isin((ids - 1) // 2 + 1, allowed).all()
        np.testing.assert_allclose(scores, every_score[keep][:10])


def test_no_allowed_document_and_no_matching_word_give_nothing(tmp_path: Path) -> None:
    index = filled(tmp_path, {1: "one chunk"})
    assert index.reader().search("chunk", top_k=5, allowed=np.empty(0, np.int64))[0].size == 0
    for query in ("absent", "", "  ?!  ", "\x00", "(((", 'AND OR "', "a:b^2~*"):
        assert found(index, query) == []


def test_a_deleted_chunk_is_never_found(tmp_path: Path) -> None:
    index = filled(tmp_path, {1: "apple tree", 2: "apple pie", 3: "pear"})
    index.apply(add=[], delete=[1], sequence=2)
    assert found(index, "apple tree") == [2]
    assert index.reader().score("apple tree", np.array([1, 2]))[0] == 0
    reopened = KeywordIndex.open(tmp_path / "keyword", writable=False)
    assert found(reopened, "apple tree") == [2]


def test_replaying_the_same_changes_changes_nothing(tmp_path: Path) -> None:
    index = filled(tmp_path, {1: "apple", 2: "pear"})
    change = [KeywordEntry(2, 2, "quince"), KeywordEntry(3, 3, "apple")]
    for _ in range(3):
        index.apply(add=change, delete=[1], sequence=2)
        assert (found(index, "apple"), found(index, "quince"), found(index, "pear")) == ([3], [2], [])
        assert index.sequence == 2


def test_all_ids_are_told_however_far_apart_they_are(tmp_path: Path) -> None:
    first = 100_000_000  # after a gap, more than are looked at in one step
    ids = [1, 2, *range(first, first + 140_000, 2), 2**63 - 1]
    index = filled(tmp_path, dict.fromkeys(ids, "wing"))
    assert index.chunk_ids().tolist() == ids


def test_the_sequence_is_that_of_the_last_commit_and_0_when_new(tmp_path: Path) -> None:
    index = KeywordIndex.open(tmp_path / "keyword", writable=True)
    assert index.sequence == 0
    index.apply(add=[KeywordEntry(1, 1, "apple")], delete=[], sequence=41)
    other = KeywordIndex.open(tmp_path / "keyword", writable=False)
    index.apply(add=[], delete=[1], sequence=42)
    assert (index.sequence, other.sequence) == (42, 41)
    other.refresh()
    assert (other.sequence, found(other, "apple")) == (42, [])


def test_a_killed_writer_leaves_the_last_commit(tmp_path: Path) -> None:
    filled(tmp_path, {1: "apple"})
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from ragstone.store.keyword import KeywordIndex
        from ragstone.store.keyword_tail import KeywordEntry
        index = KeywordIndex.open(Path(sys.argv[1]), writable=True)
        def entries():
            yield KeywordEntry(2, 2, "apple")
            os.kill(os.getpid(), signal.SIGKILL)
        index.apply(add=entries(), delete=[1], sequence=2)
    """)
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "keyword")]).returncode == -9
    index = KeywordIndex.open(tmp_path / "keyword", writable=True)
    assert (index.sequence, found(index, "apple")) == (1, [1])
    index.apply(add=[KeywordEntry(2, 2, "apple")], delete=[1], sequence=2)
    assert (index.sequence, found(index, "apple")) == (2, [2])


def test_a_failing_batch_keeps_nothing_and_gives_the_lock_back(tmp_path: Path) -> None:
    index = filled(tmp_path, {1: "apple"})

    def entries() -> Iterator[KeywordEntry]:
        yield KeywordEntry(2, 2, "apple")
        raise OSError("the caller's fault")

    with pytest.raises(OSError, match="fault"):
        index.apply(add=entries(), delete=[1], sequence=2)
    assert (index.sequence, found(index, "apple")) == (1, [1])
    index.apply(add=[KeywordEntry(2, 2, "pear")], delete=[], sequence=2)
    assert found(index, "pear") == [2]


def test_a_second_writer_is_refused_while_one_works(tmp_path: Path) -> None:
    index = filled(tmp_path, {1: "apple"})
    other = KeywordIndex.open(tmp_path / "keyword", writable=True)

    def entries() -> Iterator[KeywordEntry]:
        with pytest.raises(LockedError, match="another writer"):
            other.apply(add=[], delete=[1], sequence=9)
        yield KeywordEntry(2, 2, "pear")

    index.apply(add=entries(), delete=[], sequence=2)
    assert found(index, "apple pear") == [1, 2]


def test_a_missing_index_is_created_only_when_writable(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no keyword index"):
        KeywordIndex.open(tmp_path / "keyword", writable=False)
    assert not (tmp_path / "keyword").exists()


def test_a_damaged_index_is_an_error_not_an_empty_one(tmp_path: Path) -> None:
    filled(tmp_path, {1: "apple"})
    (tmp_path / "keyword" / "meta.json").write_text("{")
    with pytest.raises(DamagedError, match="keyword"):
        KeywordIndex.open(tmp_path / "keyword", writable=True)


def test_every_flipped_byte_of_a_data_file_is_found(tmp_path: Path) -> None:
    index = filled(tmp_path, {i: f"apple number{i}" for i in range(1, 50)})
    index.apply(add=[], delete=[3], sequence=2)
    folder = tmp_path / "keyword"
    assert damaged_files(folder) == []
    random = np.random.default_rng(7)
    files = [p for p in folder.iterdir() if p.suffix not in (".json", ".lock", ".note", "")]
    assert any(p.suffix == ".del" for p in files)
    for path in files:
        data = path.read_bytes()
        for at in random.integers(0, len(data) - 1, 10).tolist():
            replace_bytes(path, data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :])
            assert damaged_files(folder) in ([path], []), at
            if at < len(data) - 200:  # outside the footer's free text every bit counts
                assert damaged_files(folder) == [path]
        replace_bytes(path, data[: len(data) // 2])
        assert damaged_files(folder) == [path]
        replace_bytes(path, data)
    files[0].unlink()
    assert damaged_files(folder) == [files[0]]


@pytest.mark.parametrize(
    ("query", "known"),
    [
        ("the rotor stalls", 2 / 3),
        ("rotor rotor anemometer", 2 / 3),  # repeats count
        ("Der Rotor dreht sich nicht", 1 / 5),
        ("ROTORS, blades!", 1.0),
        ("anemometer", 0.0),
        ("", 1.0),
        ("量子計算とは何か", 1.0),  # pairs of characters are no words
        ("量子計算 rotor anemometer", 1 / 2),
    ],
)
def test_a_query_says_what_share_of_its_words_is_known(tmp_path: Path, query: str, known: float) -> None:
    reader = filled(tmp_path, {1: "the rotor", 2: "the blade"}).reader()
    assert reader.weigh(query).known == pytest.approx(known)


def test_a_word_that_another_stands_for_is_known(tmp_path: Path) -> None:
    reader = filled(tmp_path, {1: "optical character recognition", 2: "the blade"}).reader()
    stands_for = "optical character recognition"
    added = Expansion("OCR", stands_for, "synonyms", ("ocr",), tuple(analyse(stands_for)), 0.9)
    assert reader.weigh("OCR anemometer").known == 0
    assert reader.expanded([added]).weigh("OCR anemometer").known == 1 / 2


def test_a_changed_size_of_a_store_is_found_before_it_is_believed(tmp_path: Path) -> None:
    """tantivy allocates what a store says its list of blocks has: 5 EB after one flipped bit, the process ends."""
    filled(tmp_path, dict.fromkeys(range(1, 30), "apple"))
    (path,) = (tmp_path / "keyword").glob("*.store")
    data = path.read_bytes()
    for at in range(data.rindex(b'{"version"')):
        KeywordIndex.open(tmp_path / "keyword", writable=False)  # what was sound is trusted from now on
        replace_bytes(path, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with pytest.raises(DamagedError):
            KeywordIndex.open(tmp_path / "keyword", writable=False)
        replace_bytes(path, data)


def test_a_commit_does_not_make_a_store_trusted_that_was_damaged_before(tmp_path: Path) -> None:
    index = filled(tmp_path, dict.fromkeys(range(1, 30), "apple"))
    (path,) = (tmp_path / "keyword").glob("*.store")
    data = path.read_bytes()
    replace_bytes(path, bytes([data[0] ^ 1]) + data[1:])
    index.apply(add=[KeywordEntry(30, 30, "pear")], delete=[], sequence=2)
    with pytest.raises(DamagedError, match=r"\.store fails its checksum"):
        KeywordIndex.open(tmp_path / "keyword", writable=False)


@pytest.mark.parametrize("kind", ["term", "idx", "fieldnorm", "fast"])
def test_no_bit_flipped_in_an_open_index_is_more_than_an_error_of_ours(tmp_path: Path, kind: str) -> None:
    filled(tmp_path, {i: f"apple number{i} of the basket" for i in range(1, 30)})
    (path,) = (tmp_path / "keyword").glob(f"*.{kind}")
    data = path.read_bytes()
    damaged = 0
    for at in range(len(data)):
        replace_bytes(path, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            reader = KeywordIndex.open(tmp_path / "keyword", writable=False).reader()
            reader.weigh("apple number7")
            ids, _ = reader.search("apple number7 basket", top_k=5)
            reader.score("apple number7", ids)
        except DamagedError:
            damaged += 1
    assert damaged or kind == "fieldnorm"  # lengths are any bytes


def test_any_flipped_bit_of_meta_json_is_found_before_it_is_believed(tmp_path: Path) -> None:
    KeywordIndex.open(tmp_path, writable=True).apply(add=[KeywordEntry(1, 1, "apple")], delete=[], sequence=1)
    assert damaged_files(tmp_path) == []
    meta = tmp_path / "meta.json"
    good = meta.read_bytes()
    opstamp = good.rindex(b'"opstamp"')
    for position in range(0, len(good), 7):
        if position >= opstamp:  # a larger commit number is a newer commit's, and harmless
            break
        spoiled = bytearray(good)
        spoiled[position] ^= 1
        replace_bytes(meta, spoiled)
        assert damaged_files(tmp_path) == [meta]
        with pytest.raises(DamagedError):
            KeywordIndex.open(tmp_path, writable=False)
        replace_bytes(meta, good)
    assert KeywordIndex.open(tmp_path, writable=False).reader().search("apple", top_k=1)[0].tolist() == [1]


def test_a_flipped_byte_anywhere_in_the_note_of_meta_json_counts_as_damage(tmp_path: Path) -> None:
    filled(tmp_path, {1: "heron"})
    folder = tmp_path / "keyword"
    note = folder / "meta.note"
    whole = note.read_bytes()
    assert damaged_files(folder) == []
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x40  # no digit becomes another: that would make it the note of another commit
        note.write_bytes(flipped)
        assert damaged_files(folder) == [folder / "meta.json"], bytes(flipped)
