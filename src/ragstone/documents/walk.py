"""Which files of a folder are documents: names, sizes and times only, nothing is opened but ignore files.

What is left out, inside a folder: hidden files and folders; what `.gitignore` and `.ragstoneignore` (nested, git's
meaning, `.ragstoneignore` has the last word) name; links; folders of other people's code (`node_modules`, virtual
environments); pictures, sound, archives, programs and other files that are never documents (`formats`). All of it
is counted in `Skipped`. Documents we cannot read, oversized files and archives that look like bombs are reported.
A root is always walked, whatever its own name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ragstone.documents.archives import TAIL_BYTES, survey, suspicion
from ragstone.documents.formats import NEVER_FOLDERS, extension, verdict
from ragstone.documents.ignore import IGNORE_FILES, IgnoreRules, read_rules
from ragstone.documents.limits import ReadLimits
from ragstone.errors import InputError, NotFoundError
from ragstone.types import FailedDocument

DocumentFailure: TypeAlias = FailedDocument


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file that may be a document. `uri` is its absolute path with every link resolved."""

    path: Path
    uri: str
    size_bytes: int
    mtime_ns: int


@dataclass(slots=True)
class Skipped:
    """How many entries of folders were passed over, by reason; a skipped folder counts once."""

    hidden: int = 0
    ignored: int = 0
    links: int = 0
    folders: int = 0
    not_documents: int = 0
    special: int = 0

    @property
    def total(self) -> int:
        """All reasons together."""
        return self.hidden + self.ignored + self.links + self.folders + self.not_documents + self.special


def walk(
    roots: Sequence[Path], *, max_bytes: int, follow_links: bool = False, skipped: Skipped | None = None
) -> Iterator[FileEntry | DocumentFailure]:
    """Every document below `roots`, each once, folders in order of names; a root may be a file.

    Links are passed over, or with `follow_links` followed as long as they stay inside one of the roots.
    `skipped` is filled in while the iterator runs. Raises `NotFoundError` (a root is missing) and `InputError`
    (its name is not text), both before the first entry. Cost: one `scandir` per folder, one `stat` per file.
    """
    resolved = [_resolved(root) for root in roots]
    return _Walk(resolved, max_bytes, follow_links, skipped or Skipped()).entries()


def _resolved(root: Path) -> Path:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the path {str(root)!a} is not valid UTF-8", hint="rename it") from error
    try:
        return root.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise NotFoundError(
            f"there is no file or folder {root}", hint=f"check the path; the current folder is {Path.cwd()}"
        ) from error


