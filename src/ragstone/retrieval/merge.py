"""Hits of several collections as one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import merge as merge_sorted
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def merge(rankings: Iterable[Sequence[Item]], *, top_k: int, score: Callable[[Item], float]) -> list[Item]:
    """The best `top_k` items of lists that are each sorted best first.

    Equal scores keep the order of the lists and, inside one, its order. Hybrid scores and cosines compare
    across collections; BM25 does too where the collections are alike in their words.
    """
    return list(islice(merge_sorted(*rankings, key=lambda item: -score(item)), top_k))
