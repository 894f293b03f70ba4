"""Chunks that are in the catalog and not yet in the keyword index: few, in memory, scored as the index will score them.

A commit of the index costs 20 ms whatever is in it, so single changes wait here and go in together. Knows no index:
how rare a term is and how long texts are on average comes from outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.store.analysis import analyse, prepare
from ragstone.types import Ids, Scores

Field: TypeAlias = Literal["words", "characters"]
FIELDS: tuple[Field, ...] = ("words", "characters")

# BM25 as tantivy has it, not adjustable: one term adds at most (k1 + 1)·idf to a score.
K1, B = 1.2, 0.75
BM25_TERM_MAX = K1 + 1


@dataclass(frozen=True, slots=True)
class KeywordEntry:
    """A chunk to index; `text` is all it should be found by (title, headings, body)."""

    chunk_id: int
    document_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Feature:
    """What a query looks for in one field: a term, or a run of terms that stand next to each other."""

    field: Field
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TailChunk:
    """An analysed chunk: its terms in reading order, and how often each occurs."""

    chunk_id: int
    document_id: int
    terms: Mapping[Field, Sequence[str]]
    counts: Mapping[Field, Mapping[str, int]]

    @classmethod
    def analysed(cls, entry: KeywordEntry) -> TailChunk:
        """As indexing would see it; about 50 µs for a passage."""
        characters = [] if entry.text.isascii() else prepare(entry.text).characters.split()
        terms: dict[Field, list[str]] = {"words": analyse(entry.text), "characters": characters}
        counts = {field: Counter(found) for field, found in terms.items()}
        return cls(entry.chunk_id, entry.document_id, terms, counts)

    def frequency(self, feature: Feature) -> int:
        """How often the feature occurs."""
        counts = self.counts[feature.field]
        if len(feature.terms) == 1:
            return counts.get(feature.terms[0], 0)
        if not all(term in counts for term in feature.terms):
            return 0
        terms, length = self.terms[feature.field], len(feature.terms)
        return sum(tuple(terms[at : at + length]) == feature.terms for at in range(len(terms) - length + 1))


class KeywordTail:
    """What one state of the catalog has beyond one state of the keyword index. Immutable."""

    def __init__(self, chunks: Sequence[TailChunk] = (), deleted: Sequence[int] = ()) -> None:
        """`chunks` are not in the index yet; `deleted` ids may still be."""
        self.chunks = tuple(chunks)
        self.chunk_ids: Ids = np.array([chunk.chunk_id for chunk in chunks], np.int64)
        self.document_ids: Ids = np.array([chunk.document_id for chunk in chunks], np.int64)
        self.deleted: Ids = np.array(sorted(deleted), np.int64)

    def document_frequency(self, field: Field, term: str) -> int:
        """In how many chunks a term occurs."""
        return sum(term in chunk.counts[field] for chunk in self.chunks)

    def mean_length(self, field: Field) -> float:
        """Terms a chunk, on average; at least 1."""
        lengths = self._lengths[field]
        return max(1.0, float(lengths.mean())) if len(lengths) else 1.0

    def score(self, features: Sequence[tuple[Feature, float]], mean_length: Mapping[Field, float]) -> Scores:
        """BM25 (n,) of every chunk for features with their inverse document frequencies."""
        scores = np.zeros(len(self.chunks), np.float32)
        norm = {
            field: K1 * (1 - B + B * _as_stored(lengths) / mean_length[field])
            for field, lengths in self._lengths.items()
        }
        for feature, idf in features:
            frequency = np.array([chunk.frequency(feature) for chunk in self.chunks], np.float32)
            scores += BM25_TERM_MAX * idf * frequency / (frequency + norm[feature.field])
        return scores

    @cached_property
    def _lengths(self) -> dict[Field, npt.NDArray[np.float32]]:
        return {f: np.array([len(chunk.terms[f]) for chunk in self.chunks], np.float32) for f in FIELDS}


def _stored_lengths() -> npt.NDArray[np.float32]:
    """The 256 lengths that one byte can stand for in tantivy: exact up to 40, then three bits of mantissa."""
    steps = [*range(8), *(mantissa << shift for shift in range(29) for mantissa in range(8, 16))]
    return np.array([*range(24), *(24 + step for step in steps)][:256], np.float32)


_STORED_LENGTHS = _stored_lengths()


def _as_stored(lengths: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lengths as the index keeps them, rounded down to what a byte can say."""
    stored: npt.NDArray[np.float32] = _STORED_LENGTHS[
        np.searchsorted(_STORED_LENGTHS, lengths, side="right") - 1
    ]
    return stored
