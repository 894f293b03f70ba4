"""Mail: the headers people search by, the body, and the names of what is attached."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser
from email.utils import parsedate_to_datetime

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction, Outline
from ragstone.documents.readers.html import add_page
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

_HEADERS = ("from", "to", "cc", "subject", "date")
# Deeper than any real mail; the parser itself recurses once a level.
_MAX_PARTS = 1_000


def read(source: Source) -> Draft:
    """Headers as one block, then the body. Raises `DocumentError` (`malformed`) for what has no mail headers."""
    message = BytesParser(policy=policy.default.clone(max_line_length=None)).parsebytes(source.data)
    headers = {name: _header(message, name) for name in _HEADERS}
    if not any(headers.values()):
        raise DocumentError("the file has none of the headers that a mail has")
    found = Extraction(text_chars=source.limits.text_chars)
    found.paragraph("\n".join(f"{name.capitalize()}: {value}" for name, value in headers.items() if value))
    found.metadata = {name: headers[name] for name in ("from", "to", "cc") if headers[name]}
    if headers["from"]:
        found.metadata["author"] = headers["from"]
    if day := _day(headers["date"]):
        found.metadata["date"] = day
    _body(message, found)
    attached = _attached(message)
    if attached:
        found.paragraph(f"Attached: {', '.join(attached)}")
        found.metadata["attachments"] = ", ".join(attached)
    found.title = headers["subject"]
    return found.draft()


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):  # the header parser's own bugs
        raw = next((value for key, value in message.raw_items() if key.lower() == name), "")
        return " ".join(str(raw).split())


def _day(date: str) -> str:
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def _body(message: EmailMessage, found: Extraction) -> None:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return
    text = _text(body)
    if body.get_content_subtype() == "html":
        title, metadata = found.title, found.metadata
        add_page(text, found)
        found.title, found.metadata = title, metadata
        return
    for mark in Outline(text).draft().marks:
        found.paragraph(text[mark.start : mark.end])


def _text(part: MIMEPart) -> str:
    payload = part.get_payload(decode=True)
    return decode(payload, declared=part.get_content_charset() or "") if isinstance(payload, bytes) else ""


def _attached(message: EmailMessage) -> list[str]:
    """File names of attachments, also of forwarded mails."""
    names = []
    for count, part in enumerate(message.walk()):
        if count >= _MAX_PARTS:
            break
        name = part.get_filename()
        if name:
            names.append(" ".join(str(name).split()))
    return names
