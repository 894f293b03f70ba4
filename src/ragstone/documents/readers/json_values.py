"""JSON and JSON lines: every value under its name, one block a record. Escapes become characters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

# Records of up to this many values are one block with a line for each; larger ones are cut at their parts.
_RECORD_VALUES = 40


def read(source: Source) -> Draft:
    """Every value of the file, in order. Raises `DocumentError` (`malformed`)."""
    text = decode(source.data)
    found = Extraction(text_chars=source.limits.text_chars)
    if source.format == "jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                _add(_parsed(line, f"line {number}"), found, source.limits.depth)
        return found.draft()
    value = _parsed(text, "the file")
    if isinstance(value, dict):
        for name in ("title", "name"):
            if not found.title and isinstance(value.get(name), str):
                found.title = value[name]
    _add(value, found, source.limits.depth)
    return found.draft()


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DocumentError(f"{where} is nested too deeply") from error
    except ValueError as error:
        raise DocumentError(f"{where} is not JSON: {error}") from error


def _add(value: Any, found: Extraction, depth: int, path: str = "") -> None:
    """One block for a record; of a larger value, one for each of its parts."""
    if depth == 0:
        raise DocumentError("the JSON is nested too deeply")
    if not isinstance(value, dict | list):
        found.row(f"{path}: {_written(value)}" if path else _written(value))
        return
    lines: list[str] = []
    for name, leaf in _leaves(value, path, depth):
        lines.append(f"{name}: {leaf}" if name else leaf)
        if len(lines) > _RECORD_VALUES:
            break
    is_records = isinstance(value, list) and any(isinstance(part, dict) for part in value)
    if len(lines) <= _RECORD_VALUES and not is_records:
        found.row("; ".join(lines))
        return
    for name, part in value.items() if isinstance(value, dict) else (("", part) for part in value):
        _add(part, found, depth - 1, f"{path}.{name}" if path and name else path or name)


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Each single value below `value` under its dotted name; lists of single values on one line."""
    if depth == 0:
        raise DocumentError("the JSON is nested too deeply")
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else name, depth - 1)
    elif isinstance(value, list):
        if not any(isinstance(part, dict | list) for part in value):
            yield path, ", ".join(_written(part) for part in value)
            return
        for part in value:
            yield from _leaves(part, path, depth - 1)
    else:
        yield path, _written(value)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "true" if value is True else "false" if value is False else "" if value is None else str(value)
