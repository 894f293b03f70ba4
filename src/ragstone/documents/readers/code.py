"""Source code and configuration: stretches of blank-line-separated lines, a new one at each top-level definition."""

from __future__ import annotations

import re

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Outline
from ragstone.documents.readers.source import Source

# A line at column 0 that starts a definition in one of the common languages.
_DEFINITION = re.compile(
    r"(?:@|(?:export |default |pub(?:\([a-z]+\))? |public |private |protected |internal |static |final |abstract |"
    r"async |unsafe |extern |inline |const |sealed |data |open |override )*"
    r"(?:def|class|function|fn|func|fun|struct|enum|trait|impl|interface|type|module|namespace|package|object|record|"
    r"protocol|extension|union|macro_rules!|sub|proc|let|const|var|create|CREATE|service|message)\b)"
)
# 60 lines: a stretch without definitions is cut at the next blank line after these, about one chunk.
_STRETCH_LINES = 60


def read(source: Source) -> Draft:
    """The text as it is; every block is code."""
    text = decode(source.data)
    outline = Outline(text)
    start = position = lines = 0
    blank = True
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        long_enough = blank and lines >= _STRETCH_LINES
        if stripped and lines and (long_enough or (blank and _DEFINITION.match(line))):
            outline.mark("code", start, position)
            start, lines = position, 0
        lines += 1
        position += len(line)
        blank = not stripped
    outline.mark("code", start, position)
    return outline.draft()
