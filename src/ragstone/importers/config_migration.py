"""Configuration written for earlier services, in the shape documented now: env files, YAML, Helm values, TOML, code.

Works on lines, so that comments, order and everything it does not know stay as they are. Nothing is evaluated: no YAML
is loaded, Python is parsed and never run.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ragstone.errors import InputError
from ragstone.setting_sources import GONE

Kind: TypeAlias = Literal["env", "yaml", "toml", "python"]
IndexType: TypeAlias = Literal["HNSW", "OPQ+HNSW"]

MAX_BYTES = 1 << 20  # a configuration is written by hand
_ENV = re.compile(
    r"(?P<head>\s*(?:export\s+)?)(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<equals>\s*=\s*)(?P<value>[^#\n]*)"
)
_YAML = re.compile(r"(?P<indent>[ ]*)(?P<name>[A-Za-z_][\w.-]*)(?P<colon>:[ ]*)(?P<value>[^#\n]*)")
_TOML_TABLE = re.compile(r"\s*\[\s*(?P<name>[A-Za-z_][\w.-]*)\s*\]")

# The names of an index's type and of what only IVF has, in env files, YAML, Helm values.
_TYPE_NAMES = frozenset({"FAISS_INDEX_TYPE", "index_type", "indexType"})
_IVF_NAMES = frozenset({"FAISS_NLIST", "FAISS_NPROBE", "nlist", "nprobe"})
# Variables of the documented services that nothing reads any more, and what takes their place.
_GONE_ENV = {
    **GONE,
    "RELOAD": "serve does not reload code",
    "ENABLE_METRICS": "metrics are always there",
}
_GONE_TABLES = {
    "memory": "memory tiers have no settings yet",
    "embedding": "batches are sized by tokens; what embeds for many callers is given its sizes (docs/caching.md)",
    "monitoring": "latencies are always recorded; `ragstone stats` shows them",
}


@dataclass(frozen=True, slots=True)
class Migrated:
    """A configuration before and after, and what was changed, one sentence each."""

    kind: Kind
    before: str
    after: str
    changes: tuple[str, ...]

    def diff(self, name: str) -> str:
        """A unified diff; empty where nothing changed."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            f"{name} (before)",
            f"{name} (after)",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def migrate_file(path: Path, *, index_type: IndexType = "HNSW") -> Migrated:
    """The configuration in a file, migrated; the file stays as it is. Raises `InputError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes, the limit is {MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="name a configuration file") from error
    return migrate(text, kind_of(path), index_type=index_type)


def kind_of(path: Path) -> Kind:
    """What a file is, by its name. Raises `InputError` for other names."""
    kinds: dict[str, Kind] = {
        ".yaml": "yaml",
        ".yml": "yaml",
        ".toml": "toml",
        ".py": "python",
        ".env": "env",
    }
    if path.name.startswith(".env") or path.name.endswith("env"):
        return "env"
    if path.suffix in kinds:
        return kinds[path.suffix]
    raise InputError(f"{path.name} is no configuration file", hint="one of .env, .yaml, .yml, .toml, .py")


def migrate(text: str, kind: Kind, *, index_type: IndexType = "HNSW") -> Migrated:
    """A configuration in the current shape. Running it again changes nothing. Raises `InputError` for Python that does
    not parse."""
    steps: dict[Kind, Callable[[str, IndexType], Iterator[tuple[str, str | None]]]] = {
        "env": _env_lines,
        "yaml": _yaml_lines,
        "toml": _toml_lines,
    }
    if kind == "python":
        return _python(text, index_type)
    lines = list(steps[kind](text, index_type))
    return Migrated(
        kind,
        text,
        "".join(line for line, _ in lines),
        tuple(change for _, change in lines if change is not None),
    )


# -- lines: each step gives a line (empty to drop it) and what was changed about it -----------------------------


def _env_lines(text: str, index_type: IndexType) -> Iterator[tuple[str, str | None]]:
    for line in text.splitlines(keepends=True):
        found = _ENV.match(line)
        if found is None:
            yield line, None
        elif found["name"] in _GONE_ENV:
            why = _GONE_ENV[found["name"]]
            yield f"# {line.lstrip()}", f"{found['name']} is not read any more: {why}"
        else:
            yield _setting(line, found, index_type)


def _yaml_lines(text: str, index_type: IndexType) -> Iterator[tuple[str, str | None]]:
    """Only inside blocks called `faiss`."""
    block: int | None = None  # the indentation of the `faiss:` that the lines are in
    for line in text.splitlines(keepends=True):
        found = _YAML.match(line)
        if found is not None and block is not None and len(found["indent"]) <= block:
            block = None
        if found is None or block is None:
            if found is not None and found["name"] == "faiss" and not found["value"].strip():
                block = len(found["indent"])
            yield line, None
        else:
            yield _setting(line, found, index_type)


def _toml_lines(text: str, index_type: IndexType) -> Iterator[tuple[str, str | None]]:
    """Tables of earlier services become comments; `[faiss]` is migrated as elsewhere."""
    table = ""
    for line in text.splitlines(keepends=True):
        opened = _TOML_TABLE.match(line)
        if opened is not None:
            table = opened["name"].partition(".")[0]
        if table in _GONE_TABLES:
            change = f"[{table}] is not read any more: {_GONE_TABLES[table]}" if opened else None
            yield (f"# {line}" if line.strip() else line), change
            continue
        found = _ENV.match(line)
        if table == "faiss" and found is not None:
            yield _setting(line, found, index_type)
        else:
            yield line, None


def _setting(line: str, found: re.Match[str], index_type: IndexType) -> tuple[str, str | None]:
    name, value = found["name"], found["value"].strip()
    if name in _IVF_NAMES:
        return "", f"{name} is gone: {index_type} has no inverted lists"
    if name in _TYPE_NAMES and value.strip("'\"").upper() == "IVF":
        start, end = found.span("value")
        new = found["value"].replace(value, value.upper().replace("IVF", index_type))
        return line[:start] + new + line[end:], f"{name}: IVF becomes {index_type} with its measured defaults"
    return line, None


# -- code ------------------------------------------------------------------------------------------------------------


def _python(text: str, index_type: IndexType) -> Migrated:
    """`FAISSIndex(..., index_type="IVF", nlist=…, nprobe=…)` with the new type and without IVF's parameters."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(f"the file is not Python: {error}") from error
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == "FAISSIndex"]
    lines = text.splitlines(keepends=True)
    changes = []
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        kind = named.get("index_type")
        if not (isinstance(kind, ast.Constant) and kind.value == "IVF"):
            continue
        kept = [keyword for keyword in call.keywords if keyword.arg not in _IVF_NAMES]
        parts = [ast.unparse(argument) for argument in call.args]
        parts += [
            f'index_type="{index_type}"' if keyword.arg == "index_type" else ast.unparse(keyword)
            for keyword in kept
        ]
        _replace(lines, call, f"{ast.unparse(call.func)}({', '.join(parts)})")
        changes.append(f"line {call.lineno}: IVF becomes {index_type} with its measured defaults")
    return Migrated("python", text, "".join(lines), tuple(reversed(changes)))


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _replace(lines: list[str], node: ast.Call, new: str) -> None:
    """Put `new` where a call stands; columns are in bytes of UTF-8."""
    assert node.end_lineno is not None and node.end_col_offset is not None  # noqa: S101 - parsed from text
    first, last = node.lineno - 1, node.end_lineno - 1
    head = lines[first].encode()[: node.col_offset].decode()
    tail = lines[last].encode()[node.end_col_offset :].decode()
    lines[first : last + 1] = [head + new + tail, *[""] * (last - first)]
