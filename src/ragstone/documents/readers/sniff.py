"""What a file is by its first bytes, for names that say nothing or lie."""

from __future__ import annotations

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # compound file: Office before 2007, and encrypted Office after

_PARTS = {
    b"META-INF/container.xml": "epub",
    b"vnd.oasis.opendocument.text": "odt",
    b"word/document.xml": "docx",
    b"ppt/presentation.xml": "pptx",
    b"xl/workbook.xml": "xlsx",
}


def sniff(data: bytes) -> str | None:
    """The reader's name for `data`, None if it can only be text or garbage."""
    if data.startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return _zip_kind(data[:4_096] + data[-65_536:])
    return None


def _zip_kind(ends: bytes) -> str:
    """Office and book formats are known by the parts they must have; names stand in the archive's directory."""
    for part, kind in _PARTS.items():
        if part in ends:
            return kind
    return "zip"


def is_compound_file(data: bytes) -> bool:
    """True for the container of old Office files and of encrypted new ones."""
    return data.startswith(_OLE)


def is_encrypted_office(data: bytes) -> bool:
    """True for a compound file with the streams that encrypted Office files have."""
    return is_compound_file(data) and "EncryptedPackage".encode("utf-16-le") in data
