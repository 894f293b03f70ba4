"""Excel workbooks: one page a sheet, one block a row, each value under its column's name."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Iterator
from typing import Any, Final

from lxml import etree

from ragstone.documents.draft import Draft, Extraction
from ragstone.documents.readers.csv_rows import add_rows
from ragstone.documents.readers.office import Package
from ragstone.documents.readers.source import Source
from ragstone.documents.safe_xml import attribute, local
from ragstone.errors import DocumentError

# ECMA-376 part 1, 18.8.30: the built-in number formats that show a date or a time.
_DATES: Final = frozenset({14, 15, 16, 17, 22, 27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58})
_TIMES: Final = frozenset({18, 19, 20, 21, 32, 33, 34, 35, 45, 46, 47, 55, 56})
_PERCENT: Final = frozenset({9, 10})
_LITERAL: Final = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')
_EPOCH: Final = datetime.datetime(1899, 12, 30)
_EPOCH_1904: Final = datetime.datetime(1904, 1, 1)
_COLUMNS: Final = 16_384  # 18.3.1.4: the last column is XFD


def read(source: Source) -> Draft:
    """Every sheet's rows; `page` is the sheet's number, hidden sheets included."""
    package = Package(source)
    main = package.main_part("xl/workbook.xml")
    workbook = package.xml(main)
    related = package.related(main)
    parts = dict(related.values())
    texts = _shared_texts(package, parts.get("sharedStrings", ""))
    styles = _styles(package, parts.get("styles", ""))
    epoch = _EPOCH_1904 if any(attribute(e, "date1904") in {"1", "true"} for e in workbook) else _EPOCH
    found = Extraction(text_chars=source.limits.text_chars)
    sheets = [element for element in workbook.iter() if local(element) == "sheet"]
    for number, sheet in enumerate(sheets, 1):
        identity = next((value for key, value in sheet.items() if key.endswith("}id")), "")
        kind, part = related.get(identity, ("", ""))
        if kind == "worksheet" and package.has(part):
            found.page = number
            found.heading(sheet.get("name", f"Sheet {number}"), 1)
            add_rows(_rows(package.data(part), texts, styles, epoch), found)
    package.describe(found)
    draft = found.draft()
    if all(mark.kind == "heading" for mark in draft.marks):
        draft.marks.clear()  # names of empty sheets are no text
    return draft


def _elements(data: bytes, *names: str) -> Iterator[Any]:
    """Each element of these names as it ends, then forgotten: sheets can be far larger than memory allows."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise DocumentError("its XML has a DOCTYPE, which Office files never have", code="bomb_suspected")
    tags = [f"{{*}}{name}" for name in names]
    walk = etree.iterparse(
        io.BytesIO(data), events=("end",), tag=tags, resolve_entities=False, no_network=True, huge_tree=False
    )
    try:
        for _, element in walk:
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"its XML is not well-formed: {error}") from error


def _shared_texts(package: Package, part: str) -> list[str]:
    if not package.has(part):
        return []
    return [_rich_text(element) for element in _elements(package.data(part), "si")]


def _rich_text(element: Any) -> str:
    """The runs of a text, without the phonetic guides of Japanese ones."""
    return "".join(
        part.text or "" for part in element.iter() if local(part) == "t" and local(part.getparent()) != "rPh"
    )


def _styles(package: Package, part: str) -> list[str]:
    """For each cell style: `date`, `time`, `percent` or ''."""
    if not package.has(part):
        return []
    root = package.xml(part)
    custom = {
        attribute(e, "numFmtId"): attribute(e, "formatCode") for e in root.iter() if local(e) == "numFmt"
    }
    cells = next((element for element in root if local(element) == "cellXfs"), ())
    return [_shown_as(attribute(style, "numFmtId"), custom) for style in cells]


def _shown_as(identity: str, custom: dict[str, str]) -> str:
    number = int(identity) if identity.isdecimal() else 0
    if number in _DATES:
        return "date"
    if number in _TIMES:
        return "time"
    code = _LITERAL.sub("", custom.get(identity, "")[:200]).lower()
    if any(letter in code for letter in "yd"):
        return "date"
    if "h" in code or "ss" in code:
        return "time"
    return "percent" if number in _PERCENT or "%" in code else ""


def _rows(data: bytes, texts: list[str], styles: list[str], epoch: datetime.datetime) -> Iterator[list[str]]:
    for row in _elements(data, "row"):
        values: list[str] = []
        for cell in row:
            column = _column(cell.get("r", ""))
            if column is not None and len(values) < column < _COLUMNS:
                values += [""] * (column - len(values))
            values.append(_value(cell, texts, styles, epoch))
        yield values


def _column(reference: str) -> int | None:
    """0-based column of a reference such as `AB12`, None if there is none."""
    letters = reference.rstrip("0123456789")
    if not letters.isascii() or not letters.isupper() or len(letters) > 3:
        return None
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - 64
    return column - 1


def _value(cell: Any, texts: list[str], styles: list[str], epoch: datetime.datetime) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _rich_text(cell)
    text = next((part.text or "" for part in cell if local(part) == "v"), "")
    if kind == "s":
        return texts[int(text)] if text.isdecimal() and int(text) < len(texts) else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(text, text)
    if kind != "n":
        return "" if kind == "e" else text
    style = cell.get("s", "0")
    index = int(style) if style.isdecimal() else 0
    return _number(text, styles[index] if index < len(styles) else "", epoch)


def _number(text: str, shown_as: str, epoch: datetime.datetime) -> str:
    """A number as the sheet shows it, to the 15 digits Excel has."""
    try:
        number = float(text)
        if shown_as in {"date", "time"} and 0 <= number < 2_958_466:  # 9999-12-31
            return _moment(number, shown_as, epoch)
        if shown_as == "percent":
            return f"{number * 100:.10g} %"
        return f"{number:.15g}"
    except ValueError:
        return text


def _moment(number: float, shown_as: str, epoch: datetime.datetime) -> str:
    moment = epoch + datetime.timedelta(seconds=round(number * 86_400))
    if shown_as == "time" and number < 1:
        return moment.strftime("%H:%M:%S")
    if moment.hour == moment.minute == moment.second == 0:
        return moment.strftime("%Y-%m-%d")
    return moment.strftime("%Y-%m-%d %H:%M:%S")
