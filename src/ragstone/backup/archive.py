"""The file of a backup: a tar of plain files behind its manifest, read as strictly as it is written.

    manifest.json             format, collections, the size of each file
    SHA256SUMS                of the manifest and each file; `sha256sum -c SHA256SUMS` checks what tar unpacked
    0/catalog.sqlite          the first collection
    0/segments/<id>/…
    1/…

Nothing is compressed, so nothing can grow: what is unpacked is never more than the archive's own size. Names are those
of a short list of forms; anything else (a link, a device, a long name, a sparse file, a file that the manifest does not
announce at this place) is refused before it is read. Collections are numbered: a header has room for 100 bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ragstone.documents.paths import safe_join
from ragstone.errors import DamagedError, InputError, MismatchError, NotFoundError
from ragstone.index.segment_files import DOCUMENTS_FILE, FAST_FILE, INDEX_FILE, LISTS_FILE, ROWS_FILE
from ragstone.open_collections import require_name
from ragstone.store.schema import MIGRATIONS

FORMAT = 1
CATALOG = "catalog.sqlite"
SEGMENT_MANIFEST = "manifest.json"
_MANIFEST, _SUMS = "manifest.json", "SHA256SUMS"
_SEGMENT_FILES = (SEGMENT_MANIFEST, INDEX_FILE, FAST_FILE, LISTS_FILE, ROWS_FILE, DOCUMENTS_FILE)
_PATH = re.compile(rf"catalog\.sqlite|segments/[0-9a-f]{{32}}/(?:{'|'.join(map(re.escape, _SEGMENT_FILES))})")
_SUM = re.compile(r"([0-9a-f]{64})  ([\w./]{1,100})", re.ASCII)

MAX_COLLECTIONS = 10_000
MAX_FILES = 100_000  # five for a segment, of which a collection has fewer than ten
MAX_MANIFEST_BYTES = 32 << 20  # 100,000 files at 120 bytes, and room
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchivedCollection:
    """One collection in a backup: its schema's number, what is in it, and its files' sizes in bytes by path."""

    name: str
    schema: int
    documents: int
    chunks: int
    files: Mapping[str, int]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(self.files.values())


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, who made it (ragstone's version) and when (ISO 8601, UTC)."""

    collections: tuple[ArchivedCollection, ...]
    ragstone: str
    made: str

    @property
    def size_bytes(self) -> int:
        """All files of all collections together."""
        return sum(collection.size_bytes for collection in self.collections)


@dataclass(frozen=True, slots=True)
class Member:
    """A file on its way into an archive, open at its beginning."""

    name: str
    size_bytes: int
    sha256: str
    content: IO[bytes]


Moved = Callable[[int], None]
"""Told the bytes of each block; may raise to stop."""


def write_archive(file: IO[bytes], manifest: Manifest, members: list[Member], moved: Moved) -> None:
    """Write a backup; `members` in the order of the manifest. Raises `DamagedError` for one that is not what its
    checksum says: a backup never holds damaged files."""
    head = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1).encode()
    sums = [(hashlib.sha256(head).hexdigest(), _MANIFEST), *((m.sha256, m.name) for m in members)]
    listed = "".join(f"{sha256}  {name}\n" for sha256, name in sums).encode()
    for name, data in ((_MANIFEST, head), (_SUMS, listed)):
        file.write(_header(name, len(data)))
        file.write(data)
        file.write(_padding(len(data)))
    for member in members:
        file.write(_header(member.name, member.size_bytes))
        found = _copy(member.content, file, member.size_bytes, moved)
        if found != member.sha256:
            raise DamagedError(
                f"{member.name} is damaged: it fails its checksum",
                hint="ragstone doctor --repair, then back up again",
            )
        file.write(_padding(member.size_bytes))
    file.write(bytes(2 * tarfile.BLOCKSIZE))


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % tarfile.BLOCKSIZE)


def _copy(source: IO[bytes], target: IO[bytes] | None, size_bytes: int, moved: Moved) -> str:
    """Copy so many bytes; their SHA-256 in hex, which is another one when the source ends before."""
    digest = hashlib.sha256()
    left = size_bytes
    while left and (block := source.read(min(left, BLOCK_BYTES))):
        digest.update(block)
        if target is not None:
            target.write(block)
        left -= len(block)
        moved(len(block))
    return digest.hexdigest() if not left else ""


