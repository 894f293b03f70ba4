"""What an index keeps of each row beside its vector: columns that grow at their end while older readers go on.

Nothing before a column's length ever changes, so a reader with an older, shorter column needs no lock. Only the
newest column may be extended, by one writer at a time; rows of an extension that was never published are
overwritten by the next one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ragstone.types import Ids, Matrix

Identifier: TypeAlias = int | str
Json: TypeAlias = Any  # what a line of JSON holds
BoolArray: TypeAlias = npt.NDArray[np.bool_]

_Value = TypeVar("_Value")

_GROWTH = 1.5  # capacity over need: each number is copied twice on average, a third of the memory idle


class Column(Generic[_Value]):
    """(n,) values: those stored in a file, then those added since. Immutable to whoever holds it."""

    def __init__(self, stored: Sequence[_Value], added: list[_Value] | None = None, count: int = -1) -> None:
        """All of `stored` and the first of `added`, `count` in all (−1: every one)."""
        self._stored = stored
        self._added = [] if added is None else added
        self._count = len(stored) + len(self._added) if count < 0 else count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> _Value:
        if not 0 <= row < self._count:
            raise IndexError(row)
        stored = len(self._stored)
        return self._stored[row] if row < stored else self._added[row - stored]

    def __iter__(self) -> Iterator[_Value]:
        return (self[row] for row in range(self._count))

    def extended(self, values: Sequence[_Value]) -> Column[_Value]:
        """This column with `values` behind it."""
        del self._added[self._count - len(self._stored) :]  # rows that nobody has seen
        self._added.extend(values)
        return Column(self._stored, self._added, self._count + len(values))

    def taken(self, rows: Ids) -> Column[_Value]:
        """A column of its own with some rows of this one."""
        return Column([self[row] for row in rows.tolist()])


class JsonLines(Sequence[Json]):
    """Values from a mapped file of JSON lines, decoded one by one as they are asked for."""

    def __init__(self, lines: Path, offsets: Path) -> None:
        """Map both files; raises OSError or ValueError where they do not fit each other."""
        self._starts = _mapped(offsets, "<u8")
        self._bytes = _mapped(lines, "u1")
        if not len(self._starts) or int(self._starts[-1]) != len(self._bytes):
            raise ValueError(f"{offsets.name} does not fit {lines.name}")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, row: Any) -> Json:
        return json.loads(self._bytes[self._starts[row] : self._starts[row + 1]].tobytes())


def write_json_lines(values: Sequence[Json], lines: Path, offsets: Path) -> None:
    """Write what `JsonLines` reads: one value a line, and the (n + 1,) byte offsets of the lines."""
    encoded = [json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values]
    starts = np.zeros(len(encoded) + 1, np.uint64)
    np.cumsum([len(line) for line in encoded], out=starts[1:])
    lines.write_bytes(b"".join(encoded))
    offsets.write_bytes(starts.astype("<u8").tobytes())


def _mapped(path: Path, dtype: str) -> npt.NDArray[Any]:
    if path.stat().st_size == 0:  # nothing there to map
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")


class Vectors:
    """(n, dim) float32 rows that grow at their end; a view taken earlier stays as it was."""

    def __init__(self, rows: Matrix) -> None:
        """Begin with `rows`, which are copied before anything is written."""
        self._rows = rows

    def extended(self, count: int, rows: Matrix) -> Matrix:
        """The first `count` rows with `rows` behind them."""
        total = count + len(rows)
        if total > len(self._rows) or not self._rows.flags.writeable:
            larger = np.empty((round(total * _GROWTH), rows.shape[1]), np.float32)
            larger[:count] = self._rows[:count]
            self._rows = larger
        self._rows[count:total] = rows
        return self._rows[:total]


class ValueIndex:
    """Which rows have which metadata value: per key a code for each row, made when a filter first asks for it.

    Shared by all snapshots of one lineage; rows beyond a snapshot's own are not looked at. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: dict[str, npt.NDArray[np.int32]] = {}
        self._known: dict[str, dict[object, int]] = {}

    def equal(self, metadata: Column[Mapping[str, Json]], wanted: Mapping[str, Json]) -> BoolArray:
        """(n,) whether each row's metadata has every one of the wanted values."""
        passing = np.ones(len(metadata), bool)
        for key, value in wanted.items():
            with self._lock:
                codes = self._coded(key, metadata)
            # −1 is the code of rows without the key, −2 that of a value no row has.
            code = self._known[key].get(_hashable(value), -2)
            passing &= codes[: len(metadata)] == code
        return passing

    def _coded(self, key: str, metadata: Column[Mapping[str, Json]]) -> npt.NDArray[np.int32]:
        codes = self._codes.get(key, np.empty(0, np.int32))
        known = self._known.setdefault(key, {})
        fresh = [
            known.setdefault(_hashable(record[key]), len(known)) if key in record else -1
            for record in (metadata[row] for row in range(len(codes), len(metadata)))
        ]
        if fresh:
            codes = np.concatenate([codes, np.array(fresh, np.int32)])
            self._codes[key] = codes
        return codes


def _hashable(value: Json) -> object:
    """A key under which equal values meet; lists and objects by their JSON."""
    try:
        hash(value)
    except TypeError:
        return ("json", json.dumps(value, sort_keys=True))
    return value
