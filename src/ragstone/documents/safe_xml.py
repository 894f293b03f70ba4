"""XML from strangers: decoded here, so that nothing hides in a charset; no entities, no network, bounded depth."""

from __future__ import annotations

import re
from typing import Any, Final

from lxml import etree

from ragstone.documents.decode import decode
from ragstone.errors import DocumentError

_DECLARATION: Final = re.compile(r"\s*<\?xml[^<>]{0,300}\?>")
_ENCODING: Final = re.compile(rb"encoding\s{0,5}=\s{0,5}[\"']([A-Za-z0-9._-]{1,40})[\"']")


def parse(data: bytes, *, doctype: bool = False) -> Any:
    """The root element of the XML in `data`. With `doctype`, a DOCTYPE without entities is let through.

    Raises `DocumentError`: `malformed`, or `bomb_suspected` for declared entities (and, in Office files, any DOCTYPE).
    """
    declared = _ENCODING.search(data[:300])
    text = decode(data, declared=declared.group(1).decode() if declared else "")
    if match := _DECLARATION.match(text):
        text = text[match.end() :]  # it names a charset that the text no longer has
    if "<!ENTITY" in text:
        raise DocumentError("its XML declares entities", code="bomb_suspected")
    if not doctype and "<!DOCTYPE" in text:
        raise DocumentError("its XML has a DOCTYPE, which Office files never have", code="bomb_suspected")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,  # depth ≤ 256, text nodes ≤ 10 MB
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        if "memory" in str(error).lower():
            raise MemoryError from error
        raise DocumentError(f"its XML is not well-formed: {error}") from error
    return root


def local(element: Any) -> str:
    """An element's name without its namespace; '' for what is no element (entities, comments)."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """The first attribute of that name in any namespace, '' if there is none."""
    value = element.get(name)
    if value is not None:
        return str(value)
    for key, value in element.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def text_of(element: Any) -> str:
    """All text inside an element, in order."""
    return "".join(element.itertext())
