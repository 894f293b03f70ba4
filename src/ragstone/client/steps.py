"""What a call asks of whoever runs it: connect, write, read, wait, hand an event on.

A flow is a generator of steps. It is resumed with the bytes of a `Read`, with none after the others, and an `OSError`
of a step is raised inside it. Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from ragstone.types import AnswerDone, AnswerToken, Hit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection; one that is open is closed before."""

    host: str
    port: int
    tls: bool
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Write:
    """Send all of `data`."""

    data: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Read:
    """Some bytes, as soon as there are any; none at the end of the connection."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection, if there is one."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AnswerSource:
    """A passage that the answer may cite as `[n]`."""

    n: int
    hit: Hit


StreamEvent: TypeAlias = AnswerSource | AnswerToken | AnswerDone


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand an event to the reader of a stream, before anything else is done."""

    event: StreamEvent


Step: TypeAlias = Connect | Write | Read | HangUp | Pause | Emit
Flow: TypeAlias = Generator[Step, bytes, T]
