"""LaTeX: the source as it is, with its sections as headings and verbatim environments as code."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Outline
from ragstone.documents.readers.source import Source

_SECTION: Final = re.compile(
    r"\\(part|chapter|section|subsection|subsubsection|paragraph)\*?(?:\[[^\]\n]{0,200}\])?\{"
)
_VERBATIM: Final = re.compile(r"\\begin\{(verbatim|lstlisting|minted|tikzpicture|tabular)\*?\}")
_VERBATIM_END: Final = re.compile(r"\\end\{(verbatim|lstlisting|minted|tikzpicture|tabular)\*?\}")
_TITLE: Final = re.compile(r"\\title(?:\[[^\]\n]{0,200}\])?\{")
_AUTHOR: Final = re.compile(r"\\author(?:\[[^\]\n]{0,200}\])?\{")
_COMMAND: Final = re.compile(r"\\[a-zA-Z]{1,40}\*?|[{}~\\]")
_LEVELS: Final = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
_ARGUMENT_CHARS: Final = 2_000


def read(source: Source) -> Draft:
    """The text as it is, with its blocks."""
    text = decode(source.data)
    outline = Outline(text)
    # What stands before the document is commands; it is kept, but not as prose.
    position = max(0, text.find("\\begin{document}"))
    outline.mark("code", 0, position)
    events = sorted([*_SECTION.finditer(text), *_VERBATIM.finditer(text)], key=lambda match: match.start())
    ends = _ends(text)
    for match in events:
        if match.start() < position or _is_comment(text, match.start()):
            continue
        if match.re is _SECTION:
            end = _argument_end(text, match.end())
            outline.mark("heading", match.start(), end, level=_LEVELS[match.group(1)])
        else:
            closing = ends.get(match.group(1), [])
            at = bisect_right(closing, match.end())
            if at == len(closing):
                continue
            end = closing[at]
            outline.mark("code", match.start(), end)
        position = end
    outline.title = _argument(text, _TITLE)
    author = _argument(text, _AUTHOR)
    outline.metadata = {"author": author} if author else {}
    return outline.draft()


def _ends(text: str) -> dict[str, list[int]]:
    """For each verbatim environment the offsets behind its `\\end{…}`, ascending."""
    ends: dict[str, list[int]] = {}
    for match in _VERBATIM_END.finditer(text):
        ends.setdefault(match.group(1), []).append(match.end())
    return ends


def _is_comment(text: str, offset: int) -> bool:
    line = text[max(0, offset - 200) : offset].rpartition("\n")[2]
    return "%" in line


def _argument(text: str, command: re.Pattern[str]) -> str:
    match = command.search(text)
    if match is None:
        return ""
    inside = text[match.end() : _argument_end(text, match.end()) - 1]
    return " ".join(_COMMAND.sub(" ", inside).split())


def _argument_end(text: str, start: int) -> int:
    """The offset behind the brace that closes the argument opened before `start`; bounded."""
    depth = 1
    for offset in range(start, min(start + _ARGUMENT_CHARS, len(text))):
        character = text[offset]
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return offset + 1
    line_end = text.find("\n", start)
    return line_end if line_end >= 0 else len(text)
