"""The sample documents: all readable, in step with their generator, and each asked about."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from ragstone.documents.pool import ReaderPool
from ragstone.documents.walk import FileEntry, walk
from ragstone.types import ParsedDocument

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAMPLES = EXAMPLES / "sample-docs"


def _entries() -> list[FileEntry]:
    entries = [entry for entry in walk([SAMPLES], max_bytes=50_000_000) if isinstance(entry, FileEntry)]
    assert len(entries) >= 20
    return entries


def test_every_sample_document_can_be_read() -> None:
    entries = _entries()
    formats = set()
    with ReaderPool() as pool:
        for path, parsed in pool.read_many(entry.path for entry in entries):
            assert isinstance(parsed, ParsedDocument), f"{path.name}: {parsed}"
            assert parsed.title
            formats.add(parsed.format)
    assert len(formats) >= 16, formats


def test_every_document_and_no_other_is_asked_about_in_the_list_of_questions() -> None:
    rows = re.findall(r"^\|.*\| `([^`]+)`[^|]*\|$", (SAMPLES / "README.md").read_text(), re.MULTILINE)
    indexed = {os.fspath(entry.path.relative_to(SAMPLES)) for entry in _entries()}
    assert set(rows) <= indexed
    # four documents have no question of their own: their facts are in others too
    assert len(indexed - set(rows)) <= 4, indexed - set(rows)
    assert "README.md" not in indexed


def _content(path: Path) -> dict[str, bytes]:
    """The parts of an archive, unpacked since compressors differ in bytes; a PDF is one part."""
    if not zipfile.is_zipfile(path):
        return {"": path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_generator_writes_the_committed_files(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, EXAMPLES / "make_sample_docs.py", tmp_path], check=True, capture_output=True
    )
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 7
    for path in written:
        assert _content(path) == _content(SAMPLES / path.relative_to(tmp_path)), path.name
