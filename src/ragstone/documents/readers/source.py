"""What a reader is given."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.documents.limits import ReadLimits


@dataclass(frozen=True, slots=True)
class Source:
    """A file's content, its name, the name of its format, and the limits to read it under."""

    data: bytes
    name: str
    format: str
    limits: ReadLimits
