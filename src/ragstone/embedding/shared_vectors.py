"""Vectors on a second level, as bytes that say what they are: what comes back is checked before it is used."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence

import numpy as np

from ragstone.cache_levels import SharedCache
from ragstone.types import Vector

TTL_S = 7 * 86_400.0
_HEADER = struct.Struct("<4sI16s")  # mark, dimensions, digest
_MARK = b"RGV1"


class SharedVectors:
    """The vectors of one model on `level`; without one there are none. Keys are digests of model and text."""

    def __init__(self, level: SharedCache | None) -> None:
        self._level = level

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        """Those that are there and whole, read-only."""
        if self._level is None:
            return {}
        values = self._level.get_many([key.hex() for key in keys])
        vectors = {
            key: from_bytes(value, key) for key, value in zip(keys, values, strict=True) if value is not None
        }
        return {key: vector for key, vector in vectors.items() if vector is not None}

    def put_many(self, vectors: Mapping[bytes, Vector]) -> None:
        """Keep them for a week, if the level takes them."""
        if self._level is not None and vectors:
            self._level.put_many(
                {key.hex(): to_bytes(vector, key) for key, vector in vectors.items()}, ttl_s=TTL_S
            )


def to_bytes(vector: Vector, key: bytes) -> bytes:
    """The header and the numbers (float32, little-endian) of the vector kept under `key`."""
    data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return _HEADER.pack(_MARK, len(vector), _digest(data, key)) + data


def from_bytes(value: bytes, key: bytes) -> Vector | None:
    """The vector, read-only; None unless `value` is what `to_bytes` made for this key.

    That guards against damage and mixed-up values, not against somebody who means to deceive.
    """
    if len(value) <= _HEADER.size:
        return None
    mark, dim, digest = _HEADER.unpack_from(value)
    data = value[_HEADER.size :]
    if mark != _MARK or len(data) != 4 * dim or digest != _digest(data, key):
        return None
    vector = np.frombuffer(data, dtype="<f4")
    return vector if np.isfinite(vector).all() else None


def _digest(data: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16, key=key).digest()
