"""Which rows of a segment a search may give: as a mask or as positions, whichever is at hand."""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.types import Ids

Rows: TypeAlias = npt.NDArray[np.int64]  # (n,) positions in a segment
Mask: TypeAlias = npt.NDArray[np.bool_]  # (count,) which rows may be given

# Looking documents up one by one costs as much as a table of all of them from this many rows a document on.
_ROWS_PER_LOOKUP = 250
# What a table of all documents may take: ids are never reused, and a damaged one may be the highest there is.
_TABLE_BYTES = 1 << 28


class Selection:
    """Rows out of `count`. Immutable: what is asked for twice is computed once."""

    def __init__(self, count: int, *, rows: Rows | None = None, mask: Mask | None = None) -> None:
        """One of both: ascending `rows`, or a `mask` over all rows."""
        self._count = count
        if rows is not None:
            self.rows = rows
        if mask is not None:
            self.mask = mask

    @cached_property
    def mask(self) -> Mask:
        """(count,) which rows are in it."""
        mask = np.zeros(self._count, dtype=bool)
        mask[self.rows] = True
        return mask

    @cached_property
    def rows(self) -> Rows:
        """(n,) the rows that are in it, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def size(self) -> int:
        """How many rows are in it."""
        return len(self.rows) if "rows" in self.__dict__ else int(np.count_nonzero(self.mask))

    def within(self, other: Selection | None) -> Selection:
        """The rows that are in both; None stands for all rows."""
        if other is None:
            return self
        if "rows" in self.__dict__:
            return Selection(self._count, rows=self.rows[other.mask[self.rows]])
        return Selection(self._count, mask=self.mask & other.mask)


def of_documents(document_ids: Ids, allowed: Ids, *, ordered: bool) -> Selection:
    """The rows of `document_ids` (count,) that belong to an allowed document, `allowed` ascending.

    `ordered`: the rows lie in the order of their documents, so that those of a few need not be looked for among all.
    """
    count = len(document_ids)
    if not len(allowed) or not count:
        return Selection(count, rows=np.empty(0, np.int64))
    if ordered and len(allowed) * _ROWS_PER_LOOKUP <= count:
        starts = np.searchsorted(document_ids, allowed, "left")
        lengths = np.searchsorted(document_ids, allowed, "right") - starts
        ends = np.cumsum(lengths)
        return Selection(count, rows=np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1]))
    highest = max(int(allowed[-1]), int(document_ids.max()))
    if highest > _TABLE_BYTES:
        return Selection(count, mask=np.isin(document_ids, allowed, kind="sort"))
    # Document ids are dense integers, so a table of them is smaller than the rows and one gather answers.
    table = np.zeros(highest + 1, dtype=bool)
    table[allowed] = True
    return Selection(count, mask=table[document_ids])
