"""The lines of a text that stays as it is, and blocks marked over runs of them."""

from __future__ import annotations

from ragstone.documents.draft import Kind, Outline


class LineBlocks:
    """Blocks over whole lines. `lines` are those of the outline's text from the character `start` on, without ends."""

    def __init__(self, outline: Outline, start: int = 0) -> None:
        self._outline = outline
        self.lines = outline.text[start:].split("\n")
        self._offsets = [start]
        for line in self.lines:
            self._offsets.append(self._offsets[-1] + len(line) + 1)

    def mark(self, kind: Kind, first: int, end: int, *, level: int = 0) -> int:
        """Make the lines from `first` to before `end` a block, without the white space around them; returns `end`."""
        self._outline.mark(kind, self._offsets[first], self._offsets[end] - 1, level=level)
        return end


def indent(line: str) -> int:
    """How many spaces and tabs a line begins with."""
    return len(line) - len(line.lstrip(" \t"))
