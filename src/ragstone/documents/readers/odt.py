"""OpenDocument texts: headings, paragraphs, lists and tables in order; flat files as well."""

from __future__ import annotations

from typing import Any, Final

from ragstone.documents.archives import Archive
from ragstone.documents.draft import Draft, Extraction, Value
from ragstone.documents.readers.front_matter import normalised
from ragstone.documents.readers.source import Source
from ragstone.documents.safe_xml import attribute, local, parse, text_of
from ragstone.errors import DocumentError

_LEFT_OUT: Final = frozenset(
    {"tracked-changes", "sequence-decls", "annotation-end", "forms", "table-of-content"}
)


def read(source: Source) -> Draft:
    """The document's text in reading order."""
    found = Extraction(text_chars=source.limits.text_chars)
    if source.data.startswith(b"PK"):
        archive = Archive(source.data, source.limits)
        if "META-INF/manifest.xml" in archive.names and b"encryption-data" in archive.read(
            "META-INF/manifest.xml"
        ):
            raise DocumentError("the file is encrypted", hint="remove the password", code="encrypted")
        root = parse(archive.read("content.xml"))
        meta = parse(archive.read("meta.xml")) if "meta.xml" in archive.names else None
    else:
        root = meta = parse(source.data)
    for body in root.iter():
        if local(body) == "body":
            _add(body, found, depth=0)
            break
    if meta is not None:
        _describe(meta, found)
    return found.draft()


def _describe(meta: Any, found: Extraction) -> None:
    names = {"creator": "author", "initial-creator": "author", "date": "modified", "creation-date": "date"}
    names |= {"keyword": "tags", "language": "language", "description": "description", "subject": "subject"}
    properties: dict[str, Value] = {}
    for element in meta.iter():
        name, text = local(element), text_of(element).strip()
        if name == "title" and text:
            found.title = text
        elif name in names and text:
            properties.setdefault(names[name], text[:10] if name == "date" else text)
        elif name == "body":
            break
    found.metadata = normalised(properties)


def _add(element: Any, found: Extraction, *, depth: int, marker: str = "") -> None:
    """Everything in `element`; the parser bounds the recursion. `depth` counts lists."""
    for child in element:
        name = local(child)
        if name == "h":
            level = attribute(child, "outline-level")
            text = _text(child)
            found.title = found.title or text
            found.heading(text, int(level) if level.isdecimal() else 1)
        elif name == "p":
            _paragraph(child, found, depth=depth, marker=marker)
            marker = "  " if marker else ""
        elif name == "list":
            _add(child, found, depth=depth + 1)
        elif name in {"list-item", "list-header"}:
            _add(child, found, depth=depth, marker="- ")
        elif name == "table-row":
            cells = (" ".join(text_of(cell).split()) for cell in child if local(cell) == "table-cell")
            found.row(" | ".join(filter(None, cells)))
        elif name and name not in _LEFT_OUT:
            _add(child, found, depth=depth, marker=marker)


def _paragraph(element: Any, found: Extraction, *, depth: int, marker: str) -> None:
    text = _text(element)
    if attribute(element, "style-name").startswith("Preformatted"):
        found.code(text)
    elif depth:
        found.item(text, marker=marker or "  ", depth=depth - 1)
    else:
        found.paragraph(text)


def _text(element: Any) -> str:
    """Text with the spaces, tabs and line ends that OpenDocument writes as elements; notes stay in place."""
    return "".join(_pieces(element))


def _pieces(element: Any) -> list[str]:
    pieces = [element.text or ""]
    for child in element:
        name = local(child)
        if name == "s":
            count = attribute(child, "c")
            pieces.append(" " * min(int(count) if count.isdecimal() else 1, 1_000))
        elif name == "tab":
            pieces.append("\t")
        elif name == "line-break":
            pieces.append("\n")
        elif name:
            pieces += _pieces(child)
        pieces.append(child.tail or "")
    return pieces
