"""What a tool is: a name and description for a model, what it takes and gives, and what it asks of the caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from ragstone.mcp import forms

Given = TypeVar("Given", bound=forms.Arguments)
Cancelled = Callable[[], bool]


class Visitor(Protocol):
    """Who calls: the service's callers, or whoever started a process that speaks over stdio."""

    def may(self, needed: Literal["read", "write"], /) -> bool:
        """Whether it may call tools of that kind."""

    def sees(self, collection: str, /) -> bool:
        """Whether a collection is one of its own."""


@dataclass(frozen=True, slots=True)
class Tool(Generic[Given]):
    """One tool. `call` runs in a thread; a `slow` one may take as long as an answer and looks at `cancelled`."""

    name: str
    title: str
    description: str
    needs: Literal["read", "write"]
    takes: type[Given]
    gives: type[forms.Result]
    call: Callable[[Given, Visitor, Cancelled], forms.Result]
    slow: bool = False
    destructive: bool = False
