"""One module per family of formats; each has `read(source) -> Draft`. Loaded when first needed.

Readers run inside the child, get the file's bytes, and import nothing of ragstone but `errors` and their
neighbours in `documents`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePath
from typing import Any, Final

from ragstone.documents import draft as drafts
from ragstone.documents.formats import NEVER, READERS, UNREADABLE, extension
from ragstone.documents.limits import ReadLimits
from ragstone.documents.readers.sniff import sniff
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

MODULES: Final = {
    "text": "plain",
    "markdown": "markdown",
    "rst": "rst",
    "html": "html",
    "pdf": "pdf",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
    "odt": "odt",
    "epub": "epub",
    "csv": "csv_rows",
    "json": "json_values",
    "jsonl": "json_values",
    "notebook": "notebook",
    "mail": "mail",
    "subtitles": "subtitles",
    "xml": "xml",
    "latex": "latex",
    "code": "code",
    "zip": "zip",
}


def read(data: bytes, name: str, limits: ReadLimits) -> dict[str, Any]:
    """The document in `data` as the JSON form that `blocks.document_from` takes. Raises `DocumentError`."""
    if not data.strip(b"\x00 \t\r\n\xef\xbb\xbf"):
        raise DocumentError("the file is empty", code="no_text")
    format_name = _format(data, name)
    module = import_module(f"ragstone.documents.readers.{MODULES[format_name]}")
    draft: drafts.Draft = module.read(Source(data, name, format_name, limits))
    if not draft.marks:
        raise DocumentError("the file holds no text", code="no_text")
    if len(draft.text) > limits.text_chars:
        raise drafts.too_much_text(limits.text_chars)
    title = drafts.one_line(drafts.clean(draft.title[: 4 * drafts.MAX_TITLE_CHARS]))
    return {
        "text": draft.text,
        "marks": drafts.coarsen(draft.marks, limits.blocks),
        "title": title[: drafts.MAX_TITLE_CHARS] or PurePath(name).stem,
        "format": format_name,
        "metadata": drafts.tidy(draft.metadata),
    }


def _format(data: bytes, name: str) -> str:
    """The reader's name: by extension where one is known, else by content."""
    ending = extension(name)
    if ending in UNREADABLE or ending in NEVER:
        raise DocumentError(
            f"files of type .{ending} are not read",
            hint="convert it to PDF, DOCX or text",
            code="unsupported",
        )
    known = READERS.get(ending)
    seen = sniff(data)
    if known is None or known in {"text", "markdown", "rst"}:
        return seen or known or "text"
    return known
