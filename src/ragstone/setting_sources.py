"""Where values of settings come from: arguments, the environment, `.env` and a TOML file, each read whole.

Knows the settings by name only. An unknown name is an error that names the nearest real one.
"""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from ragstone.errors import SettingsError

logger = logging.getLogger("ragstone")

PREFIX = "RAGSTONE_"
FILE_NAME = "ragstone.toml"

# Names that users of earlier services and of OpenAI's client already have set, and what they set here.
WELL_KNOWN: Mapping[str, str] = {
    "OPENAI_API_KEY": "chat_api_key",
    "OPENAI_BASE_URL": "chat_base_url",
    "OPENAI_ORG_ID": "chat_organization",
    "OPENAI_MODEL": "chat_model",
    "MAX_CONTEXT_LENGTH": "max_context_length",
    "ENABLE_STREAMING": "enable_streaming",
    "ENABLE_METRICS": "enable_metrics",
    "DEFAULT_K_DOCUMENTS": "answer_k",
    "RAG_CPU_THREADS": "model_threads",
    "RAG_DEVICE": "device",
    "RAG_DISABLE": "disable_sources",
    "RAG_EXECUTOR_WORKERS": "executor_workers",
    "RAG_MODEL": "model",
    "HOST": "host",
    "PORT": "port",
    "LOG_LEVEL": "log_level",
}

# Tables of an earlier service's file whose keys are settings under the table's name: `[memory] cleanup_interval`.
TABLES = frozenset({"memory"})

# Those of earlier services: they work, and loading says what they are called now.
SUPERSEDED = frozenset(
    {
        "MAX_CONTEXT_LENGTH",
        "ENABLE_STREAMING",
        "ENABLE_METRICS",
        "DEFAULT_K_DOCUMENTS",
        "RAG_CPU_THREADS",
        "RAG_DEVICE",
        "RAG_DISABLE",
        "RAG_EXECUTOR_WORKERS",
        "RAG_MODEL",
    }
)
# What earlier services were told besides, and what takes its place.
GONE: Mapping[str, str] = {
    **dict.fromkeys(
        ("FAISS_INDEX_PATH", "FAISS_METADATA_PATH"),
        "take the index over with `ragstone import faiss <its folder>`",
    ),
    "RELOAD": "serve follows what other processes commit by itself",
}


def xdg_folder(variable: str, fallback: str, environ: Mapping[str, str]) -> Path:
    """`<variable>/ragstone`, or `<home>/<fallback>/ragstone` where it is unset or, as XDG says, relative."""
    base = environ.get(variable, "")
    if base and Path(base).is_absolute():
        return Path(base) / "ragstone"
    home = environ.get("HOME")
    try:
        return (Path(home) if home else Path.home()) / fallback / "ragstone"
    except RuntimeError as error:
        raise SettingsError(
            "no home folder to keep data in: HOME is not set and the user has none",
            hint="name a folder with --data-dir or RAGSTONE_DATA_DIR",
        ) from error


@dataclass(frozen=True, slots=True)
class Found:
    """A value for `field` as it stood somewhere; `name` is what it was called there."""

    field: str
    value: object
    name: str
    origin: str


def every_source(
    config_file: str | Path | None,
    overrides: Mapping[str, object],
    environ: Mapping[str, str],
    working_dir: Path,
    *,
    fields: Collection[str],
) -> Iterator[Found]:
    """All values of the settings `fields`, strongest source first.

    Every source is read, so that a mistake in any is reported. Raises `SettingsError`.
    """
    yield from _from_arguments(overrides, fields)
    yield from _from_environment(environ, lambda name: f"environment variable {name}", fields)
    dotenv = working_dir / ".env"
    if dotenv.is_file():
        yield from _from_dotenv(dotenv, fields)
    path = _config_path(config_file, environ, working_dir)
    if path is not None:
        yield from _from_toml(path, fields)


def _from_arguments(overrides: Mapping[str, object], fields: Collection[str]) -> Iterator[Found]:
    for name, value in overrides.items():
        if name not in fields:
            raise _unknown(name, "an argument", fields)
        if value is not None:
            yield Found(name, value, name, "argument")


def _from_environment(
    variables: Mapping[str, str], origin: Callable[[str], str], fields: Collection[str]
) -> Iterator[Found]:
    """Our own names first, so that they win over the well-known ones. An empty value counts as unset."""
    own = {PREFIX + field.upper(): field for field in fields}
    for name, value in variables.items():
        if name in own:
            if value:
                yield Found(own[name], value, name, origin(name))
        elif name.upper().startswith(PREFIX):
            raise _unknown(name, origin(name), own)
    for name, field in WELL_KNOWN.items():
        if variables.get(name):
            yield Found(field, variables[name], name, origin(name))
    for name, instead in GONE.items():
        if variables.get(name):
            logger.warning("%s is not read any more: %s (found: %s)", name, instead, origin(name))


def _from_dotenv(path: Path, fields: Collection[str]) -> Iterator[Found]:
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="mend or remove it") from error
    lines: dict[str, int] = {}
    values: dict[str, str] = {}
    for binding in bindings:
        if binding.error:
            raise SettingsError(
                f"{path} line {binding.original.line}: not of the form NAME=value",
                hint="quote a value that holds spaces or #",
            )
        if binding.key is not None:
            lines[binding.key] = binding.original.line
            values[binding.key] = binding.value or ""
    yield from _from_environment(values, lambda name: f"{path} line {lines[name]} ({name})", fields)


def _config_path(
    config_file: str | Path | None, environ: Mapping[str, str], working_dir: Path
) -> Path | None:
    """The one configuration file: the one named, else the folder's, else the user's, else None."""
    if config_file is not None:
        path = working_dir / Path(config_file).expanduser()
        if not path.is_file():
            raise SettingsError(
                f"no configuration file at {path}", hint="give --config an existing TOML file"
            )
        return path
    for path in (working_dir / FILE_NAME, _user_config(environ)):
        if path.is_file():
            return path
    return None


def _user_config(environ: Mapping[str, str]) -> Path:
    return xdg_folder("XDG_CONFIG_HOME", ".config", environ) / "config.toml"


def _from_toml(path: Path, fields: Collection[str]) -> Iterator[Found]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="mend or remove it") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{path} is not TOML: {error}", hint='a setting is one line: port = 8000 or model = "minilm"'
        ) from error
    for name, value in _without_tables(table):
        if name not in fields:
            raise _unknown(name, str(path), fields)
        if name == "data_dir" and isinstance(value, str):  # relative to the file, wherever it is read from
            value = str(path.parent / Path(value).expanduser())
        yield Found(name, value, name, str(path))


def _without_tables(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The file's values by setting; those of a table in `TABLES` get its name before theirs."""
    for name, value in table.items():
        if name in TABLES and isinstance(value, dict):
            for key, inner in value.items():
                yield f"{name}_{key}", inner
        else:
            yield name, value


def _unknown(name: str, origin: str, known: Collection[str]) -> SettingsError:
    nearest = difflib.get_close_matches(
        name.upper() if name.upper().startswith(PREFIX) else name.lower(), known, n=1
    )
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return SettingsError(
        f"unknown setting {name} (found: {origin})", hint=f"{hint}`ragstone config show` lists every setting"
    )
