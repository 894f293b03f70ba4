"""Reads pickles as data: nothing is imported, called or built that a pickle asks for.

Python's own unpickler is a machine that calls what the file names. This one walks over the same opcodes
(`pickletools.genops`, which only cuts them apart) and keeps lists, dicts, texts and numbers; an object becomes an inert
`Made` with its name and state, and only for names on a short closed list. Any other name, and every opcode that has no
place in data, refuses the file.
"""

from __future__ import annotations

import pickletools
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ragstone.errors import DamagedError

MAX_BYTES = 1 << 30  # a docstore of a million chunks of 1 kB
# Opcodes in one file; LangChain writes 41 for a document, and FAISS stores of over a million are rare.
MAX_OPCODES = 60_000_000
MAX_CONTAINERS = 10_000_000  # an empty dict is one byte in the file and 64 in memory
MAX_DEPTH = 100  # of nested values; real docstores stay below 10
# A memo lets a small file name one text a million times; written out, it may grow by this much over its size.
# Real docstores, whose source paths are shared by all chunks of a file, grow by less than 3.
MAX_GROWTH = 64
_FREE_GROWTH = 1_000_000
_LARGEST_KEY = 2**61 - 2  # whole numbers up to here hash to themselves: no two of them collide

# What the tools we read write; (module, name) → a short word for what it is.
KNOWN = {
    **{
        (module, "Document"): "document"
        for module in (
            "langchain_core.documents.base", "langchain_core.documents", "langchain.schema.document",
            "langchain.schema", "langchain.docstore.document", "langchain_community.docstore.document",
        )
    },
    **{
        (module, "InMemoryDocstore"): "docstore"
        for module in (
            "langchain_community.docstore.in_memory", "langchain.docstore.in_memory",
            "langchain_classic.docstore.in_memory",
        )
    },
    ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData"): "hnsw_labels",
    ("collections", "OrderedDict"): "dict",
    ("collections", "defaultdict"): "dict",
    **{(module, "dict"): "type" for module in ("builtins", "__builtin__")},
    **{(module, "list"): "type" for module in ("builtins", "__builtin__")},
    **{(module, "int"): "type" for module in ("builtins", "__builtin__")},
    **{(module, "str"): "type" for module in ("builtins", "__builtin__")},
    **{(module, "object"): "type" for module in ("builtins", "__builtin__")},
    **{(module, "set"): "set" for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): "set" for module in ("builtins", "__builtin__")},
    ("copyreg", "_reconstructor"): "reconstructor",
    ("copy_reg", "_reconstructor"): "reconstructor",
    ("datetime", "datetime"): "datetime",
    ("datetime", "date"): "date",
    ("uuid", "UUID"): "uuid",
    **{(module, name): "path" for module in ("pathlib", "pathlib._local")
       for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Name:
    """A name a pickle mentioned, from the closed list; it stands for nothing that could be called."""

    module: str
    name: str

    @property
    def word(self) -> str:
        """What the name is to us."""
        return KNOWN[self.module, self.name]


@dataclass(slots=True)
class Made:
    """What was an object: its name, the arguments it was made of, and the state given to it."""

    name: Name
    arguments: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)


