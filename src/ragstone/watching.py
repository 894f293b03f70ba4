"""Keep a collection in step with folders: look, wait until what changed has settled, index, look again.

Looking is a walk (names, sizes, times), 0.05 s for 8,000 files, so it is repeated at intervals instead of asking the
system for events, which differ between systems and are lost on network drives. Does not know engine or terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from ragstone.documents.walk import FileEntry, walk
from ragstone.errors import CancelledError, MismatchError, NotFoundError, RagstoneError, SettingsError
from ragstone.types import FailedDocument, IndexReport

LEAST_INTERVAL_S = 2.0
LOOKING_SHARE = 0.02  # of the time, at most: a walk of 1.2 s is done once a minute
SETTLE_S = 2.0  # a file is indexed once it has looked the same for so long …
PATIENCE_S = 30.0  # … but while others keep changing, those that do not are not kept waiting longer than this
FIRST_RETRY_S, LAST_RETRY_S = (
    2.0,
    60.0,
)  # doubled with each failure: a lock or a full disk may pass within seconds

Seen: TypeAlias = Mapping[str, object]
"""What a walk found: a file's uri → its size and time, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A run that was done; `removed` are the uris of files that are gone, `report.failed` those not said before."""

    report: IndexReport
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A run that could not be done, and the seconds after which it is tried again."""

    error: RagstoneError
    retry_s: float


@dataclass(frozen=True, slots=True)
class NothingThere:
    """A folder without any document, or that is gone: it may be a drive that is not mounted, so nothing is removed."""

    root: Path


WatchEvent: TypeAlias = Indexed | Failed | NothingThere


class FolderWatch:
    """Runs `index` whenever the files below some roots have changed. One thread: the caller's."""

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        index: Callable[[Sequence[Path]], IndexReport],
        tell: Callable[[WatchEvent], None],
        pause: Callable[[float], bool],
        max_file_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`index` gets the roots that hold something; `pause` waits so many seconds and says whether to stop."""
        self._roots = list(roots)
        self._index = index
        self._tell = tell
        self._pause = pause
        self._max_file_bytes = max_file_bytes
        self._clock = clock
        self._indexed: dict[Path, Seen] | None = None
        self._before: dict[Path, Seen] | None = None  # as it looked the last time
        self._waiting_since_s: float | None = None
        self._retry_s = FIRST_RETRY_S
        self._empty: set[Path] = set()
        self._said: set[FailedDocument] = set()

    def run(self) -> None:
        """Index at once, then after each change, until `pause` says stop or `index` is cancelled.

        A run that fails is tried again, after 2 s and then up to a minute. Raises `MismatchError` and `SettingsError`,
        which do not pass.
        """
        try:
            while not self._pause(self.step()):
                pass
        except CancelledError:
            return

    def step(self) -> float:
        """Look, and index what has settled; the seconds until the next look. Raises as `run`, and `CancelledError`."""
        started_s = self._clock()
        looks = {root: self._look(root) for root in self._roots}
        wait_s = max(LEAST_INTERVAL_S, (self._clock() - started_s) / LOOKING_SHARE)
        if looks == self._indexed:
            self._before, self._waiting_since_s = looks, None
            return wait_s
        settled = self._settled(looks)
        self._before = looks
        if not settled:
            return SETTLE_S
        try:
            self._bring_up(looks)
        except (CancelledError, MismatchError, SettingsError):
            raise
        except RagstoneError as error:
            retry_s = self._retry_s
            self._retry_s = min(LAST_RETRY_S, 2 * retry_s)
            self._tell(Failed(error, retry_s))
            return retry_s
        self._indexed, self._waiting_since_s, self._retry_s = looks, None, FIRST_RETRY_S
        return wait_s

    def _look(self, root: Path) -> Seen:
        try:
            return {
                item.uri if isinstance(item, FileEntry) else item.path: _looks(item)
                for item in walk([root], max_bytes=self._max_file_bytes)
            }
        except NotFoundError:
            return {}

    def _settled(self, looks: Mapping[Path, Seen]) -> bool:
        if self._indexed is None:  # at the start everything has to be looked into anyway
            return True
        now_s = self._clock()
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        return looks == self._before or now_s - self._waiting_since_s >= PATIENCE_S

    def _bring_up(self, looks: Mapping[Path, Seen]) -> None:
        empty = {root for root, seen in looks.items() if not seen}
        for root in sorted(empty - self._empty):
            self._tell(NothingThere(root))
        self._empty = empty
        there = [root for root in self._roots if root not in empty]
        if not there:
            return
        report = self._index(there)
        before = self._indexed or {}
        removed = {uri for root in there for uri in before.get(root, {}).keys() - looks[root].keys()}
        new = [failed for failed in report.failed if failed not in self._said]
        self._said = set(report.failed)
        self._tell(Indexed(replace(report, failed=tuple(new)), tuple(sorted(removed))))


def _looks(item: FileEntry | FailedDocument) -> object:
    return (item.size_bytes, item.mtime_ns) if isinstance(item, FileEntry) else item.code
