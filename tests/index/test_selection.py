"""Rows that a search may give: the same by every way to find them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragstone.index.selection import Selection, of_documents

IDS = st.integers(1, 40)


@given(
    documents=st.lists(IDS, max_size=300),
    allowed=st.sets(IDS),
    dead=st.sets(st.integers(0, 299)),
    repeated=st.sampled_from([1, 400]),
    stray=st.sampled_from([0, 2**40, 2**63 - 41]),
)
def test_rows_of_documents_are_those_of_a_plain_look_at_each(
    documents: list[int], allowed: set[int], dead: set[int], repeated: int, stray: int
) -> None:
    """`repeated`: so many rows a document that few documents are looked up one by one; `stray`: far from the others."""
    documents = [id_ + stray * (id_ % 7 == 6) for id_ in documents]
    given_ids = np.array(sorted(id_ + stray * (id_ % 7 == 6) for id_ in allowed), np.int64)
    mask = np.array([row not in dead for row in range(len(documents))] * repeated, bool)
    for ordered in (False, True):
        ids = np.repeat(np.array(sorted(documents) if ordered else documents, np.int64), repeated)
        found = of_documents(ids, given_ids, ordered=ordered)
        wanted = np.flatnonzero(np.isin(ids, given_ids))
        _same(found, wanted, len(ids))
        alive = mask[: len(ids)]
        _same(found.within(Selection(len(ids), mask=alive)), wanted[alive[wanted]], len(ids))
        _same(found.within(None), wanted, len(ids))


def _same(found: Selection, rows: np.ndarray[tuple[int], np.dtype[np.int64]], count: int) -> None:
    assert found.size == len(rows)
    np.testing.assert_array_equal(found.rows, rows)
    assert found.mask.shape == (count,)
    np.testing.assert_array_equal(np.flatnonzero(found.mask), rows)
    assert found.size == len(rows)  # whichever form it has by now
