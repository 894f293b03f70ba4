"""What this process does to the world, for as long as a command looks; Python says so before it does it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

CHANGES = frozenset({"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink"})


class Watch:
    """A `with` block gives the list of what is seen in it, each as `forbidden` says: it is asked of every event that
    Python audits, and answers None where nothing is wrong. The hook stays for as long as the process."""

    def __init__(self, forbidden: Callable[[str, tuple[Any, ...]], str | None]) -> None:
        self._forbidden = forbidden
        self._seen: list[str] = []
        self._on = False
        sys.addaudithook(self._note)

    def __enter__(self) -> list[str]:
        self._seen, self._on = [], True
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._on = False

    def _note(self, event: str, given: tuple[Any, ...]) -> None:
        if self._on and (found := self._forbidden(event, given)) is not None:
            self._seen.append(found)


def opens_for_writing(given: tuple[Any, ...]) -> bool:
    """Whether an `open` event's mode says so; those of `os.open` have none."""
    return isinstance(given[1], str) and bool(set(given[1]) & set("wax+"))
