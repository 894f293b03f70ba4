"""Which fields of a Redis entry hold its text and its vector, how the vector's bytes are numbers, and what is metadata.

An entry is a hash (values are bytes) or a JSON object (values are JSON's). Knows no server.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ragstone.errors import InputError
from ragstone.importers.llamaindex import node_of
from ragstone.importers.records import TEXT_KEYS, Losses
from ragstone.types import Vector

Entry: TypeAlias = Mapping[str, Any]

# As LangChain, LlamaIndex and RedisVL call them, and what people call them by themselves.
VECTOR_KEYS = ("embedding", "vector", "content_vector", "text_vector", "text_embedding", "embeddings")
# Where equal shares of the numbers make sense, the first is taken. Two bfloat16 are always a float32 that makes sense,
# but the lower half of a float32 is no bfloat16 that does.
VECTOR_TYPES = ("bfloat16", "float32", "float64", "float16")
_TOOL_FIELDS = {"_node_content", "_node_type", "_metadata_json", "_index_name", "document_id", "ref_doc_id"}
_LEAST, _MOST = 1e-6, 100.0  # sizes of an embedding's numbers, scaled to length 1 or not
_SENSIBLE = 0.95  # share of such numbers; in the wrong type at most 0.85
_VECTOR_NUMBERS = 16  # a list of more numbers is no metadata


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of an entry's text and vector; `vector_type` says how bytes are numbers, None where none are bytes."""

    text: str
    vector: str | None
    vector_type: str | None


def fields_of(
    entries: Sequence[Entry], *, text: str | None, vector: str | None, vector_type: str | None
) -> Fields:
    """What the entries' fields are, looking at a sample; what is given is not looked for.

    Raises `InputError` that names the fields there are where it is not clear, or where a named one is missing.
    """
    if vector_type not in {None, *VECTOR_TYPES}:
        raise InputError(f"no type of numbers {vector_type!r}", hint=f"one of {', '.join(VECTOR_TYPES)}")
    text = _field(
        entries,
        text,
        option="--text-field",
        what="text",
        usual=TEXT_KEYS,
        fits=lambda value: bool(text_of(value)),
    )
    if text is None:
        raise InputError(
            f"no field is known to hold the texts; there are {_listed(entries)}",
            hint="name it with --text-field",
        )
    others = [{name: value for name, value in entry.items() if name != text} for entry in entries]
    vector = _field(
        others, vector, option="--vector-field", what="vector", usual=VECTOR_KEYS, fits=_is_vector
    )
    if vector is None:
        vector = _only_vector(others)
    held = [entry[vector] for entry in entries if vector in entry] if vector else []
    stored = [value for value in held if isinstance(value, bytes) and _json_list(value) is None]
    if stored and vector_type is None:
        vector_type = type_of(stored)
        if vector_type is None:
            raise InputError(
                f"the bytes of {vector!r} are numbers of no known type",
                hint=f"name it with --vector-type: {', '.join(VECTOR_TYPES)}",
            )
    return Fields(text, vector, vector_type if stored else None)


def _field(
    entries: Sequence[Entry],
    given: str | None,
    *,
    option: str,
    what: str,
    usual: Sequence[str],
    fits: Callable[[Any], bool],
) -> str | None:
    """The field given, else the usual name that most entries have; None where none has one."""
    if given is not None:
        if not any(given in entry for entry in entries):
            raise InputError(
                f"no field {given!r} for the {what}; there are {_listed(entries)}", hint=f"check {option}"
            )
        return given
    counts = {name: sum(name in entry and fits(entry[name]) for entry in entries) for name in usual}
    best = max(usual, key=lambda name: counts[name])
    return best if counts[best] else None


def _only_vector(entries: Sequence[Entry]) -> str | None:
    found = sorted({name for entry in entries for name, value in entry.items() if _is_vector(value)})
    if len(found) > 1:
        raise InputError(
            f"several fields look like vectors: {', '.join(found)}", hint="name one with --vector-field"
        )
    return found[0] if found else None


def _listed(entries: Sequence[Entry]) -> str:
    counts = Counter(name for entry in entries for name in entry)
    return ", ".join(name for name, _ in counts.most_common(20)) or "none"


