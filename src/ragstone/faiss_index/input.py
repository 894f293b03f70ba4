"""Checks on what callers of a `FAISSIndex` pass: vectors, ids, metadata. Nothing is changed before all have passed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ragstone.errors import InputError
from ragstone.faiss_index.columns import Identifier, Json
from ragstone.index.plans import Metric
from ragstone.types import Matrix

# float32 squares of larger numbers overflow once 65,536 of them are added up (3.4e38).
_MAGNITUDE_MAX = 1e16
TOP_K_MAX = 65_536


def checked_vectors(embeddings: object, *, dim: int, metric: Metric, name: str = "embeddings") -> Matrix:
    """(n, dim) C-contiguous float32 of its own, unit rows for cosine.

    Raises `InputError` for another shape or dtype, NaN, infinities, numbers beyond 1e16 and, for cosine, zero
    vectors; it names the first row at fault.
    """
    try:
        given = np.asarray(embeddings)
    except ValueError as error:  # rows of unequal length
        raise InputError(f"{name} are no array: {error}", hint=f"rows of {dim} numbers") from error
    if given.size == 0 and given.ndim <= 2 and given.shape[:1] in {(), (0,)}:
        return np.empty((0, dim), np.float32)
    if given.ndim != 2 or given.shape[1] != dim:
        raise InputError(
            f"{name} have the shape {given.shape}, not (n, {dim})", hint=f"rows of {dim} numbers"
        )
    if given.dtype.kind not in "fiu":
        raise InputError(f"{name} have the dtype {given.dtype}", hint="real numbers, best float32")
    with np.errstate(invalid="ignore"):
        fits = np.abs(given.astype(np.float64, copy=False)) <= _MAGNITUDE_MAX  # False for NaN
    if not fits.all():
        row, place = np.argwhere(~fits)[0]
        raise InputError(
            f"number {place} of row {row} of the {name} is {given[row, place]}",
            hint=f"finite numbers up to ±{_MAGNITUDE_MAX:g}",
        )
    if metric != "cosine":
        return np.array(given, np.float32, order="C")
    lengths = np.linalg.norm(given.astype(np.float64, copy=False), axis=1, keepdims=True)
    if not lengths.all():
        row = int(np.flatnonzero(lengths == 0)[0])
        raise InputError(f"row {row} of the {name} is all zeros", hint="cosine needs a direction")
    return np.ascontiguousarray(given / lengths, dtype=np.float32)


def checked_queries(query: object, *, dim: int, metric: Metric) -> Matrix:
    """(q, dim) float32 from a (dim,) or (q, dim) query; errors as for `checked_vectors`."""
    given = np.asarray(query)
    if given.ndim == 1:
        given = given[None]
    return checked_vectors(given, dim=dim, metric=metric, name="query")


def checked_query(query: object, *, dim: int, metric: Metric) -> Matrix:
    """(1, dim) float32, as `checked_queries`; `InputError` for more than one."""
    queries = checked_queries(query, dim=dim, metric=metric)
    if len(queries) != 1:
        raise InputError(
            f"{len(queries)} queries in one search", hint="one at a time, or FAISSIndex.batch_search"
        )
    return queries


def checked_ids(ids: Iterable[Identifier], count: int) -> list[Identifier]:
    """`count` ids, each a str or an int, no two equal. Raises `InputError` naming the first at fault."""
    if isinstance(ids, str | bytes):
        raise InputError(f"ids are {ids!r}", hint="a list with one id for each vector")
    checked = [identifier(id_) for id_ in ids]
    if len(checked) != count:
        raise InputError(f"{count} vectors came with {len(checked)} ids", hint="one id for each vector")
    seen: set[Identifier] = set()
    for id_ in checked:
        if id_ in seen:
            raise InputError(f"the id {id_!r} comes twice in one call", hint="keep its last vector only")
        seen.add(id_)
    return checked


def identifiers(ids: Iterable[Identifier] | Identifier) -> list[Identifier]:
    """One id, or several. Raises `InputError` for what is none."""
    return [identifier(id_) for id_ in ([ids] if isinstance(ids, int | str | np.integer) else ids)]


def identifier(id_: object) -> Identifier:
    """A str or a 64-bit int, NumPy's own included. Raises `InputError` for anything else."""
    if isinstance(id_, str):
        return str(id_)
    if isinstance(id_, int | np.integer) and not isinstance(id_, bool) and -(1 << 63) <= id_ < 1 << 63:
        return int(id_)
    raise InputError(f"{id_!r} is no id", hint="ids are strings or whole numbers of 64 bits")


def checked_metadata(
    metadata: Sequence[Mapping[str, Json] | None] | Mapping[Identifier, Mapping[str, Json]] | None,
    ids: Sequence[Identifier],
) -> list[Mapping[str, Json]]:
    """A record for each id, as JSON keeps it: from a list beside the ids, or from a mapping by id; else empty.

    Raises `InputError` for another length and for what JSON cannot keep, naming the id.
    """
    if metadata is None:
        return [{}] * len(ids)
    if isinstance(metadata, Mapping):
        given: Sequence[Mapping[str, Json] | None] = [metadata.get(id_) for id_ in ids]
    else:
        given = list(metadata)
    if len(given) != len(ids):
        raise InputError(
            f"{len(ids)} vectors came with {len(given)} records of metadata", hint="one for each"
        )
    return [_record(record, id_) for record, id_ in zip(given, ids, strict=True)]


def _record(record: Mapping[str, Json] | None, id_: Identifier) -> Mapping[str, Json]:
    if not record:
        return {}
    if not isinstance(record, Mapping) or not all(isinstance(key, str) for key in record):
        raise InputError(f"the metadata of {id_!r} is {record!r:.80}", hint="a mapping with string keys")
    try:
        kept: dict[str, Json] = json.loads(json.dumps(dict(record), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"JSON cannot keep the metadata of {id_!r}: {error}") from error
    return kept


def checked_search(k: int, threshold: float, recall: float | None) -> None:
    """Raise `InputError` for a number of hits, threshold or recall that cannot be."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= TOP_K_MAX:
        raise InputError(f"k is {k!r}", hint=f"a whole number from 1 to {TOP_K_MAX:,}")
    if (
        isinstance(threshold, bool)
        or not isinstance(threshold, int | float | np.floating)
        or math.isnan(threshold)
    ):
        raise InputError(f"threshold is {threshold!r}", hint="the lowest score of a hit; 0 keeps all")
    if recall is not None and not 0 < recall <= 1:
        raise InputError(f"recall is {recall!r}", hint="above 0, up to 1")
