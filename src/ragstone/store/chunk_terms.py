"""The terms of chunks as the keyword index sees them, kept for as long as one state of the catalog lasts."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ragstone.store import documents
from ragstone.store.analysis import analyse
from ragstone.store.catalog import Catalog
from ragstone.types import Ids

# Thirty chunks a query, many of them the same from query to query; at 130 terms each about 6 MB.
CHUNKS_KEPT = 4_096


class ChunkTerms:
    """Reads and analyses the texts of chunks, once each. Thread-safe."""

    def __init__(self, catalog: Catalog) -> None:
        """Good until the next commit: a chunk keeps its id when its document's title changes."""
        self._catalog = catalog
        self._kept: dict[int, Sequence[str]] = {}
        self._dropping = threading.Lock()

    def __call__(self, ids: Ids) -> list[Sequence[str]]:
        """The terms of each chunk, in reading order; none for a chunk deleted since."""
        found = {id_: self._kept.get(id_) for id_ in ids.tolist()}
        missing = [id_ for id_, terms in found.items() if terms is None]
        if missing:
            with self._catalog.reading() as db:
                entries = documents.keyword_entries(db, missing)
            read = {entry.chunk_id: analyse(entry.text) for entry in entries}
            found.update(read)
            self._keep(read)
        return [terms if terms is not None else () for terms in found.values()]

    def _keep(self, read: dict[int, list[str]]) -> None:
        with self._dropping:
            self._kept.update(read)
            for id_ in list(self._kept)[: max(0, len(self._kept) - CHUNKS_KEPT)]:  # the oldest
                del self._kept[id_]
