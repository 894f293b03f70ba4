"""Folders are followed: what changes is indexed once it has settled, what fails is tried again, nothing is lost."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fake_clock import FakeClock
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.errors import CancelledError, DiskFullError, LockedError, MismatchError
from ragstone.store.lock import WriterLock
from ragstone.types import IndexReport
from ragstone.watching import (
    LAST_RETRY_S,
    LEAST_INTERVAL_S,
    PATIENCE_S,
    SETTLE_S,
    Failed,
    FolderWatch,
    Indexed,
    NothingThere,
    WatchEvent,
)


class Watched:
    """A folder, an engine, and a watch that is asked to look step by step."""

    def __init__(self, home: Path, engine: Ragstone) -> None:
        self.folder = home / "docs"
        self.folder.mkdir()
        self.engine = engine
        self.clock = FakeClock()
        self.events: list[WatchEvent] = []
        self.index: Callable[[Sequence[Path]], IndexReport] = engine.index
        self.watch = self.over([self.folder])

    def over(self, roots: list[Path]) -> FolderWatch:
        return FolderWatch(
            roots,
            index=self.run,
            tell=self.events.append,
            pause=self.pause,
            max_file_bytes=1_000_000,
            clock=self.clock,
        )

    def run(self, roots: Sequence[Path]) -> IndexReport:
        return self.index(roots)

    def pause(self, seconds: float) -> bool:
        self.clock.advance(seconds)
        return False

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def step(self) -> float:
        """One look, and the time until the next passes."""
        wait_s = self.watch.step()
        self.clock.advance(wait_s)
        return wait_s

    def said(self) -> list[WatchEvent]:
        """What was told since the last time."""
        told, self.events[:] = list(self.events), []
        return told

    def found(self) -> dict[str, str]:
        return {
            Path(info.uri).name: self.engine.document(info.uri)[1].strip() for info in self.engine.documents()
        }


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        yield Watched(tmp_path, engine)


def test_what_is_there_is_indexed_at_once_and_what_changes_once_it_has_settled(watched: Watched) -> None:
    watched.write("a.txt", "amber")
    assert watched.step() == LEAST_INTERVAL_S
    assert watched.found() == {"a.txt": "amber"}
    watched.write("a.txt", "another")
    new = watched.write("b.txt", "birch")
    assert watched.step() == SETTLE_S
    assert watched.found() == {"a.txt": "amber"}
    watched.step()
    assert watched.found() == {"a.txt": "another", "b.txt": "birch"}
    new.unlink()
    watched.said()
    watched.step()
    watched.step()
    assert watched.found() == {"a.txt": "another"}
    (event,) = watched.said()
    assert isinstance(event, Indexed)
    assert (event.removed, event.report.removed) == ((str(new),), 1)


def test_nothing_is_run_or_said_while_nothing_changes(watched: Watched) -> None:
    watched.write("a.txt", "amber")
    watched.step()
    watched.said()
    version = watched.engine.version()
    for _ in range(5):
        assert watched.step() == LEAST_INTERVAL_S
    assert watched.said() == []
    assert watched.engine.version() == version


def test_a_file_that_is_still_being_written_is_left_until_it_rests(watched: Watched) -> None:
    watched.write("a.txt", "amber")
    watched.step()
    for length in range(2, 6):
        watched.write("growing.txt", "birch " * length)
        watched.step()
    assert set(watched.found()) == {"a.txt"}
    watched.step()
    assert watched.found()["growing.txt"] == ("birch " * 5).strip()


def test_a_file_that_never_rests_does_not_keep_the_others_waiting(watched: Watched) -> None:
    watched.write("a.txt", "amber")
    watched.step()
    watched.write("b.txt", "birch")
    started_s = watched.clock.now_s
    for length in itertools.count(1):
        watched.write("log.txt", "line\n" * length)
        watched.step()
        if "b.txt" in watched.found():
            break
    assert watched.clock.now_s - started_s <= PATIENCE_S + 2 * SETTLE_S


def test_looking_takes_at_most_two_percent_of_the_time(watched: Watched) -> None:
    """The clock goes on by half a second with each time it is read, so that a walk seems to take as long."""
    watched.write("a.txt", "amber")

    def slow() -> float:
        watched.clock.advance(0.5)
        return watched.clock()

    slow_watch = FolderWatch(
        [watched.folder],
        index=watched.engine.index,
        tell=watched.events.append,
        pause=watched.pause,
        max_file_bytes=1_000_000,
        clock=slow,
    )
    assert slow_watch.step() == pytest.approx(25.0)


def test_a_locked_collection_is_said_and_tried_again_later_and_later(
    watched: Watched, tmp_path: Path
) -> None:
    watched.write("a.txt", "amber")
    watched.step()
    watched.write("b.txt", "birch")
    watched.step()
    watched.said()
    with WriterLock(tmp_path / "data/collections/default/lock").held():
        waits = [watched.step() for _ in range(7)]
    assert waits == [2, 4, 8, 16, 32, LAST_RETRY_S, LAST_RETRY_S]
    assert all(isinstance(event, Failed) and isinstance(event.error, LockedError) for event in watched.said())
    watched.step()
    assert set(watched.found()) == {"a.txt", "b.txt"}
    watched.write("c.txt", "cobalt")
    watched.step()
    with WriterLock(tmp_path / "data/collections/default/lock").held():
        assert watched.step() == 2  # begins anew after what went well


def test_the_first_run_is_tried_again_too(watched: Watched) -> None:
    watched.write("a.txt", "amber")
    full = iter([DiskFullError("no space left"), DiskFullError("no space left")])

    def index(roots: Sequence[Path]) -> IndexReport:
        for error in full:
            raise error
        return watched.engine.index(roots)

    watched.index = index
    assert [watched.step() for _ in range(3)] == [2, 4, LEAST_INTERVAL_S]
    assert set(watched.found()) == {"a.txt"}


def test_what_does_not_pass_ends_the_watch(watched: Watched, tmp_path: Path) -> None:
    watched.write("a.txt", "amber")
    watched.step()
    watched.write("b.txt", "birch")
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder(dim=16)) as other:
        watched.index = other.index
        watched.step()
        with pytest.raises(MismatchError):
            watched.watch.run()


def test_a_folder_that_is_empty_or_gone_does_not_empty_the_collection(
    watched: Watched, tmp_path: Path
) -> None:
    """As a drive that is not mounted looks."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.txt").write_text("birch")
    watched.write("a.txt", "amber")
    watched.watch = watched.over([watched.folder, other])
    watched.step()
    watched.said()
    aside = watched.folder.rename(tmp_path / "aside")
    watched.step()
    watched.step()
    first, second = watched.said()
    assert first == NothingThere(watched.folder)
    assert isinstance(second, Indexed)
    (other / "b.txt").write_text("another")
    watched.folder.mkdir()
    for _ in range(3):
        watched.step()
    assert watched.found() == {"a.txt": "amber", "b.txt": "another"}
    watched.folder.rmdir()
    aside.rename(watched.folder)
    watched.write("a.txt", "amber again")
    for _ in range(2):
        watched.step()
    assert watched.found() == {"a.txt": "amber again", "b.txt": "another"}


