"""EPUB books: the chapters in the order of the spine, each read as the page it is."""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote

from ragstone.documents.archives import Archive
from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction, Value
from ragstone.documents.readers.front_matter import normalised
from ragstone.documents.readers.html import add_page
from ragstone.documents.readers.source import Source
from ragstone.documents.safe_xml import local, parse, text_of
from ragstone.errors import DocumentError


def read(source: Source) -> Draft:
    """The book's text in reading order. Raises `DocumentError`; `encrypted` for books with copy protection."""
    archive = Archive(source.data, source.limits)
    if "META-INF/rights.xml" in archive.names or "META-INF/sinf.xml" in archive.names:
        raise DocumentError("the book is copy-protected", code="encrypted")
    package_path = _package_path(archive)
    package = parse(archive.read(package_path), doctype=True)
    found = Extraction(text_chars=source.limits.text_chars)
    _describe(package, found)
    title = found.title
    for path in _spine(package, posixpath.dirname(package_path)):
        if path in archive.names:
            add_page(decode(archive.read(path)), found)
    found.title = title or found.title
    return found.draft()


def _package_path(archive: Archive) -> str:
    container = parse(archive.read("META-INF/container.xml"), doctype=True)
    for element in container.iter():
        if local(element) == "rootfile" and element.get("full-path") in archive.names:
            return str(element.get("full-path"))
    raise DocumentError("the book names no package that it has")


def _spine(package: Any, folder: str) -> list[str]:
    """The chapters' members in reading order."""
    pages = {
        item.get("id"): posixpath.normpath(
            posixpath.join(folder, unquote(item.get("href", "")).split("#")[0])
        )
        for item in package.iter()
        if local(item) == "item" and "html" in item.get("media-type", "")
    }
    order = [item.get("idref") for item in package.iter() if local(item) == "itemref"]
    return [pages[identity] for identity in order if identity in pages]


def _describe(package: Any, found: Extraction) -> None:
    names = {
        "creator": "author",
        "date": "date",
        "language": "language",
        "publisher": "publisher",
        "subject": "tags",
    }
    properties: dict[str, Value] = {}
    for element in package.iter():
        name, text = local(element), text_of(element).strip()
        if name == "title" and text:
            found.title = found.title or text
        elif name in names and text:
            properties.setdefault(names[name], text)
        elif name == "manifest":
            break
    found.metadata = normalised(properties)
