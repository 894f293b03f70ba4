"""Word documents: body in order with headings, lists and tables, then notes and comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.equations import linear
from ragstone.documents.readers.office import Package
from ragstone.documents.readers.source import Source
from ragstone.documents.safe_xml import attribute, local

# Containers whose content belongs to the text around them. `del` and `moveFrom` are text that was taken out.
_TRANSPARENT: Final = frozenset(
    {
        "body",
        "sdt",
        "sdtContent",
        "ins",
        "moveTo",
        "smartTag",
        "customXml",
        "hyperlink",
        "fldSimple",
        "r",
        "dir",
        "bdo",
    }
    | {"footnote", "endnote", "comment", "txbxContent"}
)


def read(source: Source) -> Draft:
    """The document's text in reading order."""
    package = Package(source)
    main = package.main_part("word/document.xml")
    related = dict(package.related(main).values())
    found = Extraction(text_chars=source.limits.text_chars)
    reader = _Reader(found, _styles(package, related), _bullets(package, related))
    for element in package.xml(main):
        reader.add(element)
    for kind in ("footnotes", "endnotes", "comments"):
        if kind in related and package.has(related[kind]):
            reader.add_notes(package.xml(related[kind]))
    package.describe(found)
    found.title = reader.title or found.title or reader.first_heading
    return found.draft()


@dataclass(slots=True)
class _Style:
    """A paragraph style: `level` of a heading (0 for the title, None for text), list id ('' for none), depth in it."""

    level: int | None = None
    list_id: str = ""
    depth: int = 0
    based_on: str = ""


def _styles(package: Package, related: dict[str, str]) -> dict[str, _Style]:
    """The styles by id; what a style does not say, the one that it is based on says."""
    if not package.has(related.get("styles", "")):
        return {}
    styles: dict[str, _Style] = {}
    for element in package.xml(related["styles"]):
        styles[attribute(element, "styleId")] = _style(element)
    for style in styles.values():
        ancestor, steps = styles.get(style.based_on), 0
        while ancestor is not None and steps < 10:  # the chain may be a circle
            if style.level is None:
                style.level = ancestor.level
            if not style.list_id:
                style.list_id, style.depth = ancestor.list_id, ancestor.depth
            ancestor, steps = styles.get(ancestor.based_on), steps + 1
    return styles


def _style(root: Any) -> _Style:
    style = _Style()
    for element in root.iter():
        name, value = local(element), attribute(element, "val")
        if name == "name" and value.lower() == "title":
            style.level = 0
        elif name == "name" and value.lower().startswith("heading ") and value[8:].isdecimal():
            style.level = int(value[8:])
        elif name == "outlineLvl" and value.isdecimal() and int(value) < 9 and style.level is None:
            style.level = int(value) + 1
        elif name == "numId" and value != "0":
            style.list_id = value
        elif name == "ilvl" and value.isdecimal():
            style.depth = min(int(value), 8)
        elif name == "basedOn":
            style.based_on = value
    return style


def _bullets(package: Package, related: dict[str, str]) -> dict[tuple[str, int], str]:
    """(list id, depth) → the list's number format, such as `bullet` or `decimal`."""
    if not package.has(related.get("numbering", "")):
        return {}
    formats: dict[tuple[str, int], str] = {}
    abstract: dict[str, list[tuple[int, str]]] = {}
    for element in package.xml(related["numbering"]):
        if local(element) == "abstractNum":
            levels = abstract.setdefault(attribute(element, "abstractNumId"), [])
            for level in element:
                depth = attribute(level, "ilvl")
                for part in level:
                    if local(part) == "numFmt" and depth.isdecimal():
                        levels.append((int(depth), attribute(part, "val")))
        elif local(element) == "num":
            for part in element:
                if local(part) == "abstractNumId":
                    for depth_number, number_format in abstract.get(attribute(part, "val"), []):
                        formats[attribute(element, "numId"), depth_number] = number_format
    return formats


