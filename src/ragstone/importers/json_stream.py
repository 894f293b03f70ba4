"""A JSON file read value by value, so that a file of any size takes the memory of its largest value.

A pull reader: the caller walks into objects and arrays and takes, decodes or skips each value in turn. Knows nothing
of what the files mean.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ragstone.errors import DamagedError
from ragstone.types import Vector

_WINDOW_CHARS = 1 << 20  # 1 MiB: large enough that the decoder's own loop does the work
# One value may take this much: a document of 50 MB (the reader's own limit) with escapes still passes.
MAX_VALUE_CHARS = 128 << 20
_MAX_VECTOR_CHARS = (
    65_536 * 32
)  # the largest dim of any model in use is 16,384; a double prints in 25 characters
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


class JsonStream:
    """A position in a JSON file. Raises `DamagedError`, naming the file and place, for what is not JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._dropped = 0  # characters before the window
        self._ended = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> JsonStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def members(self) -> Iterator[str]:
        """The keys of the object here, in order. The caller consumes each value before it asks for the next key."""
        yield from self._items("{", "}")

    def elements(self) -> Iterator[None]:
        """Once for each value of the array here; the caller consumes it."""
        for _ in self._items("[", "]"):
            yield None

    def _items(self, opening: str, closing: str) -> Iterator[str]:
        self._expect(opening)
        if self._peek() == closing:
            self._at += 1
            return
        while True:
            key = ""
            if opening == "{":
                if self._peek() != '"':
                    raise self._fault("a name in quotes is missing")
                key = self.value()
                self._expect(":")
            yield key
            if self._peek() == closing:
                self._at += 1
                return
            self._expect(",")

    def kind(self) -> str:
        """The first character of the value here: `{`, `[`, `"`, a digit, `-`, or the letter of a literal."""
        return self._peek()

    def value(self) -> Any:
        """The value here, decoded whole."""
        self._peek()
        wanted = 0
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                # Else a number may go on behind the window: `0.` and `1e-` read as 0 and 1 so far.
                if len(self._text) - end > 2 or self._ended or not isinstance(value, int | float):
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if self._ended or self._is_wrong(error):
                    raise self._fault(error.msg, error.pos) from error
            except RecursionError as error:
                raise self._fault("values are nested too deeply") from error
            wanted = max(2 * wanted, len(self._text) - self._at + _WINDOW_CHARS)
            if wanted > MAX_VALUE_CHARS:
                raise self._fault(f"no value ends within {MAX_VALUE_CHARS:,} characters")
            self._fill(wanted)

    def _is_wrong(self, error: json.JSONDecodeError) -> bool:
        """Whether more of the file cannot mend it: the fault is not where the window ends."""
        return not error.msg.startswith("Unterminated") and error.pos < len(self._text) - 32

    def vector(self) -> Vector | None:
        """The array of numbers here, (dim,) float32; None where it holds anything else (it is consumed)."""
        if self._peek() != "[":
            self.value()
            return None
        wanted = _WINDOW_CHARS
        while (end := self._text.find("]", self._at)) < 0:
            if self._ended or wanted > _MAX_VECTOR_CHARS:
                raise self._fault("a list of numbers does not end")
            self._fill(wanted)
            wanted *= 2
        numbers = self._text[self._at : end + 1]
        if '"' in numbers or "[" in numbers[1:]:
            self.value()
            return None
        self._at = end + 1
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is looked for
                row: Vector = np.array(json.loads(numbers), dtype=np.float64).astype(np.float32)
        except (ValueError, OverflowError) as error:
            raise self._fault(f"a list of numbers cannot be read: {error}") from error
        except TypeError:  # null, or an empty object
            return None
        return row

    def skip(self) -> None:
        """Pass over the value here, going into objects and arrays rather than holding them whole."""
        kind = self._peek()
        if kind == "{":
            for _ in self.members():
                self.skip_shallow()
        elif kind == "[":
            for _ in self.elements():
                self.skip_shallow()
        else:
            self.value()

    def skip_shallow(self) -> None:
        """Pass over a value that is known to be of moderate size."""
        if self._peek() == "[":
            self.vector()
        else:
            self.value()

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._fault(f"{character!r} is missing")
        self._at += 1

    def _peek(self) -> str:
        """The next character that is not white space, left where it is."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                raise self._fault("the file ends too early")
            self._fill(_WINDOW_CHARS)

    def _fill(self, wanted: int) -> None:
        """Read until `wanted` characters lie ahead, or the file ends; what has been passed is let go."""
        pieces = [self._text[self._at :]]
        ahead = len(pieces[0])
        self._dropped += self._at
        self._at = 0
        try:
            while ahead < wanted and not self._ended:
                data = self._file.read(_WINDOW_CHARS)
                self._ended = not data
                pieces.append(self._decode(data, self._ended))
                ahead += len(pieces[-1])
        except UnicodeDecodeError as error:
            raise DamagedError(f"{self._path} is not UTF-8 text: {error}", hint=_HINT) from error
        except OSError as error:
            raise DamagedError(f"{self._path} cannot be read: {error.strerror}", hint=_HINT) from error
        self._text = "".join(pieces)

    def _fault(self, what: str, position: int | None = None) -> DamagedError:
        at = self._dropped + (self._at if position is None else position)
        return DamagedError(f"{self._path} is damaged at character {at:,}: {what}", hint=_HINT)


_HINT = "take the file from a backup, or have its own tool write it again"


def json_file(path: Path, *, max_bytes: int) -> Any:
    """A whole small JSON file. Raises `DamagedError`, also when it has more than `max_bytes`."""
    try:
        if path.stat().st_size > max_bytes:
            raise DamagedError(f"{path} has {path.stat().st_size:,} bytes, the limit is {max_bytes:,}")
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not JSON: {error}", hint=_HINT) from error
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