@dataclass(slots=True)
class _Walk:
    roots: list[Path]
    max_bytes: int
    follow_links: bool
    skipped: Skipped
    _folders: set[tuple[int, int]] = field(default_factory=set)  # device and inode: ends loops and overlaps
    _given: set[str] = field(default_factory=set)  # files, only where one can be reached twice

    def entries(self) -> Iterator[FileEntry | DocumentFailure]:
        for root in self.roots:
            if root.is_dir():
                yield from self._folder(root, [])
            else:
                yield from self._named(root)

    def _named(self, path: Path) -> Iterator[FileEntry | DocumentFailure]:
        """A root that is a file: nothing about it is passed over in silence."""
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            yield DocumentFailure(str(path), "unreadable", "it is not a regular file")
        elif self._is_first(str(path)):
            what = verdict(path.name)
            if what == "never":
                yield DocumentFailure(
                    str(path), "unsupported", f"files of type .{extension(path.name)} are not read"
                )
            elif what == "archive":
                yield _archive_failure(str(path)) or DocumentFailure(
                    str(path), "unsupported", "archives are not read; unpack it and index the folder"
                )
            else:
                yield self._judged(str(path), path.name, status)

    def _folder(
        self, folder: Path, rules: list[tuple[str, IgnoreRules]]
    ) -> Iterator[FileEntry | DocumentFailure]:
        """Everything below a folder. A stack instead of recursion: a tree may be deeper than Python's."""
        stack = [(str(folder), rules)]
        while stack:
            path, rules = stack.pop()
            try:
                status = os.stat(path)  # noqa: PTH116 - `Path` objects would double the cost of a walk
                if (status.st_dev, status.st_ino) in self._folders:
                    continue
                with os.scandir(path) as scan:
                    found = sorted(scan, key=lambda entry: entry.name)
            except FileNotFoundError:
                continue  # removed while we walk
            except OSError as error:
                yield DocumentFailure(path, "unreadable", f"the folder cannot be read: {error.strerror}")
                continue
            self._folders.add((status.st_dev, status.st_ino))
            names = {entry.name for entry in found}
            own = read_rules(Path(path), tuple(name for name in IGNORE_FILES if name in names))
            below = [*rules, (path, own)] if own is not None else rules
            folders: list[str] = []
            for entry in found:
                yield from self._entry(entry, below, folders)
            stack += [(name, below) for name in reversed(folders)]

    def _entry(
        self, entry: os.DirEntry[str], rules: list[tuple[str, IgnoreRules]], folders: list[str]
    ) -> Iterator[FileEntry | DocumentFailure]:
        """What to say of one entry; a folder to walk is put into `folders` instead."""
        name, path = entry.name, entry.path
        if name.startswith("."):
            self.skipped.hidden += 1
            return
        try:
            if entry.is_symlink():
                if not self.follow_links:
                    self.skipped.links += 1
                    return
                path = self._inside(path)
                if not path:
                    return
            is_folder = entry.is_dir()
            if rules and _is_ignored(name, entry.path, rules, is_folder=is_folder):
                self.skipped.ignored += 1
            elif is_folder:
                yield from self._subfolder(name, path, folders)
            elif not name.isascii() and not _is_text(name):
                yield _unnameable(path)
            else:
                yield from self._file(name, path, entry.stat())
        except FileNotFoundError:
            return  # removed while we walk
        except OSError as error:
            yield DocumentFailure(_printable(path), "unreadable", f"it cannot be read: {error.strerror}")

    def _subfolder(self, name: str, path: str, folders: list[str]) -> Iterator[DocumentFailure]:
        if name in NEVER_FOLDERS or os.path.exists(f"{path}/pyvenv.cfg"):  # noqa: PTH110 - see above
            self.skipped.folders += 1
        elif not _is_text(name):
            yield _unnameable(path)
        else:
            folders.append(path)

    def _file(self, name: str, path: str, status: os.stat_result) -> Iterator[FileEntry | DocumentFailure]:
        what = verdict(name)
        if not stat.S_ISREG(status.st_mode):
            self.skipped.special += 1
        elif what == "never":
            self.skipped.not_documents += 1
        elif what == "archive":
            failure = _archive_failure(path)
            if failure is None:
                self.skipped.not_documents += 1
            else:
                yield failure
        elif self._is_first(path):
            yield self._judged(path, name, status)

    def _judged(self, path: str, name: str, status: os.stat_result) -> FileEntry | DocumentFailure:
        if verdict(name) == "unreadable":
            hint = "convert it to PDF, DOCX or text"
            return DocumentFailure(
                path, "unsupported", f"files of type .{extension(name)} are not read; {hint}"
            )
        if status.st_size > self.max_bytes:
            return DocumentFailure(
                path, "too_large", f"the file has {status.st_size:,} bytes, the limit is {self.max_bytes:,}"
            )
        return FileEntry(Path(path), path, status.st_size, status.st_mtime_ns)

    def _is_first(self, path: str) -> bool:
        if len(self.roots) == 1 and not self.follow_links:
            return True  # no file can be reached twice: spare the set
        if path in self._given:
            return False
        self._given.add(path)
        return True

    def _inside(self, link: str) -> str:
        """Where a link leads if that is inside a root, else ''."""
        try:
            target = Path(link).resolve(strict=True)
        except (OSError, RuntimeError):
            target = None
        if target is None or not any(target.is_relative_to(root) for root in self.roots):
            self.skipped.links += 1
            return ""
        return str(target)


def _is_ignored(name: str, path: str, rules: list[tuple[str, IgnoreRules]], *, is_folder: bool) -> bool:
    """The innermost ignore file that speaks of an entry decides."""
    for folder, rule in reversed(rules):
        decision = rule.decide(name, path[len(folder) + 1 :], is_folder=is_folder)
        if decision is not None:
            return decision
    return False


def _archive_failure(path: str) -> DocumentFailure | None:
    """`bomb_suspected` for an archive whose directory says so."""
    with Path(path).open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        file.seek(max(0, size_bytes - TAIL_BYTES))
        limits = ReadLimits()
        found = survey(file.read(TAIL_BYTES), max_entries=limits.archive_entries)
    reason = suspicion(found, file_bytes=size_bytes, limits=limits) if found else ""
    return (
        DocumentFailure(path, "bomb_suspected", f"the archive looks like a bomb: {reason}")
        if reason
        else None
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unnameable(path: str) -> DocumentFailure:
    return DocumentFailure(_printable(path), "unreadable", "its name is not valid UTF-8; rename it")


def _printable(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()
