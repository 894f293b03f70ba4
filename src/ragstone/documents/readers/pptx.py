"""PowerPoint files: one page a slide in order, with its tables and speaker's notes."""

from __future__ import annotations

from typing import Any

from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.office import Package
from ragstone.documents.readers.source import Source
from ragstone.documents.safe_xml import attribute, local, text_of


def read(source: Source) -> Draft:
    """The slides' text; `page` is the slide's number."""
    package = Package(source)
    main = package.main_part("ppt/presentation.xml")
    related = package.related(main)
    found = Extraction(text_chars=source.limits.text_chars)
    slides = [element for element in package.xml(main).iter() if local(element) == "sldId"]
    titles: list[str] = []
    for number, slide in enumerate(slides, 1):
        identity = next((value for key, value in slide.items() if key.endswith("}id")), "")
        kind, part = related.get(identity, ("", ""))
        if kind == "slide" and package.has(part):
            found.page = number
            titles.append(_slide(package, part, found))
    package.describe(found)
    found.title = next(filter(None, titles), "") or found.title
    return found.draft()


def _slide(package: Package, part: str, found: Extraction) -> str:
    """Add one slide; returns its title."""
    shapes = [shape for shape in package.xml(part).iter() if local(shape) in {"sp", "graphicFrame"}]
    titles = [shape for shape in shapes if _placeholder(shape) in {"title", "ctrTitle"}]
    title = ""
    for shape in titles:
        text = " ".join(filter(None, (_line(line) for line in _paragraphs(shape))))
        title = title or text
        found.heading(text, 1)
    for shape in shapes:
        if shape in titles or _placeholder(shape) in {"sldNum", "dt", "ftr"}:
            continue
        if local(shape) == "graphicFrame":
            _table(shape, found)
        else:
            _text(shape, found)
    for kind, target in package.related(part).values():
        if kind == "chart" and package.has(target):
            _chart(package.xml(target), found)
        if kind == "notesSlide" and package.has(target):
            _notes(package.xml(target), found)
    return title


def _text(shape: Any, found: Extraction) -> None:
    lines = [line for line in _paragraphs(shape) if _line(line)]
    if _placeholder(shape) in {"body", "obj", "subTitle", ""} and len(lines) > 1:
        for line in lines:
            level = next((part.get("lvl", "0") for part in line if local(part) == "pPr"), "0")
            found.item(_line(line), depth=int(level) if level.isdecimal() else 0)
    else:
        found.paragraph("\n".join(_line(line) for line in lines))


def _table(frame: Any, found: Extraction) -> None:
    """A table's rows; of a chart or diagram inside the slide, whatever text it has."""
    for row in frame.iter():
        if local(row) == "tr":
            cells = (
                " ".join(_line(line) for line in _paragraphs(cell)) for cell in row if local(cell) == "tc"
            )
            found.row(" | ".join(cell for cell in cells if cell.strip()))


def _chart(root: Any, found: Extraction) -> None:
    """A chart's title, and each series with its name and its values under their categories."""
    titles = [element for element in root.iter() if local(element) == "title"]
    for title in titles:
        found.paragraph(" ".join(filter(None, (_line(line) for line in _paragraphs(title)))))
    for series in root.iter():
        if local(series) == "ser":
            parts = {local(part): [text_of(e) for e in part.iter() if local(e) == "v"] for part in series}
            names, values = parts.get("cat", []), parts.get("val", [])
            shown = [f"{name}: {value}" for name, value in zip(names, values, strict=False)] or values
            found.row("; ".join([*parts.get("tx", []), *shown]))


def _notes(root: Any, found: Extraction) -> None:
    for shape in root.iter():
        if local(shape) == "sp" and _placeholder(shape) == "body":
            text = "\n".join(filter(None, (_line(line) for line in _paragraphs(shape))))
            if text:
                found.paragraph(f"Notes: {text}")


def _placeholder(shape: Any) -> str:
    """What a shape stands for on its slide: `title`, `body`, …; '' for a free shape."""
    for element in shape.iter():
        name = local(element)
        if name == "ph":
            return attribute(element, "type") or "obj"
        if name == "txBody":
            break
    return ""


def _paragraphs(shape: Any) -> list[Any]:
    return [element for element in shape.iter() if local(element) == "p"]


def _line(paragraph: Any) -> str:
    parts = []
    for element in paragraph.iter():
        if local(element) == "t":
            parts.append(text_of(element))
        elif local(element) == "br":
            parts.append(" ")
    return "".join(parts).strip()
