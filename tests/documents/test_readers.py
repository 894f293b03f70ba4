"""What each format's reader makes of a file: text, structure, pages, title, metadata."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from documents import document_files as files
from ragstone.errors import DocumentError
from ragstone.types import Block, BlockKind, ParsedDocument

Read = Callable[[str, str | bytes], ParsedDocument]


def said(document: ParsedDocument, kind: BlockKind) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks if block.kind is kind]


def only(document: ParsedDocument, words: str) -> Block:
    """The one block that holds `words`."""
    found = [block for block in document.blocks if words in document.text[block.start : block.end]]
    assert len(found) == 1, (words, found)
    return found[0]


def test_text_keeps_its_characters_and_splits_at_blank_lines(read: Read) -> None:
    document = read("notes.txt", "\ufeffOne.\r\nStill one.\r\n \r\nTwo.\r\n")
    assert document.text == "One.\nStill one.\n \nTwo.\n"
    assert said(document, BlockKind.PARAGRAPH) == ["One.\nStill one.", "Two."]
    assert (document.title, document.format) == ("notes", "text")


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis"])
def test_text_is_decoded_whatever_its_charset(read: Read, charset: str) -> None:
    text = (
        "名前は佐藤太郎です。東京に住んでいます。" * 5
        if charset == "shift_jis"
        else "Größe und Übermut, façade. " * 5
    )
    if charset == "utf-16-le":
        text = "Plain words without a mark. " * 5
    assert read("a.txt", text.encode(charset)).text == text


def test_markdown_marks_headings_lists_code_and_tables(read: Read) -> None:
    source = (
        "# Guide {/*guide*/}\n\nIntro\nline.\n\nSetext\n------\n\n- one\n  more\n- two\n\n  loose\n\n1. first\n\n"
        "```js\n# not a heading\n\nx()\n```\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n    indented code\n\n### Deep ###\n"
    )
    document = read("guide.md", source)
    assert document.text == source
    assert document.title == "Guide"
    assert [(b.level, document.text[b.start : b.end]) for b in document.blocks if b.level] == [
        (1, "# Guide {/*guide*/}"),
        (2, "Setext\n------"),
        (3, "### Deep ###"),
    ]
    assert said(document, BlockKind.LIST) == ["- one\n  more", "- two\n\n  loose", "1. first"]
    assert said(document, BlockKind.CODE) == ["```js\n# not a heading\n\nx()\n```", "indented code"]
    assert said(document, BlockKind.TABLE_ROW) == ["| a | b |\n|---|:-:|", "| 1 | 2 |"]
    assert said(document, BlockKind.PARAGRAPH) == ["Intro\nline."]


def test_front_matter_gives_title_and_metadata(read: Read) -> None:
    source = (
        '---\ntitle: "The harbour"\nauthors:\n  - Ada\n  - Ben\ndate: 2024-3-9\ntags: [sea, "ice cream"]\ndraft: true\n'
        "weight: 1.5\nlang: de\nnested:\n  a: 1\n---\n\n# Other\n"
    )
    document = read("a.md", source)
    assert document.title == "The harbour"
    assert document.metadata == {
        "author": "Ada, Ben",
        "date": "2024-03-09",
        "tags": "sea, ice cream",
        "draft": True,
        "weight": 1.5,
        "language": "de",
        "nested": "a: 1",
    }
    assert read("b.md", '+++\ntitle = "T"\ndate = 2024-03-09\n+++\nText').metadata == {"date": "2024-03-09"}


def test_a_rule_at_the_top_is_not_front_matter(read: Read) -> None:
    document = read("a.md", "---\n\nJust words here\n\n---\n\nMore\n")
    assert document.metadata == {}
    assert "Just words here" in document.text


RST = """\
.. _top:

******
Ferry
******

:Author: Ada
:Date: 2024-03-09

Timetable
=========

Leaves at noon::

   $ ferry --now

.. code-block:: python

   go()

.. note:: Dress warmly.

   On deck it is cold.

Ports
-----

* Kiel
* Oslo,
  in summer

=====  =====
Port   Depth
=====  =====
Kiel   11 m
Oslo   20 m
=====  =====

