"""Subtitles, SubRip and WebVTT: one block a cue, with the second it starts at."""

from __future__ import annotations

import re
from typing import Final

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

_TIME: Final = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING: Final = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}")
_TAG: Final = re.compile(r"</?[a-zA-Z][^<>\n]{0,200}>|<\d[\d:.]{3,15}>|\{\\[^{}\n]{0,100}\}")
_VOICE: Final = re.compile(r"<v(?:\.[\w.]{1,50})?[ \t]+([^<>\n]{1,100})>")


def read(source: Source) -> Draft:
    """The cues in order of the file; consecutive cues with the same words are one."""
    lines = decode(source.data).split("\n")
    found = Extraction(text_chars=source.limits.text_chars)
    timings = [(at, match) for at, line in enumerate(lines) if (match := _TIMING.match(line))]
    if not timings:
        raise DocumentError("the subtitles have no cue with a time")
    previous = ""
    for at, match in timings:
        end = at + 1
        while end < len(lines) and lines[end].strip() and not _TIMING.match(lines[end]):
            end += 1
        words = _words("\n".join(lines[at + 1 : end]))
        if words and words != previous:
            found.cue(words, time_s=_seconds(match))
        previous = words or previous
    return found.draft()


def _words(text: str) -> str:
    import html

    return html.unescape(_TAG.sub("", _VOICE.sub(r"\1: ", text)))


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds, fraction = match.groups()[:4]
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
