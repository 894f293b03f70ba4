"""The edges of the graph of names, looked up as a walk asks for them: names in the catalog, rarity in the keywords.

Nothing is kept between walks: where a text names a document is read off the text, so that a new document is linked to
the old ones the moment it is committed, and a deleted one from nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import apsw
import numpy as np

from ragstone.graph.names import (
    NAMES_VERSION,
    Place,
    chosen,
    name_key,
    names_of,
    places_in_query,
    places_in_text,
)
from ragstone.graph.walk import Link
from ragstone.store import documents, names
from ragstone.store.catalog import Catalog
from ragstone.store.keyword_reader import KeywordReader
from ragstone.types import Ids

# A name that more documents or chunks share is a label ("Introduction"): it would raise each by less than .03.
BEARERS_MAX = 256


class NameLinks:
    """Links of one state of a collection. Thread-safe."""

    def __init__(
        self, catalog: Catalog, keyword: KeywordReader | None, *, allowed: Ids | None = None
    ) -> None:
        """`keyword` says how rare words are (None: all alike); only documents of ascending `allowed` are reached."""
        self._catalog = catalog
        self._keyword = keyword
        self._allowed = allowed

    def within(self, allowed: Ids | None) -> NameLinks:
        """The same links, to these documents only."""
        return NameLinks(self._catalog, self._keyword, allowed=allowed)

    def of_query(self, query: str) -> Sequence[Link]:
        """The names of documents in a query."""
        with self._catalog.reading() as db:
            return self._links(db, {0: query}, {0: places_in_query(query)}, {}).get(0, ())

    def of_chunks(
        self, chunk_ids: Sequence[int], *, except_names: Collection[str]
    ) -> Mapping[int, Sequence[Link]]:
        """The names of other documents in the texts of chunks; nothing for a chunk deleted since."""
        with self._catalog.reading() as db:
            titled = documents.titled_texts(db, chunk_ids)
            texts = {id_: text for id_, (_, text) in titled.items()}
            places = {id_: places_in_text(text) for id_, text in texts.items()}
            excepted = {name_key(name) for name in except_names}
            own = names.of_chunks(db, chunk_ids)
            passed_over = {id_: excepted | own.get(id_, set()) for id_ in texts}
            return self._links(db, texts, places, passed_over)

    def _links(
        self,
        db: apsw.Connection,
        texts: Mapping[int, str],
        places: Mapping[int, Sequence[Place]],
        passed_over: Mapping[int, Collection[int]],
    ) -> dict[int, list[Link]]:
        """The links at places of texts, without those of keys in `passed_over` and that nobody who is allowed bears."""
        keys = {name: name_key(name) for name in {place.name for here in places.values() for place in here}}
        known = names.known_names(db, list(keys.values()), BEARERS_MAX + 1)
        keys = {name: key for name, key in keys.items() if key in known}
        named = {
            id_: [place for place in chosen(here, keys) if keys[place.name] not in passed_over.get(id_, ())]
            for id_, here in places.items()
        }
        wanted = {keys[place.name] for here in named.values() for place in here}
        bearers = names.bearers(db, [key for key in wanted if known[key] <= BEARERS_MAX])
        bearers = {key: found for key, found in bearers.items() if 0 < found.chunks <= BEARERS_MAX}
        reached = {key: self._allowed_of(found.documents) for key, found in bearers.items()}
        chunks = names.chunks_of(db, {id_ for ids in reached.values() for id_ in ids})
        links: dict[int, list[Link]] = {id_: [] for id_ in texts}
        for id_, here in named.items():
            for name, start, end in here:
                ids = [
                    chunk for document in reached.get(keys[name], ()) for chunk in chunks.get(document, ())
                ]
                if ids:
                    written = texts[id_][start:end]
                    weight = self._rarity(written) / math.sqrt(bearers[keys[name]].chunks)
                    links[id_].append(Link(name, written, weight, ids))
        return links

    def _allowed_of(self, document_ids: Sequence[int]) -> Sequence[int]:
        if self._allowed is None:
            return document_ids
        # Not `isin`, which would look at every allowed document for each name.
        places = np.searchsorted(self._allowed, document_ids)
        return [
            id_
            for id_, at in zip(document_ids, places.tolist(), strict=True)
            if at < len(self._allowed) and self._allowed[at] == id_
        ]

    def _rarity(self, written: str) -> float:
        """In [0, 1]: 1 for a name with a word, or with words together, as rare as one that no chunk has."""
        if self._keyword is None:
            return 1.0
        return min(1.0, float(np.sum(self._keyword.rarity_of_words(written.split()))))


# -- what is stored ------------------------------------------------------------------------------------------


def name_keys(title: str, extracted: Sequence[str] = ()) -> list[int]:
    """The keys of the names that a document has by its title, and by those that an extractor found in it."""
    return [name_key(name) for given in (title, *extracted) for name in names_of(given)]


def expected_edges(db: apsw.Connection) -> set[tuple[int, int]]:
    """What the table of names must hold: the key of each name with the document that bears it."""
    return {(key, id_) for id_, title, extracted in names.titles(db) for key in name_keys(title, extracted)}


def are_current(db: apsw.Connection) -> bool:
    """Whether the names were collected by the rules of this version."""
    return names.version(db) == NAMES_VERSION


def rebuild(db: apsw.Connection) -> None:
    """Collect all names anew from the titles; inside a transaction. 10 to 15 µs a document."""
    names.replace_all(db, expected_edges(db), version=NAMES_VERSION)
