"""Front matter at the head of a text: flat YAML between `---` lines, TOML between `+++` lines.

A small parser of our own for the YAML: `key: value`, quoted values, lists in brackets or with dashes. Anything
deeper is kept as the text it is. No YAML library: none of its power is wanted from a stranger's file.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from ragstone.documents.draft import Value

# 16 KiB: the longest of 294 real ones has 1.1 KiB. A file without a closing line is text from its first line.
MAX_CHARS: Final = 16_384
_KEY: Final = re.compile(r"([A-Za-z_][\w .-]{0,60}):(?:[ \t]+|$)")
_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?")
_DATE: Final = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?![\d-])")
_NAMES: Final = {
    "authors": "author", "creator": "author", "by": "author", "lang": "language", "keywords": "tags",
    "keyword": "tags", "tag": "tags", "categories": "tags", "category": "tags", "published": "date",
    "pubdate": "date", "publish_date": "date", "created": "date",
}  # fmt: skip


def front_matter(text: str) -> tuple[int, dict[str, Value]]:
    """The offset behind the front matter of `text` (0 if there is none) and what it says."""
    fence = text[:4]
    if fence not in {"---\n", "+++\n"}:
        return 0, {}
    head = text[4:MAX_CHARS]
    close = re.search(rf"^(?:{re.escape(fence[:3])}|\.\.\.)[ \t]*$", head, re.MULTILINE)
    if close is None:
        return 0, {}
    body = head[: close.start()]
    found = _toml(body) if fence[0] == "+" else _yaml(body)
    if fence[0] == "-" and body.strip() and not found:
        return 0, {}  # two rules around prose
    return 4 + close.end(), normalised(found)


def normalised(found: dict[str, Value]) -> dict[str, Value]:
    """Names as ragstone filters by them: `title`, `author`, `date` (ISO), `language`, `tags`, others as they are."""
    metadata: dict[str, Value] = {}
    for name, value in found.items():
        key = name.strip().lower().replace(" ", "_").replace("-", "_")
        key = _NAMES.get(key, key)
        if key == "date":
            iso = iso_date(str(value))
            key, value = ("date", iso) if iso else ("date_text", value)
        metadata.setdefault(key, value)
    return metadata


def iso_date(text: str) -> str:
    """`YYYY-MM-DD` if `text` starts with such a date, else ''."""
    match = _DATE.match(text.strip())
    if match is None:
        return ""
    year, month, day = (int(part) for part in match.groups())
    return f"{year:04}-{month:02}-{day:02}" if 1 <= month <= 12 and 1 <= day <= 31 else ""


def _yaml(body: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    key, lines = "", [""]
    for line in [*body.split("\n"), "end:"]:
        match = None if line[:1] in {" ", "\t", "-", "#"} else _KEY.match(line)
        if match is None:
            if not line.startswith("#"):
                lines.append(line.strip())
            continue
        if key:
            found[key] = _yaml_value(lines)
        key, lines = match.group(1), [line[match.end() :].strip()]
    return {name: value for name, value in found.items() if value != ""}


def _yaml_value(lines: list[str]) -> Value:
    first, rest = lines[0], [line for line in lines[1:] if line]
    if first in {"", ">", "|", ">-", "|-"}:
        if rest and all(line.startswith("- ") for line in rest):
            return ", ".join(_unquoted(line[2:]) for line in rest)
        return " ".join(rest)
    if rest:
        return " ".join([first, *rest])
    if first.startswith("[") and first.endswith("]"):
        return ", ".join(_unquoted(part) for part in first[1:-1].split(",") if part.strip())
    if first[0] in "'\"":
        return _unquoted(first)
    first = first.split(" #", 1)[0].rstrip()
    if first in {"true", "false"}:
        return first == "true"
    if _NUMBER.fullmatch(first):
        return float(first) if "." in first else int(first)
    return first


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        quote = text[0]
        return text[1:-1].replace("''" if quote == "'" else '\\"', quote)
    return text


def _toml(body: str) -> dict[str, Value]:
    try:
        table = tomllib.loads(body)
    except (tomllib.TOMLDecodeError, RecursionError):
        return {"front_matter": body}
    return {name: _toml_value(value) for name, value in table.items()}


def _toml_value(value: Any) -> Value:
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    return str(value)