def read_pickle(path: Path) -> Any:
    """The value in a pickle file: plain data, and `Made` where an object of a known kind stood.

    Raises `DamagedError` with code `unsafe_pickle` for one that names anything else, is too large, or uses
    opcodes that data does not need, and with code `damaged` for what is no pickle.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_BYTES:
            raise refused(path, f"it has {size_bytes:,} bytes, the limit is {MAX_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from error
    value = _Reader(path, size_bytes).read(data)
    return _Plain(path, MAX_GROWTH * size_bytes + _FREE_GROWTH).plain(value, 0)


def refused(path: Path, why: str) -> DamagedError:
    """The error for a pickle that is not read."""
    return DamagedError(
        f"{path} is refused: {why}",
        hint="nothing in it was run; only data that the store's own tool writes is read from pickles",
        code="unsafe_pickle",
    )


class _Reader:
    """The stack and memo of one file. Every step is one opcode; there are no loops, so it ends with the file."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._containers = 0

    def read(self, data: bytes) -> Any:
        """The value that the file leaves on the stack."""
        try:
            with (
                warnings.catch_warnings()
            ):  # of odd escapes in texts of protocol 0, which are kept as they are
                warnings.simplefilter("ignore", DeprecationWarning)
                return self._run(data)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error, EOFError) as error:
            raise DamagedError(
                f"{self._path} is not a whole pickle: {type(error).__name__}: {str(error)[:200]}",
                hint="take the file from a backup, or have its own tool write it again",
            ) from error

    def _run(self, data: bytes) -> Any:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number >= MAX_OPCODES:
                raise refused(self._path, f"it has more than {MAX_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise EOFError("it has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _PUTS:
            self._memo[argument] = self._stack[-1]
        elif name in _GETS:
            self._stack.append(self._memo[argument])
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name in _STEPS:
            _STEPS[name](self)
        elif name == "GLOBAL":
            module, _, called = argument.partition(" ")
            self._stack.append(self._name(module, called))
        elif name not in {"PROTO", "FRAME"}:
            raise refused(self._path, f"it uses {name}, which data does not need")

    def _name(self, module: Any, called: Any) -> Name:
        if (module, called) not in KNOWN:
            raise refused(self._path, f"it names {str(module)[:100]}.{str(called)[:100]}")
        return Name(module, called)

    def _above_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _new(self, container: Any) -> None:
        self._containers += 1
        if self._containers > MAX_CONTAINERS:
            raise refused(self._path, f"it makes more than {MAX_CONTAINERS:,} lists and dicts")
        self._stack.append(container)

    def _below(self, kind: type) -> Any:
        """The container that the values just taken belong to."""
        container = self._stack[-1]
        if type(container) is not kind:
            raise TypeError(f"{type(container).__name__} stands where a {kind.__name__} belongs")
        return container

    def _set(self, pairs: list[Any]) -> None:
        container = self._stack[-1]
        if isinstance(container, Made) and container.name.word == "dict":
            container = container.state
        elif type(container) is not dict:
            raise TypeError(f"{type(container).__name__} stands where a dict belongs")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | bytes | bool | None) and not (
                isinstance(key, int) and abs(key) <= _LARGEST_KEY
            ):
                raise refused(self._path, f"a dict has a key of type {type(key).__name__}")
            container[key] = value

    # -- one method for each opcode with something to do ------------------------------------------------

    def append(self) -> None:
        value = self._stack.pop()
        self._below(list).append(value)

    def appends(self) -> None:
        values = self._above_mark()
        self._below(list).extend(values)

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def set_items(self) -> None:
        self._set(self._above_mark())

    def make_dict(self) -> None:
        pairs = self._above_mark()
        self._new({})
        self._set(pairs)

    def stack_global(self) -> None:
        called, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._name(module, called))

    def new_object(self) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        self._new(Made(_a_name(name), tuple(arguments)))

    def new_object_with_keywords(self) -> None:
        keywords, arguments, name = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._new(Made(_a_name(name), tuple(arguments), dict(keywords)))

    def reduce(self) -> None:
        """Where Python would call `name(*arguments)`: a record of both."""
        arguments, name = self._stack.pop(), self._stack.pop()
        if _a_name(name).word == "reconstructor":
            name, arguments = arguments[0], ()
        if _a_name(name).word == "type":
            raise refused(self._path, f"it calls {name.module}.{name.name}")
        self._new(Made(name, tuple(arguments)))

    def build(self) -> None:
        state = self._stack.pop()
        made = self._stack[-1]
        if not isinstance(made, Made):
            raise TypeError(f"{type(made).__name__} stands where an object belongs")
        for part in state if isinstance(state, tuple) else (state,):
            if part is not None:
                made.state.update(part)

    def add_items(self) -> None:
        self.appends()  # a set is kept as a list: nothing here needs its values to be hashed


