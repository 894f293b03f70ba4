"""JSON and JSON lines: every value under its name, one block a record. Escapes become characters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

# Records of up to this many values are one block, about one chunk; larger ones are cut at their parts.
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
    """One block for a record; of what holds records or is larger, one for its own values and one for each part."""
    if depth == 0:
        raise DocumentError("the JSON is nested too deeply")
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for part in value:
            _add(part, found, depth - 1, path)
    elif not isinstance(value, dict) or _is_record(value, depth):
        _add_row(value, found, depth, path)
    else:
        own = {name: part for name, part in value.items() if not isinstance(part, dict | list)}
        _add_row(own, found, depth, path)
        for name, part in value.items():
            if isinstance(part, dict | list):
                _add(part, found, depth - 1, _joined(path, name))


def _add_row(value: Any, found: Extraction, depth: int, path: str) -> None:
    """All values below `value` as one block, `path` once before them."""
    row = "; ".join(f"{name}: {leaf}" if name else leaf for name, leaf in _leaves(value, "", depth))
    found.row(f"{path}: {row}" if path and row else row)


def _is_record(value: dict[str, Any], depth: int) -> bool:
    """True for few values and no list of further records among them."""
    if any(count == _RECORD_VALUES for count, _ in enumerate(_leaves(value, "", depth))):
        return False
    parts = list(value.values())
    while parts:  # bounded: few values, as just counted
        part = parts.pop()
        if isinstance(part, list) and any(isinstance(inner, dict) for inner in part):
            return False
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return True


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Each single value below `value` under its dotted name; lists of single values on one line, no empty ones."""
    if depth == 0:
        raise DocumentError("the JSON is nested too deeply")
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, _joined(path, name), depth - 1)
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for part in value:
            yield from _leaves(part, path, depth - 1)
    else:
        written = ", ".join(map(_written, value)) if isinstance(value, list) else _written(value)
        if written:
            yield path, written


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "true" if value is True else "false" if value is False else "" if value is None else str(value)