class _Reader:
    def __init__(
        self, found: Extraction, styles: dict[str, _Style], formats: dict[tuple[str, int], str]
    ) -> None:
        self.title = ""
        self.first_heading = ""
        self._found = found
        self._styles = styles
        self._formats = formats
        self._counters: dict[tuple[str, int], int] = {}

    def add(self, element: Any) -> None:
        """One element of the body; the parser bounds the depth."""
        name = local(element)
        if name == "p":
            self._paragraph(element)
        elif name == "tbl":
            self._table(element)
        elif name in _TRANSPARENT:
            for child in element:
                self.add(child)

    def add_notes(self, root: Any) -> None:
        """Footnotes, endnotes or comments; the separators Word keeps among them have a type."""
        for note in root:
            if not attribute(note, "type"):
                text = "\n".join(_paragraph_text(part) for part in note.iter() if local(part) == "p")
                author = attribute(note, "author") if local(note) == "comment" else ""
                self._found.paragraph(f"{author}: {text}" if author and text.strip() else text)

    def _paragraph(self, paragraph: Any) -> None:
        text = _paragraph_text(paragraph)
        if text.strip():
            self._say(paragraph, text)
        for box in _text_boxes(paragraph):
            for element in box:
                self.add(element)

    def _say(self, paragraph: Any, text: str) -> None:
        name, numbering, outline = _properties(paragraph)
        style = self._styles.get(name, _Style())
        level = outline if outline is not None else style.level
        if numbering is None and style.list_id:
            numbering = style.list_id, style.depth
        if level == 0:
            self.title = self.title or text
            self._found.heading(text, 1)
        elif level is not None:
            self.first_heading = self.first_heading or text
            self._found.heading(text, level)
        elif numbering is not None:
            identity, depth = numbering
            self._found.item(text, marker=self._marker(identity, depth), depth=depth)
        elif "code" in name.lower() or "preformatted" in name.lower():
            self._found.code(text)
        else:
            self._found.paragraph(text)

    def _marker(self, identity: str, depth: int) -> str:
        if self._formats.get((identity, depth), "bullet") in {"bullet", "none"}:
            return "- "
        count = self._counters.get((identity, depth), 0) + 1
        self._counters[identity, depth] = count
        for deeper in [key for key in self._counters if key[0] == identity and key[1] > depth]:
            del self._counters[deeper]
        return f"{count}. "

    def _table(self, table: Any) -> None:
        """Rows as `cell | cell`; a row with one filled cell is layout, its paragraphs stand for themselves."""
        for row in _below(table, "tr"):
            cells = list(_below(row, "tc"))
            texts = [" ".join(_cell_text(cell).split()) for cell in cells]
            filled = [at for at, text in enumerate(texts) if text]
            if len(filled) == 1:
                for element in cells[filled[0]]:
                    self.add(element)
            else:
                self._found.row(" | ".join(text for text in texts if text))


def _below(element: Any, name: str) -> Iterator[Any]:
    """The nearest descendants called `name`, through containers that mean nothing."""
    for child in element:
        if local(child) == name:
            yield child
        elif local(child) in {"sdt", "sdtContent", "ins", "customXml"}:
            yield from _below(child, name)


def _cell_text(cell: Any) -> str:
    return " ".join(_paragraph_text(part) for part in cell.iter() if local(part) == "p")


def _properties(paragraph: Any) -> tuple[str, tuple[str, int] | None, int | None]:
    """Style id, (list id, depth) and outline level + 1 of a paragraph."""
    style, identity, depth, outline = "", "", 0, None
    for element in paragraph[0].iter() if len(paragraph) and local(paragraph[0]) == "pPr" else ():
        name, value = local(element), attribute(element, "val")
        if name == "pStyle":
            style = value
        elif name == "numId" and value != "0":
            identity = value
        elif name == "ilvl" and value.isdecimal():
            depth = min(int(value), 8)
        elif name == "outlineLvl" and value.isdecimal() and int(value) < 9:
            outline = int(value) + 1
    return style, (identity, depth) if identity else None, outline


def _paragraph_text(paragraph: Any) -> str:
    parts: list[str] = []
    _gather(paragraph, parts)
    return "".join(parts)


def _gather(element: Any, parts: list[str]) -> None:
    for child in element:
        name = local(child)
        if name == "t":
            parts.append(child.text or "")
        elif name in {"tab", "ptab"}:
            parts.append("\t")
        elif name in {"br", "cr"}:
            parts.append("\n")
        elif name == "noBreakHyphen":
            parts.append("-")
        elif name in {"oMath", "oMathPara"}:
            parts.append(linear(child))
        elif name in _TRANSPARENT and name != "txbxContent":
            _gather(child, parts)


def _text_boxes(paragraph: Any) -> Iterator[Any]:
    """Text boxes anchored in a paragraph, each once: Word keeps a second copy for older programs."""
    for element in paragraph.iter():
        if local(element) == "txbxContent" and not any(
            local(ancestor) in {"Fallback", "txbxContent"} for ancestor in element.iterancestors()
        ):
            yield element
