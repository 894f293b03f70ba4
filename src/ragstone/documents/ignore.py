"""Ignore files: the patterns of `.gitignore` and `.ragstoneignore`, with git's meaning.

Own translation instead of a library's: patterns and names both come from outside, and the usual regular
expression for `*a*a*a*b` takes exponential time. Here every `*` but the last is atomic (the leftmost match of
a piece is always as good as any other), so a match costs at most pattern length × name length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

IGNORE_FILES = (".gitignore", ".ragstoneignore")  # the later one wins where both speak
# 64 KiB and 2,000 patterns: real ignore files stay below 10 KiB; more would only slow the walk.
MAX_BYTES = 65_536
MAX_PATTERNS = 2_000


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    negated: bool
    folders_only: bool
    by_name: bool  # matched against the name; otherwise against the path below the ignore file


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The patterns of one folder; `decide` says what they say about an entry below it."""

    patterns: tuple[_Pattern, ...]
    any_name: re.Pattern[str] | None  # one alternation for all: most names match nothing
    any_path: re.Pattern[str] | None

    def decide(self, name: str, path: str, *, is_folder: bool) -> bool | None:
        """True: ignored, False: taken back by `!`, None: not spoken of. `path` is relative, with `/`."""
        hit = self.any_name is not None and self.any_name.match(name)
        if not hit and not (self.any_path is not None and self.any_path.match(path)):
            return None
        for pattern in reversed(self.patterns):
            if pattern.folders_only and not is_folder:
                continue
            if pattern.regex.match(name if pattern.by_name else path):
                return not pattern.negated
        return None


def read_rules(folder: Path, names: tuple[str, ...]) -> IgnoreRules | None:
    """The rules of the ignore files `names` in `folder`, None if they hold no pattern.

    Only the first 64 KiB of a file count; a file that cannot be read is no rule. Raises nothing.
    """
    lines: list[str] = []
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                lines += file.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            continue
    return parse_rules(lines)


def parse_rules(lines: list[str]) -> IgnoreRules | None:
    """The rules that `lines` spell, None if there are none; lines that no pattern can match are left out."""
    patterns = [pattern for line in lines[:MAX_PATTERNS] if (pattern := _parse(line)) is not None]
    if not patterns:
        return None
    return IgnoreRules(
        tuple(patterns),
        _alternation([pattern for pattern in patterns if pattern.by_name]),
        _alternation([pattern for pattern in patterns if not pattern.by_name]),
    )


def _alternation(patterns: list[_Pattern]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{pattern.regex.pattern})" for pattern in patterns), re.DOTALL)


def _parse(line: str) -> _Pattern | None:
    text = _without_trailing_spaces(line)
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[1:] if negated else text
    folders_only = text.endswith("/")
    text = text[:-1] if folders_only else text
    by_name = "/" not in text
    segments = text.removeprefix("/").split("/")
    if any(not segment for segment in segments):
        return None
    try:
        source = _segment(segments[0]) if by_name else _path(segments)
        regex = re.compile(source + r"\Z", re.DOTALL)
    except (re.error, ValueError, OverflowError):  # such as an unclosed class: git matches nothing either
        return None
    return _Pattern(regex, negated, folders_only, by_name)


def _without_trailing_spaces(line: str) -> str:
    text = line.rstrip(" \t\r")
    escapes = len(text) - len(text.rstrip("\\"))
    return text + " " if escapes % 2 and len(text) < len(line) else text


def _path(segments: list[str]) -> str:
    """A regular expression for a path; runs of segments stand between `**`s."""
    runs: list[list[str]] = [[]]
    for segment in segments:
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append(segment)
    sources = ["/".join(_segment(segment) for segment in run) for run in runs]
    first, *rest = sources
    if not rest:
        return first
    source = f"{first}/" if first else ""
    for middle in rest[:-1]:
        if middle:
            source += f"(?>(?:[^/]+/)*?{middle}/)"
    return source + (f"(?:[^/]+/)*{rest[-1]}" if rest[-1] else ".+")


def _segment(glob: str) -> str:
    """A regular expression for one path segment: `*`, `?`, `[…]` and back-slash escapes."""
    pieces: list[str] = [""]
    index = 0
    while index < len(glob):
        character = glob[index]
        if character == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append("")
        elif character == "?":
            pieces[-1] += "[^/]"
        elif character == "[":
            source, index = _character_class(glob, index)
            pieces[-1] += source
        elif character == "\\":
            index += 1
            if index == len(glob):
                raise ValueError("a back slash escapes nothing")
            pieces[-1] += re.escape(glob[index])
        else:
            pieces[-1] += re.escape(character)
        index += 1
    first, *rest = pieces
    if not rest:
        return first
    return first + "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1]) + f"[^/]*{rest[-1]}"


def _character_class(glob: str, start: int) -> tuple[str, int]:
    """The class that opens at `start`, as a regular expression, and the index of its closing bracket."""
    index = start + 1
    negated = glob[index : index + 1] in {"!", "^"}
    index += negated
    members = ""
    first = index
    while index < len(glob) and (glob[index] != "]" or index == first):
        escaped = glob[index] == "\\"
        index += escaped
        is_range = glob[index : index + 1] == "-" and not escaped and index > first
        members += "-" if is_range else re.escape(glob[index : index + 1])
        index += 1
    if index >= len(glob):
        raise ValueError("a class is not closed")
    return (f"[^/{members}]" if negated else f"(?!/)[{members}]"), index