# -- values --------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """A value as text; empty where it is none. Bytes that are not UTF-8 are replaced."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def vector_of(value: Any, vector_type: str | None) -> Vector | None:
    """(dim,) float32 from bytes, a list of numbers or the JSON text of one; None where it is not that."""
    if isinstance(value, bytes):
        numbers = _json_list(value)
        if numbers is None:
            return None if vector_type is None else _from_bytes(value, vector_type)
        value = numbers
    if not isinstance(value, list) or not _all_numbers(value):
        return None
    with np.errstate(over="ignore"):
        try:
            row: Vector = np.array(value, np.float64).astype(np.float32)
        except OverflowError:
            return None
    return row


def type_of(stored: Sequence[bytes]) -> str | None:
    """The type in which the bytes of a sample make sense as embeddings; None where that is none.

    The wrong type gives numbers far from 1: the exponent of one is then made of another's mantissa.
    """
    marks = {name: _sense(stored, name) for name in VECTOR_TYPES}
    best = max(VECTOR_TYPES, key=lambda name: marks[name])
    return best if marks[best][0] >= _SENSIBLE else None


def _sense(stored: Sequence[bytes], name: str) -> tuple[float, float]:
    """Shares of sensible numbers among those that are not zero, and of those; rounded: chance decides nothing."""
    rows = [_from_bytes(value, name) for value in stored]
    numbers = np.concatenate([np.zeros(0, np.float32), *(row for row in rows if row is not None)])
    sizes = np.abs(numbers[numbers != 0])
    if 2 * sum(row is None for row in rows) > len(rows) or not len(sizes):
        return 0.0, 0.0
    sensible = (sizes >= _LEAST) & (sizes <= _MOST)
    return round(float(np.mean(sensible)), 2), round(len(sizes) / len(numbers), 2)


def _from_bytes(value: bytes, name: str) -> Vector | None:
    size = 2 if name == "bfloat16" else np.dtype(name).itemsize
    if not value or len(value) % size:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if name == "bfloat16":  # the upper half of a float32
            halves: Vector = (np.frombuffer(value, "<u2").astype("<u4") << 16).view("<f4").astype(np.float32)
            return halves
        row: Vector = np.frombuffer(value, np.dtype(name).newbyteorder("<")).astype(np.float32)
    return row


def _is_vector(value: Any) -> bool:
    if isinstance(value, bytes):
        numbers = _json_list(value)
        return len(numbers) > 1 if numbers is not None else _is_binary(value) and len(value) % 2 == 0
    return isinstance(value, list) and len(value) > 1 and _all_numbers(value)


def _is_binary(value: bytes) -> bool:
    try:
        return "\0" in value.decode()
    except UnicodeDecodeError:
        return True


def _json_list(value: bytes) -> list[Any] | None:
    """The list of numbers that bytes are the JSON text of; float32 that happen to begin with a bracket are none."""
    if not (value.startswith(b"[") and value.rstrip().endswith(b"]")):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and _all_numbers(found) else None


def _all_numbers(value: Sequence[Any]) -> bool:
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)


# -- metadata ------------------------------------------------------------------------------------------------


def metadata_of(entry: Entry, fields: Fields, losses: Losses) -> dict[str, Any]:
    """What an entry says beside text and vector.

    The values of a hash are texts. LangChain and LlamaIndex keep the metadata a second time, as JSON: numbers are
    taken from there.
    """
    metadata: dict[str, Any] = {}
    for name, value in entry.items():
        if name in {fields.text, fields.vector} or name in _TOOL_FIELDS:
            continue
        if isinstance(value, bytes) and _is_binary(value):
            losses.part(f"binary values ({name})")
        elif isinstance(value, list) and len(value) > _VECTOR_NUMBERS and _all_numbers(value):
            losses.part(f"further vectors ({name})")
        elif name == "metadata" and isinstance(value, dict):
            metadata |= value
        else:
            metadata[name] = value.decode() if isinstance(value, bytes) else value
    if "_metadata_json" in entry:  # LangChain
        metadata |= _json_object(entry["_metadata_json"])
    if "_node_content" in entry:  # LlamaIndex
        with suppress(TypeError, AttributeError):  # of another form: its fields say what they say
            node = node_of(_json_object(entry["_node_content"]))
            losses.part("relationships between nodes (previous, next, parent, child)", node.relationships)
            metadata |= node.metadata
        if metadata.get("doc_id") == "None":  # of a node without a document
            del metadata["doc_id"]
    return metadata


def _json_object(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes | str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}
