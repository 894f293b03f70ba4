"""Jupyter notebooks: prose cells as Markdown, code cells as code with their text output."""

from __future__ import annotations

import json
from typing import Any

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Extraction, Outline
from ragstone.documents.readers import markdown
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

# 2,000 characters: what a person reads of a cell's output; training logs run to megabytes.
_OUTPUT_CHARS = 2_000


def read(source: Source) -> Draft:
    """The cells in order. Raises `DocumentError` (`malformed`) for what is no notebook."""
    try:
        notebook = json.loads(decode(source.data))
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"the notebook is not JSON: {error}") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise DocumentError("the notebook has no cells; formats before 4 are not read")
    found = Extraction(text_chars=source.limits.text_chars)
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        text = _joined(cell.get("source"))
        if cell.get("cell_type") == "code":
            found.code(text)
            for output in _outputs(cell):
                found.code(output)
        elif cell.get("cell_type") == "markdown":
            _add_markdown(text, found)
        else:
            found.paragraph(text)
    language = _at(notebook, "metadata", "kernelspec", "language")
    if isinstance(language, str):
        found.metadata["programming_language"] = language
    return found.draft()


def _add_markdown(text: str, found: Extraction) -> None:
    outline = Outline(text)
    title = markdown.scan(outline)
    found.title = found.title or title
    for mark in outline.draft().marks:
        stretch = text[mark.start : mark.end]
        if mark.kind == "heading":
            found.heading(markdown.plain_title(stretch.split("\n", 1)[0]), mark.level)
        elif mark.kind == "code":
            found.code(stretch)
        elif mark.kind == "list":
            found.item(stretch, marker="")
        else:
            found.paragraph(stretch)


def _outputs(cell: dict[str, Any]) -> list[str]:
    """The text of a cell's outputs, without pictures and pages."""
    outputs = cell.get("outputs")
    texts = []
    for output in outputs if isinstance(outputs, list) else []:
        text = _joined(_at(output, "text")) or _joined(_at(output, "data", "text/plain"))
        texts.append(text[:_OUTPUT_CHARS])
    return texts


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""
