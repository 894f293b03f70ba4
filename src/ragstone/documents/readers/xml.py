"""XML of any vocabulary: text in order, with headings and paragraphs where the common vocabularies have them."""

from __future__ import annotations

from typing import Any, Final

from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.html import add_page
from ragstone.documents.readers.source import Source
from ragstone.documents.safe_xml import local, parse, text_of

# JATS, DocBook, TEI, DITA, feeds: what holds running text, what heads a section, what is about the document.
_PARAGRAPHS: Final = frozenset(
    {"p", "para", "simpara", "abstract-p", "ab", "l", "li", "listitem", "item-text", "description", "summary"}
    | {"dd", "dt", "caption", "note", "desc", "subtitle", "mixed-citation", "attrib", "term", "def", "media"}
)
_HEADINGS: Final = frozenset({"title", "article-title", "head", "heading", "bridgehead"})
_SECTIONS: Final = frozenset(
    {"sec", "section", "chapter", "part", "sect1", "sect2", "sect3", "sect4", "div", "abstract", "ack", "app"}
    | {"ref-list", "topic", "item", "entry", "appendix", "preface", "fn-group", "sub-article", "channel"}
)
_ROWS: Final = frozenset({"tr", "row"})
_CODE: Final = frozenset({"programlisting", "code", "screen", "codeblock", "preformat", "pre"})
# What programs tell each other in feeds and journal articles.
_LEFT_OUT: Final = frozenset(
    {
        "generator",
        "lastBuildDate",
        "updatePeriod",
        "updateFrequency",
        "guid",
        "width",
        "height",
        "image",
        "post-id",
    }
    | {
        "journal-id",
        "issn",
        "article-id",
        "elocation-id",
        "counts",
        "self-uri",
        "custom-meta-group",
        "permissions",
    }
    | {"object-id", "email", "history", "xref", "contrib-id"}
)
_RECORD_CHARS: Final = 400
_VALUE_CHARS: Final = 200
_MARKUP: Final = frozenset({"description", "encoded", "content", "summary"})  # feeds carry HTML in these


def read(source: Source) -> Draft:
    """The text of every element. Raises `DocumentError`."""
    root = parse(source.data, doctype=True)
    if local(root) == "html":
        from ragstone.documents.readers import html

        return html.read(source)
    found = Extraction(text_chars=source.limits.text_chars)
    _add(root, found)
    found.title = _title(root)
    language = root.get("{http://www.w3.org/XML/1998/namespace}lang")
    if language:
        found.metadata["language"] = language
    return found.draft()


def _title(root: Any) -> str:
    """The first title among the first elements."""
    for count, element in enumerate(root.iter()):
        if local(element) in {"article-title", "title"} and text_of(element).strip():
            return text_of(element)
        if count > 500:
            break
    return ""


def _add(root: Any, found: Extraction) -> None:
    """Depth is bounded by the parser (256), so is the stack."""
    stack: list[tuple[Any, int]] = [(root, 1)]
    while stack:
        element, level = stack.pop()
        name = local(element)
        if not name or name in _LEFT_OUT:
            continue
        if name in _MARKUP and "<" in (element.text or ""):
            add_page(element.text, found)
        elif name in _HEADINGS:
            found.heading(text_of(element), level)
        elif name in _ROWS:
            found.row(" | ".join(filter(None, (" ".join(text_of(cell).split()) for cell in element))))
        elif name in _CODE:
            found.code(text_of(element))
        elif _is_record(element, name):
            values = ((local(child), " ".join(text_of(child).split())) for child in element)
            found.row("; ".join(f"{key}: {value}" for key, value in values if value))
        elif name in _PARAGRAPHS or len(element) == 0 or _is_mixed(element):
            _add_text(element, name, found)
        else:
            below = level + 1 if name in _SECTIONS else level
            stack += [(child, below) for child in reversed(element)]


def _add_text(element: Any, name: str, found: Extraction) -> None:
    """Running text; short values keep their element's name, which often is all that says what they are."""
    text = " ".join(text_of(element).split())
    if name in _PARAGRAPHS or len(text) > _VALUE_CHARS:
        found.paragraph(text)
    elif text and not _repeats(element.getprevious(), name):
        values = [text]
        following = element.getnext()
        while following is not None and _repeats(following, name):
            values.append(" ".join(text_of(following).split()))
            following = following.getnext()
        found.paragraph(f"{name}: {', '.join(values)}")


def _repeats(element: Any, name: str) -> bool:
    """True for a neighbour that holds another short value of the same name."""
    return (
        element is not None and local(element) == name and 0 < len(text_of(element).strip()) <= _VALUE_CHARS
    )


def _is_record(element: Any, name: str) -> bool:
    """True for a few short values side by side, such as a name in its parts or one entry of a list."""
    if len(element) < 2 or name in _PARAGRAPHS or name in _SECTIONS or _is_mixed(element):
        return False
    flat = all(len(child) == 0 and local(child) not in _PARAGRAPHS for child in element)
    return flat and sum(len(child.text or "") for child in element) <= _RECORD_CHARS


def _is_mixed(element: Any) -> bool:
    """True for an element with text between its children."""
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)
