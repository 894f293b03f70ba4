"""What a foreign store holds, in one shape for every format: records, and what about them cannot be carried over.

Data and plain functions only; knows no file format and no engine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ragstone.types import Metadata, MetadataValue, Vector

Metric: TypeAlias = Literal["cosine", "l2", "ip", "unknown"]

# Names under which the tools we know keep where a text comes from, what it is called, and its page.
SOURCE_KEYS = ("file_path", "source", "path", "url", "file_name", "filename")
TITLE_KEYS = ("title", "document_title", "name", "file_name", "filename")
TEXT_KEYS = ("text", "page_content", "content", "document", "body", "chunk")
# A metadata value longer than this is not a label: LangChain's multi-vector stores keep whole pages in one.
MAX_METADATA_CHARS = 20_000
_DIGITS = 16  # of the fingerprint, in hexadecimal: 64 bits tell the records of one collection apart


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a foreign store: a text with the vector that its tool computed for it.

    `vector` is (dim,) float32 as stored, not scaled; None where the store has none. `uri` and `metadata` are
    already in our form; `id` is the foreign one.
    """

    id: str
    text: str
    vector: Vector | None
    uri: str
    title: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A record that was not carried over, by its foreign id, and why."""

    id: str
    reason: str


@dataclass(slots=True)
class Losses:
    """What reading a store finds that has no place here; filled while its records are read.

    `records` are left out whole; `parts` counts things that belong to records or to the store (relationships,
    graphs, images) under a name that says what they are.
    """

    records: list[LeftOut] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)

    def part(self, name: str, count: int = 1) -> None:
        """Count `count` more things called `name`."""
        if count:
            self.parts[name] = self.parts.get(name, 0) + count


@dataclass(frozen=True, slots=True)
class ForeignStore:
    """A store as its reader sees it: facts at once, records when `read` is called, in the store's own order.

    `read` may be called again and then gives the same records; it fills the `Losses` given. `dim` is None where
    only the vectors tell. `files` are all that it reads. A store on a server has no `path` and no files, but an
    `address`, without a password.
    """

    format: str
    layout: str
    path: Path | None
    files: tuple[Path, ...]
    model: str | None
    metric: Metric
    dim: int | None
    read: Callable[[Losses], Iterator[Record]]
    notes: tuple[str, ...] = ()
    address: str = ""

    @property
    def place(self) -> str:
        """Where it is: the absolute path, or the address."""
        return self.address if self.path is None else str(self.path.absolute())


def new_record(
    id_: str,
    text: str,
    vector: Vector | None,
    *,
    metadata: Mapping[str, Any],
    losses: Losses,
    source: str | None = None,
    title: str | None = None,
) -> Record:
    """A record whose uri is `<source>#<id>` (the id alone where no source is known), metadata flattened.

    `source` and `title` win over what the metadata says.
    """
    flat = flattened(metadata, losses)
    where = (source or _first(flat, SOURCE_KEYS) or "").replace("\\", "/")
    called = title or _first(flat, TITLE_KEYS) or ("" if source else where)
    page = page_of(metadata)
    if page is not None:
        flat["page"] = page
    uri = f"{where}#{id_}" if where else id_
    return Record(id_, text, vector, printable(uri), printable(called.rpartition("/")[2] or called), flat)


def flattened(metadata: Mapping[str, Any], losses: Losses) -> dict[str, MetadataValue]:
    """Metadata as `str`, `int`, `float` or `bool`; what is nested as JSON text, what is empty left away."""
    flat: dict[str, MetadataValue] = {}
    for key, value in metadata.items():
        if value is None or value in ("", [], {}):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            losses.part("metadata values that are not numbers (NaN or infinite)")
            continue
        if not isinstance(value, str | int | float | bool):
            value = json.dumps(value, ensure_ascii=False, default=str)
        if isinstance(value, str):
            value = printable(value)
            if len(value) > MAX_METADATA_CHARS:
                losses.part(f"metadata values longer than {MAX_METADATA_CHARS:,} characters ({key})")
                continue
        flat[printable(str(key))] = value
    return flat


def printable(text: str) -> str:
    """`text` with half characters (lone surrogates, which no file of ours can hold) replaced."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def page_of(metadata: Mapping[str, Any]) -> int | None:
    """The 1-based page a record says it is from: `page_number` and `page_label` count from 1, `page` from 0.

    PDF loaders of LangChain number `page` from 0 and, since 2024, add the printed `page_label`.
    """
    for key, first in (("page_label", 1), ("page_number", 1), ("page", 0)):
        value = metadata.get(key)
        if isinstance(value, str) and value.isdecimal() and len(value) < 7:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= first:
            return value + 1 - first
    return None


def text_of(entry: Mapping[str, Any]) -> str | None:
    """The text of a loosely defined entry: the first of the usual names that holds one."""
    for key in TEXT_KEYS:
        value = entry.get(key)
        if isinstance(value, str) and value.strip():
            return value
    return None


def fingerprint(record: Record, *, with_vector: bool) -> str:
    """16 hexadecimal digits that differ when anything of the record that is carried over does."""
    said = json.dumps([record.text, record.title, dict(record.metadata)], ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(said.encode("utf-8", "replace"))
    if with_vector and record.vector is not None:
        digest.update(record.vector.astype("<f4").tobytes())
    return digest.hexdigest()[:_DIGITS]


def _first(flat: Mapping[str, MetadataValue], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = flat.get(key)
        if isinstance(value, str) and value.strip():
            return value
    return None
