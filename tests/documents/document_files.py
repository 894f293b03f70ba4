"""Files of each format, made by hand or by the libraries that people make them with."""

from __future__ import annotations

import datetime
import io
import json
import struct
import zipfile
import zlib

import docx
import openpyxl
import pptx


def docx_file() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Field notes"
    document.core_properties.author = "Ada Berg"
    document.add_heading("Harbour log", level=1)
    document.add_paragraph("The ferry left at seven.")
    document.add_heading("Cargo", level=2)
    document.add_paragraph("Two crates of apples", style="List Bullet")
    document.add_paragraph("First inspect the ropes", style="List Number")
    table = document.add_table(rows=2, cols=2)
    for row, values in enumerate([("Port", "Depth"), ("Kiel", "11 m")]):
        for column, value in enumerate(values):
            table.cell(row, column).text = value
    return _saved(document)


def xlsx_file() -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    sheet = book.create_sheet("Crew")
    sheet.append(["Name", "Joined", "Share"])
    sheet.append(["Ines", datetime.date(2024, 3, 9), 0.25])
    sheet["C2"].number_format = "0%"
    second = book.create_sheet("Boats")
    second.append(["Boat", "Tons"])
    second.append(["Möwe", 12.5])
    return _saved(book)


def pptx_file() -> bytes:
    deck = pptx.Presentation()
    for title, body, notes in (
        ("Tides", "High water at noon", "Mention the moon"),
        ("Winds", "From the west", ""),
    ):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    return _saved(deck)


def _saved(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]  # three libraries, one method
    return buffer.getvalue()


def odt_file() -> bytes:
    names = "urn:oasis:names:tc:opendocument:xmlns:"
    content = (
        f'<office:document-content xmlns:office="{names}office:1.0" xmlns:text="{names}text:1.0" '
        f'xmlns:table="{names}table:1.0"><office:body><office:text>'
        '<text:h text:outline-level="1">Lighthouse</text:h>'
        "<text:p>It burns<text:s/>oil.<text:line-break/>Every night.</text:p>"
        "<text:list><text:list-item><text:p>Wick</text:p></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>Lens</text:p></table:table-cell>"
        "<table:table-cell><text:p>1822</text:p></table:table-cell></table:table-row></table:table>"
        "</office:text></office:body></office:document-content>"
    )
    return zip_file({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})


def epub_file() -> bytes:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>Two Voyages</dc:title><dc:creator>J. Roe</dc:creator><dc:date>1899-05-01</dc:date></metadata>"
        '<manifest><item id="b" href="b.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="a%20one.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    page = "<!DOCTYPE html><html><body><h1>{}</h1><p>{}</p></body></html>"
    return zip_file(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OEBPS/book.opf": package,
            "OEBPS/b.xhtml": page.format("Second", "Back again."),
            "OEBPS/a one.xhtml": page.format("First", "Out to sea."),
        }
    )


def pdf_file(pages: list[list[tuple[float, str]]], *, title: str = "") -> bytes:
    """Pages of (size of type in points, line of text), in Helvetica, from the top down."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for lines in pages:
        y, commands = 760.0, []
        for size, text in lines:
            y -= 1.2 * size
            escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
            commands.append(f"BT /F1 {size} Tf 72 {y:.1f} Td ({escaped}) Tj ET")
        stream = "\n".join(commands)
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        font = "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {len(objects)} 0 R "
            f"/Resources << /Font {font} >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    return raw_pdf([*objects, f"<< /Title ({title}) >>"], info=len(objects) + 1)


def raw_pdf(objects: list[str], *, info: int = 0) -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalog."""
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    named = f" /Info {info} 0 R" if info else ""
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R{named} >>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode() + trailer.encode()


def zip_file(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def bomb(names: list[str], *, member_bytes: int = 100_000_000) -> bytes:
    """A valid archive whose members are zeros, one compressed stream written once for each name."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = bytes(1_000_000)
    body, checksum = b"", 0
    for _ in range(member_bytes // len(piece)):
        body += squeeze.compress(piece)
        checksum = zlib.crc32(piece, checksum)
    body += squeeze.flush()
    data, directory = bytearray(), bytearray()
    for name in names:
        sizes = struct.pack("<3L2H", checksum, len(body), member_bytes, len(name), 0)
        common = struct.pack("<5H", 20, 0, 8, 0, 0) + sizes
        directory += (
            b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<3H2L", 0, 0, 0, 0, len(data))
        )
        directory += name.encode()
        data += b"PK\x03\x04" + common + name.encode() + body
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(names), len(names), len(directory), len(data), 0)
    return bytes(data + directory + end)


NOTEBOOK = json.dumps(
    {
        "nbformat": 4,
        "metadata": {"kernelspec": {"language": "python"}},
        "cells": [
            {"cell_type": "markdown", "source": ["# Tide tables\n", "\n", "How high the water stands."]},
            {"cell_type": "code", "source": "print(6 * 7)", "outputs": [{"text": ["42\n"]}]},
        ],
    }
)

MAIL = (
    "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: crew@example.org\r\nSubject: Sailing on Friday\r\n"
    "Date: Fri, 01 Mar 2024 08:00:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    "--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nBring warm clothes.\r\n"
    '--x\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename="list.csv"\r\n\r\na,b\r\n--x--\r\n'
)

SUBTITLES = (
    "WEBVTT\n\nintro\n00:01.500 --> 00:04.000 align:start\n<v Mara>Cast <i>off</i>!\n\n"
    "01:00:02.250 --> 01:00:04.000\nLand &amp; sea.\n"
)


def one_of_each() -> dict[str, bytes]:
    """A small valid file of every format, by name."""
    texts = {
        "a.txt": "First paragraph.\n\nSecond one.",
        "a.md": "---\ntitle: T\n---\n# H\n\n- item\n\n```py\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        "a.rst": "Title\n=====\n\n.. note:: Mind\n\nText::\n\n    code\n\n* item\n",
        "a.html": "<html><body><h1>T</h1><p>Words</p><ul><li>x</li></ul><table><tr><td>a<td>b</table></body></html>",
        "a.csv": "name,port\nIda,Kiel\n",
        "a.json": '{"name": "Ida", "ports": ["Kiel", "Oslo"], "boat": {"tons": 3}}',
        "a.jsonl": '{"n": 1}\n{"n": 2}\n',
        "a.ipynb": NOTEBOOK,
        "a.eml": MAIL,
        "a.vtt": SUBTITLES,
        "a.srt": "1\n00:00:01,000 --> 00:00:02,000\nHello\n",
        "a.xml": "<notes><note><title>T</title><p>Words</p></note></notes>",
        "a.py": "import os\n\n\ndef f():\n    return 1\n",
        "a.tex": "\\title{T}\n\\begin{document}\n\\section{One}\nWords.\n\\end{document}\n",
    }
    files = {name: text.encode() for name, text in texts.items()}
    pages = [[(24.0, "Heading"), (11.0, "Words on page one.")], [(11.0, "Words on page two.")]]
    return files | {
        "a.pdf": pdf_file(pages),
        "a.docx": docx_file(),
        "a.xlsx": xlsx_file(),
        "a.pptx": pptx_file(),
        "a.odt": odt_file(),
        "a.epub": epub_file(),
    }