class Archive:
    """An open backup whose manifest has been checked: read once, from front to back."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        """Raises `DamagedError`, and `MismatchError` for what a newer ragstone wrote."""
        self._path = path
        self._file = file
        head, listed = self._small(_MANIFEST), self._small(_SUMS)
        try:
            sums = dict(_sum(line) for line in listed.decode("ascii").splitlines())
            if sums.pop(_MANIFEST) != hashlib.sha256(head).hexdigest():
                raise self._damaged(f"{_MANIFEST} fails its checksum")
            self.manifest = _parsed(json.loads(head), path)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError) as error:
            raise self._damaged(f"its manifest cannot be read: {error!r}") from error
        names = [f"{n}/{at}" for n, home in enumerate(self.manifest.collections) for at in home.files]
        if names != list(sums):
            raise self._damaged(f"{_SUMS} and {_MANIFEST} name different files")
        self._sums = sums
        size_bytes = path.stat().st_size
        if self.manifest.size_bytes > size_bytes:
            raise self._damaged(
                f"it is cut off: {size_bytes:,} of {self.manifest.size_bytes:,} bytes are there"
            )

    def unpack(self, wanted: Mapping[str, Path], moved: Moved) -> None:
        """Write the files of some collections, name → empty folder; the others are passed over unread.

        Raises `DamagedError` at the first fault; what lies in the folders then is of no use.
        """
        for number, home in enumerate(self.manifest.collections):
            for at, size_bytes in home.files.items():
                name = f"{number}/{at}"
                self._next(name, size_bytes)
                if home.name in wanted:
                    self._extract(name, size_bytes, safe_join(wanted[home.name], at), moved)
                else:
                    self._file.seek(size_bytes, 1)
                self._file.seek(len(_padding(size_bytes)), 1)

    def _extract(self, name: str, size_bytes: int, target: Path, moved: Moved) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            if _copy(self._file, file, size_bytes, moved) != self._sums[name]:
                raise self._damaged(f"{name} fails its checksum")

    def _next(self, name: str, size_bytes: int | None = None) -> int:
        """Read the next header, which has to be that of `name`; the member's size."""
        try:
            info = tarfile.TarInfo.frombuf(self._file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self._damaged(f"where {name} should begin is no header: {error}") from error
        if info.type != tarfile.REGTYPE or info.name != name or size_bytes not in {None, info.size}:
            raise self._damaged(f"{name} should begin where {info.name[:80]!a} does")
        return int(info.size)

    def _small(self, name: str) -> bytes:
        """A member that is read whole."""
        size_bytes = self._next(name)
        if not 0 <= size_bytes <= MAX_MANIFEST_BYTES:
            raise self._damaged(f"{name} has {size_bytes:,} bytes, the limit is {MAX_MANIFEST_BYTES:,}")
        data = self._file.read(size_bytes)
        if len(data) < size_bytes:
            raise self._damaged("it is cut off")
        self._file.seek(len(_padding(size_bytes)), 1)
        return data

    def _damaged(self, reason: str) -> DamagedError:
        return DamagedError(
            f"{self._path} is no backup, or a damaged one: {reason}",
            hint="nothing was changed; take another backup",
        )


def open_archive(path: Path) -> IO[bytes]:
    """The file, for `Archive`; the caller closes it. Raises `NotFoundError`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error


def _sum(line: str) -> tuple[str, str]:
    found = _SUM.fullmatch(line)
    if found is None:
        raise ValueError(f"{line[:80]!a} is no checksum")
    return found[2], found[1]


def _parsed(fields: dict[str, Any], path: Path) -> Manifest:
    """The manifest, each of its values checked. Raises the errors of wrong values."""
    if _number(fields["format"]) > FORMAT:
        raise _newer(path, f"form {fields['format']}", FORMAT)
    homes = tuple(_collection(entry, path) for entry in fields["collections"])
    if len(homes) > MAX_COLLECTIONS or sum(len(home.files) for home in homes) > MAX_FILES:
        raise ValueError(f"more than {MAX_COLLECTIONS:,} collections or {MAX_FILES:,} files")
    if len({home.name for home in homes}) < len(homes):
        raise ValueError("a collection is named twice")
    return Manifest(homes, str(fields["ragstone"]), str(fields["made"]))


def _collection(entry: dict[str, Any], path: Path) -> ArchivedCollection:
    files = {str(at): _number(size_bytes) for at, size_bytes in entry["files"].items()}
    for at in files:
        if not _PATH.fullmatch(at):
            raise ValueError(f"{at[:80]!a} is no file of a collection")
    if CATALOG not in files:
        raise ValueError("a collection without a catalog")
    require_name(entry["name"])
    schema = _number(entry["schema"])
    if schema > len(MIGRATIONS):
        raise _newer(path, f"schema {schema}", len(MIGRATIONS))
    return ArchivedCollection(
        entry["name"], schema, _number(entry["documents"]), _number(entry["chunks"]), files
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.80} is no number of something")
    return value


def _newer(path: Path, what: str, known: int) -> MismatchError:
    return MismatchError(
        f"{path} was written by a newer ragstone: {what}, this one knows up to {known}",
        hint="upgrade ragstone; nothing was changed",
    )
