"""Bytes become text: byte order mark, UTF-8, UTF-16, a declared charset, then a bounded guess."""

from __future__ import annotations

import codecs
import re

from ragstone.documents.draft import clean
from ragstone.errors import DocumentError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark starts with the same bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# 64 KiB decide about a whole file: the guess takes 20 ms on that and grows with it.
_SAMPLE_BYTES = 65_536
# Broken sequences per UTF-8 text that are taken for damage, not for another charset: one in 1,000 characters.
_DAMAGE_SHARE = 0.001
# Control characters beyond which a text is garbage: real texts have none or a few form feeds and escapes.
_CONTROL_SHARE = 0.02
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(data: bytes, *, declared: str = "") -> str:
    """The text in `data` without byte order mark, line ends as `\\n`, controls as spaces.

    `declared` is a charset the file itself names; it is tried after byte order mark and UTF-8. Raises
    `DocumentError` (`malformed`) for what is no text in any charset.
    """
    text = _decoded(data, declared)
    sample = text[:_SAMPLE_BYTES]
    if len(_CONTROLS.findall(sample)) > _CONTROL_SHARE * len(sample):
        raise DocumentError("the file is binary, not text")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return clean(text)


def known_charset(name: str) -> str:
    """Python's name of a text charset, '' if it has none (or it is a transformation such as `hex`)."""
    try:
        info = codecs.lookup(name.strip()[:40])
    except (LookupError, ValueError):
        return ""
    return info.name if getattr(info, "_is_text_encoding", True) else ""


def _decoded(data: bytes, declared: str) -> str:
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(charset, "replace")
    wide = _wide_charset(data[:4_096])
    if wide:
        return data.decode(wide, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    charset = known_charset(declared)
    if charset and charset != "utf-8":
        return data.decode(charset, "replace")
    text = data.decode("utf-8", "replace")
    beyond_ascii = sum(1 for character in text[:_SAMPLE_BYTES] if character > "\x7f")
    broken = text.count("\ufffd")
    if broken <= max(1, _DAMAGE_SHARE * len(text)) and beyond_ascii > 4 * broken:
        return text
    return data.decode(_guessed(data[:_SAMPLE_BYTES]), "replace")


def _wide_charset(sample: bytes) -> str:
    """UTF-16 without a mark: nearly every second byte of Latin text is NUL."""
    if sample.count(0) < len(sample) // 4:
        return ""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.4 * len(sample) and even < 0.05 * len(sample):
        return "utf-16-le"
    if even > 0.4 * len(sample) and odd < 0.05 * len(sample):
        return "utf-16-be"
    return ""


def _guessed(sample: bytes) -> str:
    if sample.count(0):
        raise DocumentError("the file is binary, not text")
    from charset_normalizer import from_bytes

    best = from_bytes(sample, steps=5, chunk_size=2_048, threshold=0.2).best()
    return best.encoding if best is not None else "cp1252"