def _a_name(value: Any) -> Name:
    if not isinstance(value, Name):
        raise TypeError(f"{type(value).__name__} stands where a name belongs")
    return value


_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_STEPS: Mapping[str, Callable[[_Reader], None]] = {
    "EMPTY_LIST": lambda reader: reader._new([]),
    "EMPTY_DICT": lambda reader: reader._new({}),
    "EMPTY_SET": lambda reader: reader._new([]),
    "LIST": lambda reader: reader._new(reader._above_mark()),
    "TUPLE": lambda reader: reader._new(tuple(reader._above_mark())),
    "FROZENSET": lambda reader: reader._new(reader._above_mark()),
    "TUPLE1": lambda reader: reader._stack.append((reader._stack.pop(),)),
    "TUPLE2": lambda reader: reader._stack.append((reader._stack.pop(-2), reader._stack.pop())),
    "TUPLE3": lambda reader: reader._stack.append(
        (reader._stack.pop(-3), reader._stack.pop(-2), reader._stack.pop())
    ),
    "POP": lambda reader: reader._stack.pop(),
    "POP_MARK": lambda reader: reader._above_mark(),  # type: ignore[dict-item]  # dropped
    "DUP": lambda reader: reader._stack.append(reader._stack[-1]),
    "APPEND": _Reader.append,
    "APPENDS": _Reader.appends,
    "SETITEM": _Reader.set_item,
    "SETITEMS": _Reader.set_items,
    "DICT": _Reader.make_dict,
    "ADDITEMS": _Reader.add_items,
    "STACK_GLOBAL": _Reader.stack_global,
    "NEWOBJ": _Reader.new_object,
    "NEWOBJ_EX": _Reader.new_object_with_keywords,
    "REDUCE": _Reader.reduce,
    "BUILD": _Reader.build,
}


class _Plain:
    """Writes a value out without sharing, under a budget: what a memo repeats is paid for each time."""

    def __init__(self, path: Path, budget: int) -> None:
        self._path = path
        self._left = budget

    def plain(self, value: Any, depth: int) -> Any:
        self._left -= len(value) + 1 if isinstance(value, str | bytes) else 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise refused(self._path, "its values repeat or nest beyond measure")
        if isinstance(value, list | tuple):
            return [self.plain(item, depth + 1) for item in value]
        if isinstance(value, dict):
            self._left -= sum(len(key) for key in value if isinstance(key, str | bytes))
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, Made):
            return self._made(value, depth)
        return None if isinstance(value, Name) else value

    def _made(self, made: Made, depth: int) -> Any:
        arguments = self.plain(list(made.arguments), depth + 1)
        state = self.plain(made.state, depth + 1)
        match made.name.word:
            case "dict":
                return state
            case "set":
                return arguments[0] if arguments else []
            case "path":
                return "/".join(str(part) for part in arguments).replace("//", "/")
            case "uuid":
                whole = state.get("int")
                return (
                    str(UUID(int=whole)) if isinstance(whole, int) and 0 <= whole < 2**128 else str(arguments)
                )
            case "datetime" | "date":
                return _moment(arguments)
            case _:
                return Made(made.name, tuple(arguments), state)


def _moment(arguments: list[Any]) -> str:
    """ISO text of the bytes that a pickled date (4) or datetime (10) consists of."""
    data = arguments[0] if arguments else b""
    if isinstance(data, str):
        data = data.encode("latin-1", "replace")
    try:
        year, month, day = data[0] * 256 + data[1], data[2], data[3]
        if len(data) == 4:
            return date(year, month, day).isoformat()
        return datetime(year, month & 127, day, data[4], data[5], data[6]).isoformat()
    except (IndexError, ValueError, TypeError):
        return ""
