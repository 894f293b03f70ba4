"""A plain archive: never unpacked, but a bomb is called one."""

from __future__ import annotations

from ragstone.documents.archives import check_archive
from ragstone.documents.draft import Draft
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError


def read(source: Source) -> Draft:
    """Raises `DocumentError`, always: `bomb_suspected` or `unsupported`."""
    check_archive(source.data, source.limits)
    raise DocumentError("archives are not read", hint="unpack it and index the folder", code="unsupported")
