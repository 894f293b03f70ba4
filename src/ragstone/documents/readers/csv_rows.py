"""CSV and TSV: one block a row, each value under its column's name."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 20
# 10 million characters: a field is at most this long; the module's own limit of 131,072 stops real exports.
_FIELD_CHARS = 10_000_000


def read(source: Source) -> Draft:
    """Every row, in order."""
    text = decode(source.data)
    delimiter = "\t" if source.name.lower().endswith(".tsv") else _delimiter(text)
    csv.field_size_limit(_FIELD_CHARS)
    found = Extraction(text_chars=source.limits.text_chars)
    try:
        add_rows(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), found)
    except csv.Error as error:
        raise DocumentError(f"the table is malformed: {error}") from error
    return found.draft()


def add_rows(rows: Iterator[Sequence[str]], found: Extraction) -> None:
    """Add rows as `name: value; …`, or as `value | …` where the first row holds no names.

    The first row that has more than one value decides; what stands above it (a table's title) is kept as it is.
    """
    names: Sequence[str] | None = None
    for row in rows:
        values = [" ".join(value.split()) for value in row]
        if names is None and sum(map(bool, values)) > 1:
            names = values if _are_names(values) else ()
            found.row(" | ".join(filter(None, values)))
        elif names:
            found.row("; ".join(_named(names, values)))
        else:
            found.row(" | ".join(filter(None, values)))


def _named(names: Sequence[str], values: Sequence[str]) -> Iterator[str]:
    for column, value in enumerate(values):
        if value:
            name = names[column] if column < len(names) else ""
            yield f"{name}: {value}" if name else value


def _are_names(values: Sequence[str]) -> bool:
    """True for a row that can head columns: short, different words, no numbers."""
    filled = [value for value in values if value]
    short = all(len(value) <= 80 for value in filled)
    return short and len(set(filled)) == len(filled) and not any(_is_number(value) for value in filled)


def _is_number(value: str) -> bool:
    return value[:20].replace(".", "").replace(",", "").replace("-", "").strip("%$€£ ").isdecimal()


def _delimiter(text: str) -> str:
    """The candidate that splits the first lines into the same, largest number of fields."""
    lines = [line for line in text[:65_536].split("\n")[:_SAMPLE_LINES] if line.strip()]
    best, best_score = ",", 0
    for candidate in _DELIMITERS:
        counts = [line.count(candidate) for line in lines]
        # one that is in every line beats one that is in some, as commas are in prose
        score = 2 * min(counts, default=0) or int(max(counts, default=0) > 0)
        if score > best_score:
            best, best_score = candidate, score
    return best
