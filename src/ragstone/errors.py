"""The exception tree. Every error carries what happened, what to do next, and a stable code.

RagstoneError
├── SettingsError            a setting is unknown, malformed or contradictory
├── InputError               the caller passed something unusable (path, query, filter, shape)
│   └── NotFoundError        a named collection, document or file does not exist
│       └── NoCollectionError    the collection; the service does not say whether it is missing or another's
├── DocumentError            one file cannot be read; `code` says which way
├── ModelError               an embedding or chat model cannot be loaded or does not answer
├── StoreError               the store on disk cannot do what was asked
│   ├── LockedError          another process holds the writer's lock
│   ├── MismatchError        model, dim, metric or schema differ from the collection's
│   ├── DamagedError         a file of the store fails its checksum or does not parse
│   └── DiskFullError        no space left; nothing acknowledged was lost
└── CancelledError           the caller asked to stop; what was acknowledged is kept

A subclass exists only where some caller acts differently on it.
"""

from __future__ import annotations

from typing import ClassVar


class RagstoneError(Exception):
    """Base of every error ragstone raises on purpose.

    `message` says what happened, with values and limits; `hint` what to do next (may be empty);
    `code` is a stable word for programs.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class SettingsError(RagstoneError):
    """A setting is unknown, malformed or contradicts another."""

    default_code = "settings"


class InputError(RagstoneError):
    """The caller passed something unusable; nothing was changed."""

    default_code = "invalid_input"


def engine_closed() -> InputError:
    """What is raised by an engine that was closed."""
    return InputError("this engine is closed", hint="open another one")


class NotFoundError(InputError):
    """A named collection, document or file does not exist."""

    default_code = "not_found"


class NoCollectionError(NotFoundError):
    """A named collection does not exist."""


class DocumentError(RagstoneError):
    """One file cannot be read; the others go on.

    `code` is one of `encrypted`, `no_text`, `malformed`, `too_large`, `bomb_suspected`,
    `unsupported`, `timeout`, `unreadable`.
    """

    default_code = "malformed"


class ModelError(RagstoneError):
    """An embedding or chat model cannot be loaded, or does not answer."""

    default_code = "model"


class StoreError(RagstoneError):
    """The store on disk cannot do what was asked."""

    default_code = "store"


class LockedError(StoreError):
    """Another process holds the writer's lock; the message names it."""

    default_code = "locked"


class MismatchError(StoreError):
    """Model, dim, metric or schema differ from the collection's; refused before the first write."""

    default_code = "mismatch"


class DamagedError(StoreError):
    """A file of the store fails its checksum or does not parse."""

    default_code = "damaged"


class DiskFullError(StoreError):
    """No space is left; what was acknowledged is kept and searching goes on."""

    default_code = "disk_full"


class CancelledError(RagstoneError):
    """The caller asked to stop; what was acknowledged is kept and the rest can be resumed."""

    default_code = "cancelled"
