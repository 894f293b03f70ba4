"""Writes the sample documents that are not plain text: PDF, DOCX, PPTX, XLSX, ODT and EPUB.

    python examples/make_sample_docs.py [FOLDER]

The results are committed; run it again after changing a text here. The same texts give the same bytes, so a
run that changes nothing leaves no diff. The PDF, ODT and EPUB files are written by hand (their formats need
little for plain pages); the Office files with the libraries that ragstone reads them with.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import docx
import openpyxl
import pptx
from sample_texts import (
    BOARD_MINUTES,
    BUDGET,
    CYCLING_GUIDE,
    ORRA_LIGHT_MANUAL,
    SAFETY_REPORT,
    STRATEGY,
    WINTER_DUTIES,
)

FOLDER = Path(__file__).parent / "sample-docs"
MADE = datetime(2026, 4, 1, 9, 0, 0)  # every file says so, whenever it was really made


def main(folder: Path) -> None:
    files = {
        "ships/orra-light-manual.pdf": pdf(
            "MV Orra Light: operating manual", "Ama Boateng", ORRA_LIGHT_MANUAL
        ),
        "safety/safety-report-2025.pdf": pdf("Safety report 2025", "Ruth Adeyemi", SAFETY_REPORT),
        "company/board-minutes-2026-03-11.docx": word(),
        "company/strategy-2030.pptx": slides(),
        "company/budget-2026.xlsx": workbook(),
        "operations/winterdienst.odt": open_document(),
        "islands/cycling-greater-varrow.epub": epub(),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"{len(content):7,} bytes  {name}")


def pdf(title: str, author: str, pages: list[str]) -> bytes:
    """A PDF 1.4 of A4 pages in Helvetica. Lines with `# ` or `## ` are headings; the rest is set as it is broken."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects += [
        f"<< /Type /Font /Subtype /Type1 /BaseFont /{font} /Encoding /WinAnsiEncoding >>".encode()
        for font in ("Helvetica", "Helvetica-Bold")
    ]
    kids = []
    for number, text in enumerate(pages, start=1):
        content = _pdf_page(text, f"{title}, page {number} of {len(pages)}")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>".encode()
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    objects.append(
        f"<< /Title ({title}) /Author ({author}) /CreationDate (D:{MADE:%Y%m%d%H%M%S}Z) >>".encode("cp1252")
    )
    return _pdf_file(objects)


def _pdf_page(text: str, footer: str) -> bytes:
    """The drawing commands of one page, from 60 points below its top."""
    sizes = {"## ": ("F2", 13), "# ": ("F2", 20)}
    commands, y = [], 782.0
    for line in text.strip().split("\n"):
        mark = next((m for m in sizes if line.startswith(m)), "")
        font, size = sizes.get(mark, ("F1", 11))
        y -= size * (1.45 if line else 0.7)
        if line:
            commands.append(_pdf_line(line.removeprefix(mark), font, size, y))
    return b"\n".join([*commands, _pdf_line(footer, "F1", 8, 40)])


def _pdf_line(words: str, font: str, size: int, y: float) -> bytes:
    quoted = words.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /{font} {size} Tf 60 {y:.1f} Td ({quoted}) Tj ET".encode("cp1252")


