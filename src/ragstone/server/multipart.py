"""`multipart/form-data` as it comes (RFC 7578): parts and their bytes, in memory of one read and a line or two.

Knows nothing of files and disks. Every step is linear in what was read; headers are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from ragstone.errors import InputError

MAX_HEADER_BYTES = 8 * 1024  # of one part; a file name has at most 255 bytes, thrice that when quoted
MAX_BOUNDARY_CHARS = 70  # RFC 2046

_PARAMETER = re.compile(r';[ \t]*([a-zA-Z*]{1,20})=(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')


@dataclass(frozen=True, slots=True)
class Part:
    """A part begins: its field's name, and the file's name if it is a file."""

    name: str
    filename: str | None


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


PartEvent: TypeAlias = Part | bytes | PartEnd


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names. Raises `InputError` where there is none that may be."""
    found = dict(_parameters(content_type)).get("boundary", "")
    if not 1 <= len(found) <= MAX_BOUNDARY_CHARS or not found.isascii():
        raise InputError(
            "the Content-Type names no boundary",
            hint="let the client write that header: curl -F file=@report.pdf",
        )
    return found.encode()


class MultipartReader:
    """Turns pieces of a body, cut anywhere, into events. Raises `InputError` for what is no multipart body."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first delimiter needs no line break before it
        self._where = "preamble"

    @property
    def is_complete(self) -> bool:
        """Whether the closing delimiter has come."""
        return self._where == "epilogue"

    def feed(self, data: bytes) -> Iterator[PartEvent]:
        """The events that `data` completes; to be read to the end before the next piece."""
        self._buffer += data
        while True:
            if self._where == "epilogue":
                self._buffer.clear()  # whatever stands there means nothing
                return
            if self._where in {"preamble", "body"}:
                at = self._buffer.find(self._delimiter)
                inside = self._where == "body"
                # The last bytes may be the beginning of a delimiter.
                end = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
                if inside and end:
                    yield bytes(self._buffer[:end])
                del self._buffer[:end]
                if at < 0:
                    return
                del self._buffer[: len(self._delimiter)]
                if inside:
                    yield PartEnd()
                self._where = "delimiter"
            elif self._where == "delimiter":
                if len(self._buffer) < 2:
                    return
                closing = self._buffer.startswith(b"--")
                self._where = "epilogue" if closing else "headers"
            else:
                end = self._buffer.find(b"\r\n\r\n")
                if end > MAX_HEADER_BYTES or (end < 0 and len(self._buffer) > MAX_HEADER_BYTES):
                    raise InputError(f"a part's headers have more than {MAX_HEADER_BYTES} bytes")
                if end < 0:
                    return
                lines = bytes(self._buffer[:end]).decode("utf-8", "replace").split("\r\n")
                if lines[0].strip(" \t"):
                    raise InputError("a boundary is followed by something else than a line break")
                del self._buffer[: end + 4]
                self._where = "body"
                yield _part(lines[1:])


def _part(lines: list[str]) -> Part:
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            found = dict(_parameters(value))
            filename = found.get("filename")
            if "filename*" in found:  # RFC 5987: charset'language'percent-encoded
                filename = unquote(found["filename*"].rpartition("'")[2], errors="replace")
            return Part(found.get("name", ""), filename)
    raise InputError("a part has no Content-Disposition header")


def _parameters(header: str) -> Iterator[tuple[str, str]]:
    for name, quoted, plain in _PARAMETER.findall(header):
        # Browsers write a quote as %22, others as \"; a backslash before anything else is a Windows path's.
        yield name.lower(), plain or quoted.replace('\\"', '"').replace("%22", '"')
