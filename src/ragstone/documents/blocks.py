"""From a child's message to a `ParsedDocument`, believing nothing the child says."""

from __future__ import annotations

import base64
from typing import Any

from ragstone.errors import DocumentError
from ragstone.types import Block, BlockKind, MetadataValue, ParsedDocument

MAX_IMAGE_BYTES = 8_000_000  # 2 million pixels that do not pack take 6
_KINDS = {kind.value: kind for kind in BlockKind}


_CODES = frozenset(
    {
        "encrypted",
        "no_text",
        "malformed",
        "too_large",
        "bomb_suspected",
        "unsupported",
        "timeout",
        "unreadable",
    }
)


def document_from(reply: Any) -> ParsedDocument:
    """The document in a child's reply, which is JSON.

    Raises the `DocumentError` in it; `malformed` for a reply or document that breaks a promise.
    """
    try:
        _raise_error_in(reply)
        message = reply["document"]
        document = ParsedDocument(
            text=_text(message["text"]),
            blocks=tuple(
                Block(_KINDS[kind], start, end, level, page, time_s)
                for kind, start, end, level, page, time_s in message["marks"]
            ),
            title=_text(message["title"]),
            format=_text(message["format"]),
            metadata={_text(name): _value(value) for name, value in message["metadata"].items()},
        )
        check_blocks(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DocumentError(f"the reader's result is not a document: {error}") from error
    return document


def image_from(reply: Any) -> bytes:
    """The picture in a child's reply, which is JSON: PNG, of at most 8 MB. Raises as `document_from` does."""
    try:
        _raise_error_in(reply)
        image = base64.b64decode(reply["png"], validate=True)
        if not image.startswith(b"\x89PNG\r\n\x1a\n") or len(image) > MAX_IMAGE_BYTES:
            raise ValueError(f"{len(image)} bytes that are no PNG, or too many")
    except (KeyError, TypeError, ValueError) as error:
        raise DocumentError(f"the reader's result is not a picture: {error}") from error
    return image


def _raise_error_in(reply: Any) -> None:
    if "error" in reply:
        code, error_message, hint = map(_text, reply["error"])
        raise DocumentError(error_message, hint=hint, code=code if code in _CODES else "malformed")


def check_blocks(document: ParsedDocument) -> None:
    """Raises `ValueError` naming the first block that breaks a promise of `ParsedDocument`.

    Blocks lie in the text, ascend, do not overlap, start and end on characters that are not white space, and
    only white space lies between and around them; levels, pages and times are in range.
    """
    text, position = document.text, 0
    for index, block in enumerate(document.blocks):
        if not position <= block.start < block.end <= len(text):
            raise ValueError(f"block {index} spans {block.start}:{block.end} after {position} of {len(text)}")
        if block.start > position and not text[position : block.start].isspace():
            raise ValueError(f"text before block {index} at {position} is in no block")
        if text[block.start].isspace() or text[block.end - 1].isspace():
            raise ValueError(f"block {index} starts or ends with white space")
        level_fits = 1 <= block.level <= 6 if block.kind is BlockKind.HEADING else block.level == 0
        if not level_fits or (block.page is not None and block.page < 1):
            raise ValueError(f"block {index} has level {block.level} and page {block.page}")
        if block.time_s is not None and not 0 <= block.time_s < 1e9:
            raise ValueError(f"block {index} starts at {block.time_s} s")
        position = block.end
    if text[position:].strip():
        raise ValueError(f"text after the last block, at {position}, is in no block")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of text")
    if not value.isascii():
        value.encode()  # a lone surrogate is a ValueError here instead of a failure in every store later
    return value


def _value(value: Any) -> MetadataValue:
    if isinstance(value, int | float | bool):
        return value
    return _text(value)