def _pdf_file(objects: list[bytes]) -> bytes:
    """Header, numbered objects, cross-reference table and trailer; the last object is the document information."""
    out = io.BytesIO(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    out.seek(0, io.SEEK_END)
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>"
    out.write(f"trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def word() -> bytes:
    """The minutes of the board: headings, paragraphs, a list and a table."""
    document = docx.Document()
    document.core_properties.title = "Minutes of the board, 11 March 2026"
    document.core_properties.author = "Freya Holt"
    document.core_properties.comments = ""
    document.core_properties.created = document.core_properties.modified = MADE
    styles = {"# ": "Heading 1", "## ": "Heading 2", "- ": "List Bullet"}
    for block in BOARD_MINUTES.strip().split("\n\n"):
        if block.startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")]
            table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
            for y, row in enumerate(rows):
                for x, words in enumerate(row):
                    table.cell(y, x).text = words
            continue
        for line in block.split("\n") if block.startswith("- ") else [block.replace("\n", " ")]:
            mark = next((m for m in styles if line.startswith(m)), "")
            document.add_paragraph(line.removeprefix(mark), style=styles.get(mark))
    return _saved(document.save)


def slides() -> bytes:
    """The strategy talk: a title, bullet points and speaker's notes per slide."""
    deck = pptx.Presentation()
    deck.core_properties.title = "Varrow Line: strategy to 2030"
    deck.core_properties.author = "Miriam Okafor"
    deck.core_properties.comments = ""
    deck.core_properties.created = deck.core_properties.modified = MADE
    for title, bullets, notes in STRATEGY:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text_frame.text = "\n".join(bullets)
        slide.notes_slide.notes_text_frame.text = notes
    return _saved(deck.save)


def workbook() -> bytes:
    """The budget, a sheet per topic, the first row of each its header."""
    book = openpyxl.Workbook()
    del book["Sheet"]
    book.properties.title = "Budget 2026"
    book.properties.creator = "Nkechi Obi"
    book.properties.created = book.properties.modified = MADE
    for name, rows in BUDGET.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return _saved(book.save)


def open_document() -> bytes:
    """The winter duties as OpenDocument text."""
    namespaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "meta")
    )
    body = []
    for block in WINTER_DUTIES.strip().split("\n\n"):
        words = escape(block.replace("\n", " "))
        level = len(words) - len(words.lstrip("#"))
        plain = words[level:].strip()
        body.append(
            f'<text:h text:outline-level="{level}">{plain}</text:h>' if level else f"<text:p>{plain}</text:p>"
        )
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<office:document-content {namespaces} office:version="1.2">'
        f"<office:body><office:text>{''.join(body)}</office:text></office:body></office:document-content>"
    )
    meta = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<office:document-meta {namespaces} '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" office:version="1.2"><office:meta>'
        "<dc:title>Winterdienst an Bord</dc:title><dc:creator>Tomasz Wielgosz</dc:creator>"
        f"<dc:language>de</dc:language><dc:date>{MADE.isoformat()}</dc:date></office:meta></office:document-meta>"
    )
    mimetype = "application/vnd.oasis.opendocument.text"
    entries = "".join(
        f'<manifest:file-entry manifest:full-path="{path}" manifest:media-type="{kind}"/>'
        for path, kind in (("/", mimetype), ("content.xml", "text/xml"), ("meta.xml", "text/xml"))
    )
    manifest = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<manifest:manifest '
        f'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.2">{entries}'
        "</manifest:manifest>"
    )
    return _zipped(
        {"mimetype": mimetype, "content.xml": content, "meta.xml": meta, "META-INF/manifest.xml": manifest}
    )


def epub() -> bytes:
    """The cycling guide as an EPUB 3 book, a file per chapter."""
    chapters = {f"chapter{n}.xhtml": chapter for n, chapter in enumerate(CYCLING_GUIDE, start=1)}
    title = "Cycling round Greater Varrow"
    items = "".join(f'<item id="{n[:-6]}" href="{n}" media-type="application/xhtml+xml"/>' for n in chapters)
    spine = "".join(f'<itemref idref="{n[:-6]}"/>' for n in chapters)
    package = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<package xmlns="http://www.idpf.org/2007/opf" version="3.0" '
        'unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">varrow-line-cycling-2026</dc:identifier><dc:title>{title}</dc:title>'
        "<dc:creator>Colm Reyes</dc:creator><dc:language>en</dc:language>"
        f'<meta property="dcterms:modified">{MADE:%Y-%m-%dT%H:%M:%SZ}</meta></metadata><manifest>{items}'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/></manifest>'
        f"<spine>{spine}</spine></package>"
    )
    links = "".join(f'<li><a href="{name}">{escape(text[0])}</a></li>' for name, text in chapters.items())
    container = (
        '<?xml version="1.0"?>\n<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="OEBPS/package.opf" media-type="application/oebps-package+xml"/></rootfiles>'
        "</container>"
    )
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": container,
        "OEBPS/package.opf": package,
    }
    files["OEBPS/nav.xhtml"] = _xhtml(title, f'<nav epub:type="toc"><ol>{links}</ol></nav>')
    for name, (heading, *paragraphs) in chapters.items():
        body = f"<h1>{escape(heading)}</h1>" + "".join(f"<p>{escape(words)}</p>" for words in paragraphs)
        files[f"OEBPS/{name}"] = _xhtml(heading, body)
    return _zipped(files)


def _xhtml(title: str, body: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>{escape(title)}</title></head><body>{body}</body></html>'
    )


def _saved(save: object) -> bytes:
    """What an Office library's `save` writes, with the times in the archive and its properties made equal."""
    assert callable(save)
    buffer = io.BytesIO()
    save(buffer)
    with zipfile.ZipFile(buffer) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    # openpyxl writes the time of saving, whatever its properties say
    modified = rf"\g<1>{MADE:%Y-%m-%dT%H:%M:%SZ}".encode()
    files["docProps/core.xml"] = re.sub(
        rb"(<dcterms:modified[^>]*>)[^<]*", modified, files["docProps/core.xml"]
    )
    return _zipped(files)


def _zipped(files: dict[str, str] | dict[str, bytes]) -> bytes:
    """A ZIP archive of `files` in their order, `mimetype` stored uncompressed as ODT and EPUB want it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, MADE.timetuple()[:6])
            stored = name == "mimetype"
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
