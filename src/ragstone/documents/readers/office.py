"""What Office Open XML files share: parts, relationships, core properties, the refusal of encrypted files."""

from __future__ import annotations

import posixpath
from typing import Any

from ragstone.documents.archives import Archive
from ragstone.documents.draft import Extraction, Value
from ragstone.documents.readers.front_matter import normalised
from ragstone.documents.readers.sniff import is_compound_file, is_encrypted_office
from ragstone.documents.readers.source import Source
from ragstone.documents.safe_xml import local, parse, text_of
from ragstone.errors import DocumentError


class Package:
    """The parts of one Office file."""

    def __init__(self, source: Source) -> None:
        if is_encrypted_office(source.data):
            raise DocumentError("the file is encrypted", hint="remove the password", code="encrypted")
        if is_compound_file(source.data):
            raise DocumentError(
                "the file is in the format before Office 2007",
                hint="save it in the new format",
                code="unsupported",
            )
        self._archive = Archive(source.data, source.limits)

    def has(self, part: str) -> bool:
        """True if the file has this part."""
        return part in self._archive.names

    def xml(self, part: str) -> Any:
        """The root of a part's XML. Raises `DocumentError`."""
        return parse(self._archive.read(part))

    def data(self, part: str) -> bytes:
        """A part as it is. Raises `DocumentError`."""
        return self._archive.read(part)

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """What `part` refers to inside the file: id → (kind, part), in order."""
        folder, name = posixpath.split(part)
        relations = f"{folder}/_rels/{name}.rels".lstrip("/")
        if not self.has(relations):
            return {}
        found: dict[str, tuple[str, str]] = {}
        for relation in self.xml(relations):
            if relation.get("TargetMode") != "External":
                target = relation.get("Target", "")
                path = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
                kind = relation.get("Type", "").rpartition("/")[2]
                found[relation.get("Id", "")] = (kind, posixpath.normpath(path))
        return found

    def main_part(self, default: str) -> str:
        """The part that the file starts with."""
        for kind, part in self.related("").values():
            if kind == "officeDocument" and self.has(part):
                return part
        return default

    def describe(self, found: Extraction) -> None:
        """Take title and metadata from the file's core properties."""
        if not self.has("docProps/core.xml"):
            return
        names = {
            "creator": "author", "created": "date", "modified": "modified", "keywords": "tags",
            "language": "language", "subject": "subject", "category": "category", "description": "description",
        }  # fmt: skip
        properties: dict[str, Value] = {}
        for element in self.xml("docProps/core.xml"):
            name, text = local(element), text_of(element).strip()
            if name == "title":
                found.title = found.title or text
            elif name in names and text:
                properties.setdefault(names[name], text[:10] if name == "modified" else text)
        found.metadata = normalised(properties)
