"""Mail: the headers people search by, the body, and the names of what is attached."""

from __future__ import annotations

from email import policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction, Outline, Value
from ragstone.documents.readers.html import add_page
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

_HEADERS: Final = ("from", "to", "cc", "subject", "date")
# The header parsers of the standard library take quadratic time: 4,000 characters are a recipient list of 100 people.
_HEADER_CHARS: Final = 4_000
# Parts within parts cost the parser time by their square, too; a long thread of forwarded mails has some dozens.
_MAX_PARTS: Final = 500


def read(source: Source) -> Draft:
    """Headers as one block, then the body. Raises `DocumentError` (`malformed`) for what has no mail headers."""
    if source.data.lower().count(b"multipart/") > _MAX_PARTS:
        raise DocumentError(f"the mail has more than {_MAX_PARTS} parts within parts")
    # compat32: the newer policies parse every header in full, with recursion
    message: Message[Any, Any] = BytesParser(policy=policy.compat32).parsebytes(source.data)
    headers = {name: _header(message, name) for name in _HEADERS}
    if not any(headers.values()):
        raise DocumentError("the file has none of the headers that a mail has")
    found = Extraction(text_chars=source.limits.text_chars)
    found.paragraph("\n".join(f"{name.capitalize()}: {value}" for name, value in headers.items() if value))
    _body(message, found)
    attached = _attached(message)
    if attached:
        found.paragraph(f"Attached: {', '.join(attached)}")
    found.title = headers["subject"]
    found.metadata = _metadata(headers, attached)
    return found.draft()


def _metadata(headers: dict[str, str], attached: list[str]) -> dict[str, Value]:
    metadata: dict[str, Value] = {name: headers[name] for name in ("from", "to", "cc") if headers[name]}
    if headers["from"]:
        metadata["author"] = headers["from"]
    if day := _day(headers["date"]):
        metadata["date"] = day
    if attached:
        metadata["attachments"] = ", ".join(attached)
    return metadata


def _header(message: Message[Any, Any], name: str) -> str:
    """A header's words, decoded; as they are where the encoding is broken."""
    raw = str(message.get(name, ""))[:_HEADER_CHARS]
    try:
        words = str(make_header(decode_header(raw)))
    except (ValueError, LookupError, MessageError):  # such as an unknown charset
        words = raw
    return " ".join(words.split())


def _day(date: str) -> str:
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def _body(message: Message[Any, Any], found: Extraction) -> None:
    """The first part that is plain text, else the first page; attachments are not read."""
    parts = [
        part for part in message.walk() if part.get_content_maintype() == "text" and not part.get_filename()
    ]
    plain = next((part for part in parts if part.get_content_subtype() == "plain"), None)
    page = next((part for part in parts if part.get_content_subtype() == "html"), None)
    if plain is not None and (text := _text(plain)).strip():
        for mark in Outline(text).draft().marks:
            found.paragraph(text[mark.start : mark.end])
    elif page is not None:
        add_page(_text(page), found)


def _text(part: Message[Any, Any]) -> str:
    payload = part.get_payload(decode=True)
    return decode(payload, declared=part.get_content_charset() or "") if isinstance(payload, bytes) else ""


def _attached(message: Message[Any, Any]) -> list[str]:
    """File names of attachments, also of forwarded mails."""
    return [" ".join(str(name).split()) for part in message.walk() if (name := part.get_filename())]