+---+---+
| a | b |
+===+===+
| 1 | 2 |
+---+---+
"""


@pytest.mark.parametrize("name", ["ferry.rst", "ferry.txt"])
def test_restructured_text_is_read_by_its_look_too(read: Read, name: str) -> None:
    document = read(name, RST)
    assert document.text == RST
    assert document.title == "Ferry"
    assert [b.level for b in document.blocks if b.kind is BlockKind.HEADING] == [1, 2, 3]
    assert said(document, BlockKind.CODE) == ["$ ferry --now", ".. code-block:: python\n\n   go()"]
    assert said(document, BlockKind.LIST) == ["* Kiel", "* Oslo,\n  in summer"]
    rows = said(document, BlockKind.TABLE_ROW)
    assert rows[1:3] == ["Kiel   11 m", "Oslo   20 m\n=====  ====="]
    assert rows[-1] == "| 1 | 2 |\n+---+---+"
    assert document.metadata["author"] == "Ada"
    assert document.metadata["date"] == "2024-03-09"


def test_html_gives_the_content_without_navigation_and_scripts(read: Read) -> None:
    page = """<!doctype html><html lang="de"><head><title>T - Site</title><meta name=author content="Ada">
    <meta property="article:published_time" content="2024-03-09T10:00"></head><body><nav><a>Home</a></nav>
    <script>alert(1)</script><main><h1>Fähren</h1><p>Every <b>two</b>
    hours.<br>Daily.</p><ol start=3><li>Board<ul><li>Early</li></ul></li><li>Sail</li></ol><pre>a
      b</pre><table><tr><th>Port<th>Depth</tr><tr><td>Kiel<td>11&nbsp;m</tr></table><div hidden>secret</div></main>
    <footer>Imprint</footer></body></html>"""
    document = read("a.html", page)
    assert document.text == (
        "Fähren\n\nEvery two hours.\nDaily.\n\n3. Board\n  - Early\n4. Sail\n\na\n      b\n\nPort | Depth\nKiel | 11 m"
    )
    assert document.title == "Fähren"
    assert document.metadata == {"author": "Ada", "date": "2024-03-09", "language": "de"}
    assert said(document, BlockKind.CODE) == ["a\n      b"]


def test_a_page_of_nothing_but_navigation_is_still_read(read: Read) -> None:
    assert read("a.html", "<nav><a>Chapter one</a></nav>").text == "Chapter one"


def test_html_charset_is_taken_from_the_page(read: Read) -> None:
    page = '<meta charset="windows-1251"><p>Привет</p>'.encode("cp1251")
    assert read("a.html", page).text == "Привет"


def test_pdf_pages_headings_and_paragraphs(read: Read) -> None:
    long_line = "The ferry runs all year and takes cars, bicycles and people on foot"
    data = files.pdf_file(
        [
            [
                (24.0, "Ferry handbook"),
                (11.0, long_line),
                (11.0, "over the sound."),
                (16.0, "Fares"),
                (11.0, "Free."),
            ],
            [(11.0, "Dogs travel free.")],
            [],
            [(11.0, "Cats do not.")],
        ]
    )
    document = read("a.pdf", data)
    assert only(document, "Dogs").page == 2
    assert only(document, "Cats").page == 4
    assert only(document, "Ferry handbook").level == 1
    assert only(document, "Fares").level == 2
    assert f"{long_line} over the sound." in document.text
    assert document.title == "Ferry handbook"
    assert document.metadata["pages"] == 4


def test_pdf_title_from_its_own_description(read: Read) -> None:
    page = [[(11.0, "Words.")]]
    assert read("a.pdf", files.pdf_file(page, title="The handbook")).title == "The handbook"
    assert read("b.pdf", files.pdf_file(page, title="Microsoft Word - x.doc")).title == "b"


def test_pdf_without_text_says_that_it_may_be_scanned(read: Read) -> None:
    with pytest.raises(DocumentError) as caught:
        read("a.pdf", files.pdf_file([[], []]))
    assert caught.value.code == "no_text"
    assert "OCR" in caught.value.hint


def test_docx_structure_and_metadata(read: Read) -> None:
    document = read("a.docx", files.docx_file())
    assert document.title == "Field notes"
    assert document.metadata["author"] == "Ada Berg"
    assert only(document, "Harbour log").level == 1
    assert only(document, "Cargo").level == 2
    assert said(document, BlockKind.LIST) == ["- Two crates of apples", "1. First inspect the ropes"]
    assert said(document, BlockKind.TABLE_ROW) == ["Port | Depth", "Kiel | 11 m"]


def test_xlsx_rows_carry_their_columns_names_and_their_sheet(read: Read) -> None:
    document = read("a.xlsx", files.xlsx_file())
    assert said(document, BlockKind.TABLE_ROW) == [
        "Name | Joined | Share",
        "Name: Ines; Joined: 2024-03-09; Share: 25 %",
        "Boat | Tons",
        "Boat: Möwe; Tons: 12.5",
    ]
    assert (only(document, "Ines").page, only(document, "Möwe").page) == (1, 2)
    assert said(document, BlockKind.HEADING) == ["Crew", "Boats"]


def test_pptx_slides_are_pages_with_notes(read: Read) -> None:
    document = read("a.pptx", files.pptx_file())
    assert document.title == "Tides"
    assert only(document, "Notes: Mention the moon").page == 1
    assert only(document, "From the west").page == 2
    assert [block.page for block in document.blocks if block.level] == [1, 2]


def test_odt(read: Read) -> None:
    document = read("a.odt", files.odt_file())
    assert document.text == "Lighthouse\n\nIt burns oil.\nEvery night.\n\n- Wick\n\nLens | 1822"
    assert only(document, "Lighthouse").level == 1


def test_epub_chapters_come_in_the_order_of_the_spine(read: Read) -> None:
    document = read("a.epub", files.epub_file())
    assert document.text == "First\n\nOut to sea.\n\nSecond\n\nBack again."
    assert document.title == "Two Voyages"
    assert document.metadata == {"author": "J. Roe", "date": "1899-05-01"}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("a.csv", 'Name,Port\n"Berg, Ada",Kiel\n,\nBen,"Oslo\nNorth"\n'),
        ("b.csv", "Name;Port\n'Berg, Ada';Kiel\nBen;Oslo North\n".replace("'", '"')),
        ("c.tsv", "Name\tPort\nBerg, Ada\tKiel\nBen\tOslo North\n"),
    ],
)
def test_csv_rows_under_their_columns_names(read: Read, name: str, table: str) -> None:
    rows = said(read(name, table), BlockKind.TABLE_ROW)
    assert rows == ["Name | Port", "Name: Berg, Ada; Port: Kiel", "Name: Ben; Port: Oslo North"]


def test_csv_without_names_stays_as_it_is(read: Read) -> None:
    assert said(read("a.csv", "1,2\n3,4\n"), BlockKind.TABLE_ROW) == ["1 | 2", "3 | 4"]


def test_json_records_one_by_one(read: Read) -> None:
    document = read(
        "a.json", '[{"name": "J\\u00fcrgen", "port": {"city": "Kiel"}}, {"name": "Ida", "tags": ["a", "b"]}]'
    )
    assert said(document, BlockKind.TABLE_ROW) == ["name: Jürgen; port.city: Kiel", "name: Ida; tags: a, b"]


def test_json_records_inside_a_document(read: Read) -> None:
    staff = '{"title": "Staff", "year": 2026, "people": [{"name": "Ida", "ports": [{"at": "Kiel"}]}, {"name": "Ben"}]}'
    document = read("a.json", staff)
    assert document.title == "Staff"
    assert document.text.split("\n") == [
        "title: Staff; year: 2026",
        "people: name: Ida",
        "people.ports: at: Kiel",
        "people: name: Ben",
    ]


def test_json_lines(read: Read) -> None:
    assert said(read("a.jsonl", '{"n": 1}\n\n{"n": null, "ok": true}\n'), BlockKind.TABLE_ROW) == [
        "n: 1",
        "ok: true",
    ]


def test_notebook_prose_code_and_output(read: Read) -> None:
    document = read("a.ipynb", files.NOTEBOOK)
    assert document.text == "Tide tables\n\nHow high the water stands.\n\nprint(6 * 7)\n\n42"
    assert document.title == "Tide tables"
    assert said(document, BlockKind.CODE) == ["print(6 * 7)", "42"]


def test_mail_headers_body_and_names_of_attachments(read: Read) -> None:
    document = read("a.eml", files.MAIL)
    assert document.title == "Sailing on Friday"
    assert document.metadata["date"] == "2024-03-01"
    assert document.metadata["from"] == "Jürgen <j@example.org>"
    assert document.metadata["attachments"] == "list.csv"
    assert "Bring warm clothes." in document.text


def test_subtitles_carry_their_seconds(read: Read) -> None:
    document = read("a.vtt", files.SUBTITLES)
    assert [(block.time_s, document.text[block.start : block.end]) for block in document.blocks] == [
        (1.5, "Mara: Cast off!"),
        (3602.25, "Land & sea."),
    ]


def test_xml_of_articles_and_feeds(read: Read) -> None:
    article = (
        '<!DOCTYPE article PUBLIC "-//NLM//DTD JATS//EN" "x.dtd"><article><front>'
        "<article-title>On ferries</article-title>"
        "<contrib><surname>Berg</surname><given-names>Ada</given-names></contrib></front><body><sec>"
        "<title>Method</title><p>We <i>sailed</i>.</p></sec></body></article>"
    )
    document = read("a.xml", article)
    assert document.title == "On ferries"
    assert document.text == "On ferries\n\nsurname: Berg; given-names: Ada\n\nMethod\n\nWe sailed."
    feed = "<rss><channel><title>News</title><item><title>One</title>"
    page = "&lt;p&gt;A &lt;b&gt;b&lt;/b&gt;&lt;/p&gt;"
    assert (
        read("b.xml", f"{feed}<description>{page}</description></item></channel></rss>").text
        == "News\n\nOne\n\nA b"
    )


def test_code_is_cut_at_definitions(read: Read) -> None:
    source = "import os\n\n\ndef one():\n    x = 1\n\n    return x\n\n\nclass Two:\n    pass\n"
    document = read("a.py", source)
    assert document.text == source
    assert said(document, BlockKind.CODE) == [
        "import os",
        "def one():\n    x = 1\n\n    return x",
        "class Two:\n    pass",
    ]


def test_latex_sections(read: Read) -> None:
    source = (
        "\\title{On \\emph{ferries}}\n\\begin{document}\n\\section{Method}\nWe sailed.\n\\end{document}\n"
    )
    document = read("a.tex", source)
    assert document.text == source
    assert document.title == "On ferries"
    assert said(document, BlockKind.HEADING) == ["\\section{Method}"]


def test_names_without_a_known_extension_are_read_by_content(read: Read) -> None:
    assert read("Makefile", "all:\n\techo hi\n").format == "text"
    assert read("report", files.pdf_file([[(11.0, "Words.")]])).format == "pdf"
    assert read("letter.xyz", files.docx_file()).format == "docx"
    assert read("wrong.txt", files.epub_file()).format == "epub"


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.txt", b"", "no_text"),
        ("a.md", b" \n\t\n", "no_text"),
        ("a.html", b"<html><body></body></html>", "no_text"),
        ("a.txt", bytes(range(256)) * 40, "malformed"),
        ("a.unknown", bytes(range(256)) * 40, "malformed"),
        ("a.png", b"\x89PNG", "unsupported"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "unsupported"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "unsupported"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        ("a.docx", b"just text", "malformed"),
        ("a.pdf", b"just text", "malformed"),
        ("a.json", b"{", "malformed"),
        ("a.ipynb", b"[]", "malformed"),
        ("a.eml", b"\n\nno headers", "malformed"),
        ("a.srt", b"no times", "malformed"),
        ("a.xml", b"<a>", "malformed"),
        ("a.zip", files.zip_file({"a.txt": "words"}), "unsupported"),
    ],
)
def test_what_cannot_be_read_says_how(read: Read, name: str, data: bytes, code: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(name, data)
    assert caught.value.code == code
