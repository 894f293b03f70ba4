"""Uploaded files: streamed to disk under random names, handed to the engine, and gone when it has read them.

`<data_dir>/uploads/<collection>/<random>/` holds one request's files and, once all of them are there and durable, the
list of what they are. A folder with a list is taken up again at the next start; one without never became an upload.
What the user calls a file is a label: it names the document, never a path.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ragstone.documents.formats import extension, verdict
from ragstone.durable import replace_file, sync
from ragstone.errors import DiskFullError, DocumentError, InputError, StoreError
from ragstone.given_files import GivenFile
from ragstone.server.multipart import MultipartReader, Part, PartEnd
from ragstone.server.problems import TooLargeError
from ragstone.store.catalog import require_space

FOLDER = "uploads"
LIST = "files.json"
CLAIM = "claim"
MAX_FILES = 100  # in one request
MAX_NAME_CHARS = 200
URI_PREFIX = "upload:"


class _Claim:
    """A process's hold on an upload's folder, so that another one does not take it for left over."""

    def __init__(self, folder: Path) -> None:
        """Raises `BlockingIOError` where another process holds it, or another claim of this one."""
        self._descriptor = os.open(folder / CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Let go; once."""
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of one request, durable on disk, and the collection they are for. `discard` it, or `release` it."""

    folder: Path
    collection: str
    files: tuple[GivenFile, ...]
    claim: _Claim

    def discard(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.claim.release()

    def release(self) -> None:
        """Leave the files to the next start."""
        self.claim.release()


class Receiver:
    """Takes one request's body piece by piece. `finish` it, or `discard` it: at any time, from any thread."""

    def __init__(
        self,
        data_dir: Path,
        collection: str,
        boundary: bytes,
        *,
        max_file_bytes: int,
        max_bytes: int,
    ) -> None:
        self._lock = threading.Lock()  # a request can end while a thread still writes for it
        self._discarded = False
        self._claim: _Claim | None = None
        self._folder = data_dir / FOLDER / collection / secrets.token_hex(16)
        self._collection = collection
        self._parts = MultipartReader(boundary)
        self._max_file_bytes = max_file_bytes
        self._max_bytes = max_bytes
        self._bytes = 0
        self._files: dict[str, GivenFile] = {}  # by uri
        self._open: BinaryIO | None = None
        self._file_bytes = 0

    def feed(self, data: bytes) -> None:
        """Write what a piece of the body holds.

        Raises `TooLargeError`, `DocumentError` for a type that is not read, `InputError`, `DiskFullError`.
        """
        with self._lock:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        if self._discarded:
            raise InputError("the upload has been given up")
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            raise TooLargeError(
                f"The upload is larger than {self._max_bytes:,} bytes.",
                hint="Send the files in several requests.",
            )
        try:
            for event in self._parts.feed(data):
                if isinstance(event, Part):
                    self._begin(event)
                elif isinstance(event, PartEnd):
                    self._end()
                else:
                    self._write(event)
        except OSError as error:
            raise _not_written(self._folder, error) from error

    def finish(self) -> Upload:
        """Make the files durable and list them. Raises `InputError` for a body that broke off or holds no file."""
        with self._lock:
            return self._finish()

    def _finish(self) -> Upload:
        if not self._parts.is_complete:
            raise InputError("the upload broke off before its closing boundary", hint="send it again")
        if self._discarded or self._claim is None:
            raise InputError("the upload holds no file", hint="curl -F file=@report.pdf …/api/documents")
        listed = {
            "collection": self._collection,
            "files": [
                {"file": file.path.name, "uri": file.uri, "name": file.name} for file in self._files.values()
            ],
        }
        try:
            replace_file(self._folder / LIST, json.dumps(listed))
            sync(self._folder.parent)
        except OSError as error:
            raise _not_written(self._folder, error) from error
        return Upload(self._folder, self._collection, tuple(self._files.values()), self._claim)

    def discard(self) -> None:
        """Remove what has come so far, also after `finish`."""
        with self._lock:
            self._discarded = True
            if self._open is not None:
                self._open.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._claim is not None:
                self._claim.release()
                self._claim = None

    def _begin(self, part: Part) -> None:
        if part.filename is None:
            raise InputError(
                f"the field {part.name[:80]!r} is no file", hint="the collection goes into the address"
            )
        name = label(part.filename)
        if verdict(name) != "document":
            raise DocumentError(f"{name!r} is of a type that is not read", code="unsupported")
        uri = URI_PREFIX + name
        if uri in self._files:
            raise InputError(f"two files are called {name!r}", hint="give each a name of its own")
        if len(self._files) == MAX_FILES:
            raise TooLargeError(
                f"The upload holds more than {MAX_FILES} files.", hint="Send them in several requests."
            )
        if self._claim is None:
            self._folder.mkdir(mode=0o700, parents=True)
            self._claim = _Claim(self._folder)
        ending = extension(name)
        suffix = f".{ending}" if ending.isascii() and ending.isalnum() and len(ending) <= 16 else ""
        path = self._folder / (secrets.token_hex(16) + suffix)
        self._files[uri] = GivenFile(path, uri, name)
        self._open = path.open("xb")
        self._file_bytes = 0

    def _write(self, data: bytes) -> None:
        assert self._open is not None  # noqa: S101 - bytes come between a part's begin and end
        self._file_bytes += len(data)
        if self._file_bytes > self._max_file_bytes:
            raise TooLargeError(
                f"A file is larger than {self._max_file_bytes:,} bytes.",
                hint="The setting max_file_bytes allows more.",
            )
        require_space(self._folder)  # what is left belongs to the catalog
        self._open.write(data)

    def _end(self) -> None:
        assert self._open is not None  # noqa: S101 - as above
        self._open.flush()
        os.fsync(self._open.fileno())
        self._open.close()
        self._open = None


def label(filename: str) -> str:
    """What a user calls a file, as one line without folders. Raises `InputError` where nothing is left of it."""
    name = unicodedata.normalize("NFC", filename.replace("\\", "/").rpartition("/")[2])
    name = "".join(char for char in name if char.isprintable() and not "\ud800" <= char <= "\udfff").strip()
    if not name.strip("."):
        raise InputError("a file has no name", hint='send one: filename="report.pdf"')
    return name if len(name) <= MAX_NAME_CHARS else _shortened(name)


def leftovers(data_dir: Path) -> Iterator[Upload]:
    """Uploads that an earlier process acknowledged and did not get to; what never became one is removed."""
    for folder in sorted((data_dir / FOLDER).glob("*/*/")):
        try:
            claim = _Claim(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process is at it, or has just done with it
        try:
            listed = json.loads((folder / LIST).read_text(encoding="utf-8"))
            files = [
                GivenFile(folder / Path(each["file"]).name, each["uri"], each["name"])
                for each in listed["files"]
            ]
            yield Upload(folder, str(listed["collection"]), tuple(files), claim)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            shutil.rmtree(folder, ignore_errors=True)
            claim.release()


def _shortened(name: str) -> str:
    ending = extension(name)[:16]
    return name[: MAX_NAME_CHARS - len(ending) - 1] + (f".{ending}" if ending else "")


def _not_written(folder: Path, error: OSError) -> StoreError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError(f"no space left at {folder.parent}", hint="free some space and send it again")
    return StoreError(f"{folder} cannot be written: {error.strerror}", hint="check the folder's permissions")
