"""BM25 over one state of a collection's texts: a state of the keyword index, and the changes it has not seen yet."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tantivy

from ragstone.errors import DamagedError
from ragstone.store.analysis import QueryTerms, analyse, analyse_query, is_character_pair
from ragstone.store.keyword_tail import BM25_TERM_MAX, FIELDS, Feature, Field, KeywordTail
from ragstone.types import Expansion, Ids, Scores

CHUNK_FIELD, DOCUMENT_FIELD = "chunk", "document"

# Up to here a filter becomes a term set inside the query (2.8 ms at 110k passages); above, asking for more
# hits than needed and dropping those outside is cheaper.
_TERM_SET_MAX = 1000
_OVERFETCH_MAX = 8192
# A term that the tail makes rarer or more frequent by less than this keeps the index's own weight.
_WEIGHT_TOLERANCE = 0.01


# About 6 MB of terms.
_FREQUENCIES_KEPT = 1 << 16

_Weighed: TypeAlias = tuple[Feature, float]  # what a query looks for, and its inverse document frequency


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a query looks for: its `own` features, words first; `groups` of them that others may stand for."""

    own: Sequence[_Weighed]
    groups: Sequence[_Group] = ()

    @property
    def every(self) -> list[_Weighed]:
        """Own and others."""
        return [*self.own, *(other for group in self.groups for other in group.others)]


@dataclass(frozen=True, slots=True)
class _Group:
    """Own features `first` to before `end`, and those of which each may stand for all of them together."""

    first: int
    end: int
    others: Sequence[_Weighed]


@dataclass(frozen=True, slots=True)
class WeighedQuery:
    """A query as the index sees it: analysed words in order (repeats kept), the idf (n,) of each, and `bound`,
    the highest BM25 that a chunk could reach; 0 for a query without terms. `known` is the share of the words that some
    chunk has or an expansion stands for, pairs of characters left out; 1 for a query without any."""

    words: tuple[str, ...]
    idf: Scores
    bound: float
    known: float = 1.0


