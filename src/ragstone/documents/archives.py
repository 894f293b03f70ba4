"""Archives are judged by their own directory before anything is unpacked: entries, sizes, ratio.

The directory is read here with `struct`, not with `zipfile`, which makes half a kilobyte of objects for each
entry before anyone can say no. `zipfile` then never unpacks more of a member than the directory declared.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Final

from ragstone.documents.limits import ReadLimits
from ragstone.errors import DocumentError

# PKWARE APPNOTE 4.3.12, 4.3.14, 4.3.16
_END: Final = struct.Struct("<4s4H2LH")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_END_MAGIC: Final = b"PK\x05\x06"
_ENTRY_MAGIC: Final = b"PK\x01\x02"
_END64_BYTES: Final = 76  # the ZIP64 end record and its locator stand between directory and end
_FLAG_ENCRYPTED: Final = 1

# The end of a file that is enough to judge it: 20,000 entries of 200 bytes are 4 MB.
TAIL_BYTES: Final = 8_000_000


@dataclass(frozen=True, slots=True)
class ArchiveSurvey:
    """What an archive's directory declares. A size beyond 4 GiB counts as 4 GiB."""

    entries: int
    unpacked_bytes: int
    encrypted: bool


def survey(tail: bytes, *, max_entries: int) -> ArchiveSurvey | None:
    """What the directory in `tail`, the end of an archive, declares; None if there is none.

    Stops counting behind `max_entries`. Raises nothing.
    """
    at = tail.rfind(_END_MAGIC, max(0, len(tail) - 65_535 - _END.size))  # a comment has at most 65,535 bytes
    if at < 0 or at + _END.size > len(tail):
        return None
    _, _, _, _, _, directory_bytes, _, _ = _END.unpack_from(tail, at)
    position = tail.find(_ENTRY_MAGIC, max(0, at - directory_bytes - _END64_BYTES), at)
    entries = unpacked = 0
    encrypted = False
    while 0 <= position <= at - _ENTRY.size and entries <= max_entries:
        fields = _ENTRY.unpack_from(tail, position)
        if fields[0] != _ENTRY_MAGIC:
            break
        entries += 1
        unpacked += fields[9]
        encrypted = encrypted or bool(fields[3] & _FLAG_ENCRYPTED)
        position += _ENTRY.size + fields[10] + fields[11] + fields[12]
    return ArchiveSurvey(entries, unpacked, encrypted)


def suspicion(found: ArchiveSurvey, *, file_bytes: int, limits: ReadLimits) -> str:
    """Why an archive looks like a bomb, '' if it does not."""
    if found.entries > limits.archive_entries:
        return f"it has more than {limits.archive_entries:,} entries"
    if found.unpacked_bytes > limits.archive_bytes:
        return f"it unpacks to {found.unpacked_bytes:,} bytes or more, the limit is {limits.archive_bytes:,}"
    ratio = found.unpacked_bytes / max(file_bytes, 1)
    if found.unpacked_bytes > limits.archive_ratio_from_bytes and ratio > limits.archive_ratio:
        return f"it unpacks to {ratio:.0f} times its size, the limit is {limits.archive_ratio}"
    return ""


def check_archive(data: bytes, limits: ReadLimits) -> None:
    """Raises `DocumentError`: `malformed` for no archive, `bomb_suspected`, `encrypted`."""
    found = survey(data[-TAIL_BYTES:], max_entries=limits.archive_entries)
    if found is None or not found.entries:
        raise DocumentError("the archive has no directory; it may be cut off")
    reason = suspicion(found, file_bytes=len(data), limits=limits)
    if reason:
        raise DocumentError(f"the archive looks like a bomb: {reason}", code="bomb_suspected")
    if found.encrypted:
        raise DocumentError("the archive is encrypted", hint="remove the password", code="encrypted")


class Archive:
    """The members of a checked archive, by name; case matters."""

    def __init__(self, data: bytes, limits: ReadLimits) -> None:
        check_archive(data, limits)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise DocumentError(f"the archive is damaged: {error}") from error
        self.names = frozenset(self._zip.namelist())
        self._left_bytes = limits.archive_bytes  # the directory may name one place many times

    def read(self, name: str) -> bytes:
        """The content of member `name`. Raises `DocumentError` (`malformed`) if it is missing or damaged."""
        try:
            info = self._zip.getinfo(name)
            self._left_bytes -= info.file_size
            if self._left_bytes < 0:
                raise DocumentError("the archive unpacks to more than it declares", code="bomb_suspected")
            return self._zip.read(info)
        except KeyError as error:
            raise DocumentError(f"the archive has no member {name!r}") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError) as error:
            raise DocumentError(f"member {name!r} of the archive is damaged: {error}") from error
