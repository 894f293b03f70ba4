"""The line of context above a chunk: its document's title and the path of headings, within limits.

A chunk's text is never cut to make room for it; the context is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ragstone.chunking.counting import TokenCounter, count_in_batches

# Readers see long titles (a whole first paragraph, a mail subject); this much tells what the document is.
MAX_TITLE_CHARS = 160
MAX_HEADING_CHARS = 120
SEPARATOR = " > "

_RULE_LINE = re.compile(r"[^\w\s]+")  # RST adornment, setext underline
_ANCHOR = re.compile(r"\{[#/][^{}\n]{0,200}\}$")  # `{#id}`, MDX `{/*id*/}`
_ROLE = re.compile(r":[a-zA-Z][\w:+.-]{0,40}:`!?([^`<\n]{1,200})`")  # RST :mod:`os`


def heading_text(block_text: str) -> str:
    """The words of a heading block, one line, without its markup, at most `MAX_HEADING_CHARS`."""
    # 4 × the limit: markup around the words never needs more, and a heading may be megabytes
    lines = [line.strip() for line in block_text[: 4 * MAX_HEADING_CHARS].splitlines()]
    words = " ".join(line for line in lines if line and not _RULE_LINE.fullmatch(line))
    bare = words.lstrip("#")
    if bare != words:
        bare = re.sub(r" #{1,6}$", "", bare)
    bare = _ANCHOR.sub("", bare.strip()).strip()
    return clipped(_ROLE.sub(r"\1", bare), MAX_HEADING_CHARS)


def clipped(text: str, max_chars: int) -> str:
    """`text` on one line, cut at a space where one is near, with `…` where something was cut."""
    line = " ".join(text[: max_chars * 4].split())
    if len(line) <= max_chars and len(text) <= max_chars * 4:
        return line
    cut = line[: max_chars - 1]
    space = cut.rfind(" ", max_chars // 2)
    return (cut[:space] if space > 0 else cut).rstrip() + "…"


def context_line(title: str, headings: tuple[str, ...]) -> str:
    """`Title > Heading > Subheading`, clipped; empty where there is neither title nor heading."""
    parts = [clipped(title, MAX_TITLE_CHARS)] if title else []
    parts += [clipped(heading, MAX_HEADING_CHARS) for heading in headings]
    return SEPARATOR.join(part for part in parts if part)


def embedding_text(title: str, headings: tuple[str, ...], text: str) -> str:
    """What the model sees of a chunk: a line of context, if there is any, above `text`.

    A title that `text` itself opens with is not repeated. Without a token counter the context is
    limited in characters only; `chunk_document` limits it in tokens as well.
    """
    line = context_line("" if opens_with(text, title) else title, headings)
    return f"{line}\n{text}" if line else text


def opens_with(text: str, title: str) -> bool:
    """Whether the first words of `text`, markup aside, are the title."""
    return bool(title) and text.lstrip("#=*-~ \n\t").startswith(title)


@dataclass(frozen=True, slots=True)
class Context:
    """What goes above a chunk's text, cut to its budget, and its `cost` in tokens."""

    title: str
    headings: tuple[str, ...]
    cost: int

    def above(self, text: str) -> str:
        """`embedding_text` of a chunk under this context."""
        return embedding_text(self.title, self.headings, text)


def fitting_contexts(
    title: str, paths: Iterable[tuple[str, ...]], *, tokens: TokenCounter, overhead: int, budget: int
) -> dict[tuple[str, ...], Context]:
    """For each path of headings the fullest context of at most `budget` tokens.

    `overhead` is what the tokenizer counts for an empty text. One call of the counter per step of cutting.
    """
    fitting: dict[tuple[str, ...], Context] = {}
    open_paths = list(dict.fromkeys(paths))
    for step in range(_STEPS):
        candidates = [_shortened(title, path, step) for path in open_paths]
        lines = [context_line(*candidate) for candidate in candidates]
        # the line break is counted too: some tokenizers have a token for it
        counts = count_in_batches(tokens, [f"{line}\n" if line else "" for line in lines])
        for path, candidate, count in zip(open_paths, candidates, counts, strict=True):
            if count - overhead <= budget:
                fitting[path] = Context(*candidate, count - overhead)
        open_paths = [path for path in open_paths if path not in fitting]
        if not open_paths:
            break
    return fitting | {path: Context("", (), 0) for path in open_paths}


_STEPS = 4


def _shortened(title: str, path: tuple[str, ...], step: int) -> tuple[str, tuple[str, ...]]:
    """Title and headings after `step` steps: all; the nearest heading only; half as long; an eighth."""
    if step == 0:
        return title, path
    chars = (MAX_TITLE_CHARS, MAX_TITLE_CHARS // 2, MAX_TITLE_CHARS // 8)[step - 1]
    return clipped(title, chars), tuple(clipped(heading, chars) for heading in path[-1:])