class KeywordReader:
    """One state, for as long as somebody holds it. Immutable, thread-safe, lock-free."""

    def __init__(
        self,
        searcher: tantivy.Searcher,
        schema: tantivy.Schema,
        tail: KeywordTail,
        *,
        expansions: Sequence[Expansion] = (),
    ) -> None:
        """`tail`: what the catalog has beyond this state of the index."""
        self._searcher = searcher
        self._schema = schema
        self._tail = tail
        self._expansions = expansions
        # Asking tantivy for a mean length costs as much as a search, for a term's chunks 2 µs, forty times a query.
        self._mean_lengths: dict[Field, float] = {}
        self._frequencies: dict[tuple[Field, str], int] = {}
        self._asked_last: tuple[str, _Asked, WeighedQuery] | None = None

    def expanded(self, expansions: Sequence[Expansion]) -> KeywordReader:
        """The same state, where what is added to a query's words counts as well: a chunk has the better of both scores,
        so that none loses by it and the bound stays."""
        reader = KeywordReader(self._searcher, self._schema, self._tail, expansions=expansions)
        reader._mean_lengths, reader._frequencies = self._mean_lengths, self._frequencies
        return reader

    def search(self, query: str, *, top_k: int, allowed: Ids | None = None) -> tuple[Ids, Scores]:
        """Chunk ids (≤ top_k,) and BM25 scores > 0, best first, ties by id.

        `allowed` holds sorted document ids; top_k results come back whenever top_k chunks of them match.
        """
        asked = self._asked(query)
        if not asked.own or top_k < 1 or (allowed is not None and allowed.size == 0):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        ids, scores = self._found(self._query(asked), top_k + len(self._tail.deleted), allowed)
        if len(self._tail.deleted):
            kept = ~np.isin(ids, self._tail.deleted)
            ids, scores = ids[kept], scores[kept]
        if self._tail.chunks:
            waiting = self._tail_scores(asked)
            matching = waiting > 0
            if allowed is not None:
                matching &= np.isin(self._tail.document_ids, allowed)
            ids = np.concatenate([ids, self._tail.chunk_ids[matching]])
            scores = np.concatenate([scores, waiting[matching]])
            order = np.lexsort((ids, -scores))
            ids, scores = ids[order], scores[order]
        return ids[:top_k], scores[:top_k]

    def score(self, query: str, ids: Ids) -> Scores:
        """BM25 (n,) of the chunks `ids`, in their order; 0 where no term matches or the chunk is unknown."""
        scores = np.zeros(ids.size, np.float32)
        asked = self._asked(query)
        if not asked.own or ids.size == 0:
            return scores
        found, values = self._hits(self._within(self._query(asked), CHUNK_FIELD, ids), ids.size)
        if self._tail.chunks:
            found = np.concatenate([found, self._tail.chunk_ids])
            values = np.concatenate([values, self._tail_scores(asked)])
        order = np.argsort(found)
        place = np.searchsorted(found, ids, sorter=order)
        place[place == found.size] = 0
        if found.size:
            known = found[order[place]] == ids
            scores[known] = values[order[place[known]]]
        scores[np.isin(ids, self._tail.deleted)] = 0
        return scores

    def weigh(self, query: str) -> WeighedQuery:
        """The terms of `query` with their inverse document frequencies, and the highest BM25 within reach."""
        return self._read(query)[1]

    def idf(self, terms: Sequence[str]) -> Scores:
        """Inverse document frequency (n,) of analysed words."""
        return np.array([self._idf("words", term) for term in terms], np.float32)

    def idf_of_words(self, words: Sequence[str]) -> Scores:
        """(n,) idf of words as they are written: that of the rarest term in each, 0 without one."""
        terms = [analyse(word) for word in words]
        return np.array(
            [max((self._idf("words", term) for term in of_word), default=0.0) for of_word in terms],
            np.float32,
        )

    def rarity_of_words(self, words: Sequence[str]) -> Scores:
        """(n,) in [0, 1]: the idf of words as they are written, 1 for one that no chunk has, 0 for what is no word."""
        return self.idf_of_words(words) / np.float32(_idf(0, self._chunks))

    # -- weights -----------------------------------------------------------------------------------------

    def _asked(self, query: str) -> _Asked:
        return self._read(query)[0]

    def _read(self, query: str) -> tuple[_Asked, WeighedQuery]:
        """A query, analysed and weighed once for all that a search asks about it."""
        last = self._asked_last
        if last is None or last[0] != query:
            terms = analyse_query(query)
            own = self._weighed(terms)
            weights = [weight for _, weight in own]
            idf = np.array(weights[: len(terms.words)], np.float32)
            asked = _Asked(own, list(self._groups(terms.words, own)))
            known = self._known(terms.words, asked)
            last = query, asked, WeighedQuery(terms.words, idf, BM25_TERM_MAX * sum(weights), known)
            self._asked_last = last
        return last[1:]

    def _known(self, words: Sequence[str], asked: _Asked) -> float:
        """The share of a query's words that some chunk has or an expansion stands for; 1 without any."""
        unknown = _idf(0, self._chunks)
        known = [weight < unknown for _, weight in asked.own[: len(words)]]
        for group in asked.groups:
            known[group.first : group.end] = [True] * (group.end - group.first)
        of_words = [found for found, word in zip(known, words, strict=True) if not is_character_pair(word)]
        return sum(of_words) / len(of_words) if of_words else 1.0

    def _groups(self, words: Sequence[str], own: Sequence[_Weighed]) -> Iterator[_Group]:
        """The words of a query that others may stand for, which count what these do, by the expansion's weight."""
        others: defaultdict[tuple[str, ...], list[Expansion]] = defaultdict(list)
        for expansion in self._expansions:
            others[expansion.terms].append(expansion)
        at = 0
        while others and at < len(words):
            here = [terms for terms in others if tuple(words[at : at + len(terms)]) == terms]
            end = at + max(map(len, here), default=0)
            if here:
                weight = sum(of_word for _, of_word in own[at:end])
                found = others[tuple(words[at:end])]
                yield _Group(
                    at, end, [(Feature("words", other.added_terms), other.weight * weight) for other in found]
                )
            at = max(end, at + 1)

    def _weighed(self, terms: QueryTerms) -> list[_Weighed]:
        """What the query looks for, its words first, and what each is worth."""
        features = [
            *(Feature("words", (word,)) for word in terms.words),
            *(Feature("characters", (character,)) for character in terms.characters),
            *(Feature("words", phrase) for phrase in terms.phrases),
        ]
        return [
            (feature, sum(self._idf(feature.field, term) for term in feature.terms)) for feature in features
        ]

    def _idf(self, field: Field, term: str) -> float:
        found = self._document_frequency(field, term)
        if self._tail.chunks:
            found += self._tail.document_frequency(field, term)
        return _idf(found, self._chunks)

    @cached_property
    def _chunks(self) -> int:
        return int(self._searcher.num_docs) + len(self._tail.chunks)

    def _document_frequency(self, field: Field, term: str) -> int:
        """In how many chunks of the index itself a term is."""
        known = self._frequencies.get((field, term))
        if known is None:
            with damage_reported(None):
                known = self._searcher.doc_freq(field, term)
            if len(self._frequencies) >= _FREQUENCIES_KEPT:
                self._frequencies.clear()
            self._frequencies[field, term] = known
        return known

    def _own_weight(self, feature: Feature) -> float:
        """The weight that the index itself gives a feature."""
        total = self._searcher.num_docs
        return sum(_idf(self._document_frequency(feature.field, term), total) for term in feature.terms)

    def _boost(self, feature: Feature, weight: float) -> float:
        """What the index's own weight of a feature has to be multiplied by: the tail's chunks count as well."""
        if not self._tail.chunks:
            return 1.0
        own = self._own_weight(feature)
        return weight / own if abs(weight - own) > _WEIGHT_TOLERANCE * own else 1.0

    def _tail_scores(self, asked: _Asked) -> Scores:
        mean_length = {field: self._mean_length(field, asked.every) for field in FIELDS}
        scores = self._tail.score(asked.own, mean_length)
        for group in asked.groups:
            own = self._tail.score(asked.own[group.first : group.end], mean_length)
            best = np.max([own, *(self._tail.score([other], mean_length) for other in group.others)], axis=0)
            scores += best - own
        return scores

    def _mean_length(self, field: Field, weighed: Sequence[_Weighed]) -> float:
        """The mean length of a field in the index, which only its account of a score tells; in the tail, when none
        of the query's terms is in the index."""
        known = self._mean_lengths.get(field)
        if known is not None:
            return known
        for term in (term for feature, _ in weighed if feature.field == field for term in feature.terms):
            query = tantivy.Query.term_query(self._schema, field, term, "freq")
            with damage_reported(None):
                hits = self._searcher.search(query, 1, count=False).hits
                if hits:
                    account = json.loads(query.explain(self._searcher, hits[0][1]).to_json())
                    self._mean_lengths[field] = mean = _value_of("avgdl", account)
                    return mean
        return self._tail.mean_length(field)

    # -- tantivy -----------------------------------------------------------------------------------------

    def _query(self, asked: _Asked) -> tantivy.Query:
        """Any of the features; a repeated term counts as often as it is asked for, a group as its best."""
        clauses = [self._clause(feature, self._boost(feature, weight)) for feature, weight in asked.own]
        for group in reversed(asked.groups):
            own = _any_of(clauses[group.first : group.end])
            others = [
                self._clause(feature, weight / self._own_weight(feature)) for feature, weight in group.others
            ]
            clauses[group.first : group.end] = [tantivy.Query.disjunction_max_query([own, *others])]
        return _any_of(clauses)

    def _clause(self, feature: Feature, boost: float) -> tantivy.Query:
        if len(feature.terms) == 1:
            clause = tantivy.Query.term_query(self._schema, feature.field, feature.terms[0], "freq")
        else:
            clause = tantivy.Query.phrase_query(self._schema, feature.field, list(feature.terms))
        return clause if boost == 1.0 else tantivy.Query.boost_query(clause, boost)

    def _within(self, query: tantivy.Query, field: str, ids: Ids) -> tantivy.Query:
        members = tantivy.Query.term_set_query(self._schema, field, ids.tolist())
        must = tantivy.Occur.Must
        return tantivy.Query.boolean_query(
            [(must, tantivy.Query.const_score_query(members, 0.0)), (must, query)]
        )

    def _found(self, words: tantivy.Query, top_k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        """The best of the index itself, of allowed documents."""
        if allowed is None:
            return self._hits(words, top_k)
        if allowed.size > _TERM_SET_MAX:
            limit = 4 * top_k  # 4: one round is enough when a quarter of the collection is allowed
            while limit <= _OVERFETCH_MAX:
                ids, scores, documents = self._hits_with_documents(words, limit)
                keep = np.isin(documents, allowed, assume_unique=False)
                if keep.sum() >= top_k or ids.size < limit:
                    return ids[keep][:top_k], scores[keep][:top_k]
                limit *= 8
        return self._hits(self._within(words, DOCUMENT_FIELD, allowed), top_k)

    def _hits(self, query: tantivy.Query, limit: int) -> tuple[Ids, Scores]:
        ids, scores, _ = self._hits_with_documents(query, limit, documents=False)
        return ids, scores

    def _hits_with_documents(
        self, query: tantivy.Query, limit: int, *, documents: bool = True
    ) -> tuple[Ids, Scores, Ids]:
        searcher = self._searcher
        with damage_reported(None):
            hits = searcher.search(query, limit, count=False).hits
            addresses = [address for _, address in hits]
            ids = np.array(searcher.fast_field_values(CHUNK_FIELD, addresses), np.int64)
            owners = ids
            if documents:
                owners = np.array(searcher.fast_field_values(DOCUMENT_FIELD, addresses), np.int64)
        scores = np.array([score for score, _ in hits], np.float32)
        order = np.lexsort((ids, -scores))
        return ids[order], scores[order], owners[order]


def _any_of(clauses: Sequence[tantivy.Query]) -> tantivy.Query:
    return tantivy.Query.boolean_query([(tantivy.Occur.Should, clause) for clause in clauses])


@contextmanager
def damage_reported(folder: Path | None) -> Iterator[None]:
    """Turn what tantivy raises or returns of files it cannot read, a Rust panic included, into `DamagedError`."""
    place = f" in {folder}" if folder else ""
    try:
        yield
    except (
        ValueError,
        TypeError,
        OverflowError,
        OSError,
    ) as error:  # a lost column's values are None, or too large
        raise DamagedError(
            f"the keyword index{place} cannot be read: {error}", hint="it is rebuilt from the catalog"
        ) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a BaseException that the binding does not export
            raise
        raise DamagedError(
            f"the keyword index{place} is damaged: {error}", hint="it is rebuilt from the catalog"
        ) from error


def _idf(found: int, total: int) -> float:
    """ln(1 + (N - n + ½)/(n + ½)), as tantivy weighs a term (Robertson and Zaragoza 2009)."""
    return math.log1p((max(total, found) - found + 0.5) / (found + 0.5))


def _value_of(name: str, account: dict[str, Any]) -> float:
    """A number out of tantivy's explanation of a score: the entry whose description begins with `name`."""
    if str(account["description"]).startswith(name):
        return float(account["value"])
    return max((_value_of(name, part) for part in account.get("details") or ()), default=0.0)
