"""Real sources that do as a test says, and a clock that moves when a test says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from ragstone.parallel.sources import Found, Item, Request

LIMIT_S = 20.0  # of waiting for what must come


def items(*texts: str, group: str = "") -> tuple[Item, ...]:
    return tuple(
        Item(text.replace(" ", "-"), text, 1 / place, group) for place, text in enumerate(texts, start=1)
    )


@dataclass
class Scripted:
    """Gives `found`, or what `script` gives or raises; remembers the requests."""

    name: str
    found: Found = field(default_factory=Found)
    script: Callable[[Request], Found] | None = None
    held_version: Hashable | None = None
    requests: list[Request] = field(default_factory=list)

    def fetch(self, request: Request) -> Found:
        self.requests.append(request)
        return self.found if self.script is None else self.script(request)

    def version(self) -> Hashable | None:
        return self.held_version


class Hanging:
    """Does not answer before it is released."""

    def __init__(self, name: str, found: Found | None = None) -> None:
        self.name = name
        self.released = threading.Event()
        self.begun = threading.Semaphore(0)
        self.threads: list[threading.Thread] = []
        self._found = found or Found()

    def fetch(self, request: Request) -> Found:
        self.threads.append(threading.current_thread())
        self.begun.release()
        self.released.wait(LIMIT_S)
        return self._found

    def version(self) -> None:
        return None

    def join(self) -> None:
        """Let all calls return, and wait for their threads, which their retriever has left behind."""
        self.released.set()
        for thread in self.threads:
            thread.join(LIMIT_S)


@dataclass
class Analysing:
    """Says what was found; remembers it."""

    name: str = "cross"
    script: Callable[[Request, Mapping[str, Found]], Found] = lambda request, found: Found(
        text=f"{request.theme} {request.locale}: " + ", ".join(found)
    )
    seen: list[tuple[str, ...]] = field(default_factory=list)

    def analyse(self, request: Request, found: Mapping[str, Found]) -> Found:
        self.seen.append(tuple(found))
        return self.script(request, found)


def sleeping(name: str, seconds: float) -> Scripted:
    """A source that takes so long and finds its name."""

    def fetch(request: Request) -> Found:
        time.sleep(seconds)  # the time that a source takes is what is under test
        return Found(items(name))

    return Scripted(name, script=fetch)


def raising(name: str, error: BaseException) -> Scripted:
    def fetch(request: Request) -> Found:
        raise error

    return Scripted(name, script=fetch)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def our_threads() -> list[str]:
    """Names of the threads that retrievers started and that still run."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("ragstone-source", "ragstone-parallel"))
    ]