def test_an_empty_folder_is_waited_for(watched: Watched) -> None:
    watched.step()
    assert watched.said() == [NothingThere(watched.folder)]
    assert watched.engine.collections() == []
    watched.write("a.txt", "amber")
    watched.step()
    watched.step()
    assert watched.found() == {"a.txt": "amber"}


def test_what_cannot_be_read_is_said_once(watched: Watched) -> None:
    watched.write("a.txt", "amber")
    watched.write("broken.pdf", "no pdf")
    watched.step()
    watched.write("b.txt", "birch")
    watched.step()
    watched.step()
    reports = [event.report for event in watched.said() if isinstance(event, Indexed)]
    assert [[Path(failed.path).name for failed in report.failed] for report in reports] == [
        ["broken.pdf"],
        [],
    ]


def test_it_ends_when_it_is_told_to_between_runs_and_inside_of_one(watched: Watched) -> None:
    watched.write("a.txt", "amber")
    waited: list[float] = []

    def pause(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == 3

    def cancelled(roots: Sequence[Path]) -> IndexReport:
        raise CancelledError("indexing was stopped")

    def watch(index: Callable[[Sequence[Path]], IndexReport]) -> FolderWatch:
        return FolderWatch(
            [watched.folder], index=index, tell=watched.events.append, pause=pause, max_file_bytes=1_000_000
        )

    watch(watched.engine.index).run()
    assert len(waited) == 3
    watch(cancelled).run()
    assert len(waited) == 3


def test_a_time_that_moves_without_a_change_costs_one_run(watched: Watched) -> None:
    path = watched.write("a.txt", "amber")
    watched.step()
    os.utime(path, ns=(1, 1))
    watched.step()
    watched.step()
    event = watched.said()[-1]
    assert isinstance(event, Indexed)
    assert (event.report.indexed, event.report.embedded) == (0, 0)
    watched.step()
    assert watched.said() == []
