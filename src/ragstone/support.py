"""A bundle for whoever helps: versions, settings, checks, counts, imports and the end of the logs in one zip file.

Never a document, a title, a question or a secret. Values of secret settings, of secret-looking environment variables,
keys and passwords in any text are replaced, and so is the home folder; what was replaced is counted, so that it can be
looked at.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ragstone import wire
from ragstone.engine import Ragstone
from ragstone.errors import InputError, RagstoneError, StoreError
from ragstone.importers.journal import journals
from ragstone.settings import Settings
from ragstone.version import __version__

LOG_BYTES = 200_000  # the end of each log: some thousand lines, days of warnings
FILES_LISTED = 10_000
REMOVED = "[removed]"
LEAST_SECRET = 6  # a shorter value stands in every other word
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
# Keys of this service, of OpenAI and its like, bearer headers, names with a value, credentials in addresses.
_SECRET_FORMS = (
    re.compile(r"\brgs_[A-Za-z0-9_-]{8,}"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"),
    re.compile(r"(?i)(?<=\bbearer )[^\s\"',;]+"),
    re.compile(r"(?i)(?<=://)[^\s/@]{1,200}(?=@)"),
    re.compile(
        r"(?i)(?:api[_-]?key|access[_-]?key|token|secret|passwor[dt]|passwd)[\"']{0,1}\s{0,3}[:=]\s{0,3}"
        r"[\"']{0,1}([^\s\"',;&]+)"
    ),
)
PACKAGES = (
    "apsw",
    "faiss-cpu",
    "fastapi",
    "h11",
    "numpy",
    "onnx",
    "onnxruntime",
    "redis",
    "tantivy",
    "tokenizers",
    "uvicorn",
)

README = """What is in here
  summary.json      versions, machine, free disk and memory
  doctor.json       what each check of `ragstone doctor` found
  settings.json     every setting and where its value came from; secrets are masked
  collections.json  documents, chunks, bytes, model and index of each collection
  imports.json      imports from other tools and how far they are
  files.json        names and sizes of the files in the data directory
  logs/             the end of each log

Left out: documents, their titles and texts, questions, memories. {removed} secret-looking values were replaced by
{mark}. Names of files that could not be read are in the logs. Please look before you send it.
"""


class Redactor:
    """Takes secrets out of texts: those given, and what looks like one. The home folder becomes `~`."""

    def __init__(self, secrets: Iterable[str], *, home: str = "") -> None:
        known = {secret for secret in secrets if len(secret) >= LEAST_SECRET}
        self._known = sorted(known, key=len, reverse=True)  # one may hold another
        self._home = home.rstrip("/")
        self.removed = 0

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._known:
            self.removed += text.count(secret)
            text = text.replace(secret, REMOVED)
        for form in _SECRET_FORMS:
            text = form.sub(self._replaced, text)
        return text.replace(self._home, "~") if len(self._home) > 1 else text

    def value(self, value: Any) -> Any:
        """A JSON value whose every string, keys included, is without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value

    def _replaced(self, found: re.Match[str]) -> str:
        group = 1 if found.re.groups else 0
        if found[group] in {REMOVED, "********"}:
            return found[0]
        self.removed += 1
        start, end = (position - found.start() for position in found.span(group))
        return found[0][:start] + REMOVED + found[0][end:]


def secrets_of(settings: Settings | None, environ: Mapping[str, str]) -> list[str]:
    """The values that must not leave: secret settings, with the passwords in their addresses, and such variables."""
    found = [value for name, value in environ.items() if _SECRET_NAME.search(name)]
    for name in type(settings).model_fields if settings else ():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            found.append(value.get_secret_value())
    passwords = [re.findall(r"://[^/@]*?:([^/@]+)@", value) for value in found]
    return [*found, *(password for each in passwords for password in each)]


def contents(
    settings: Settings | None,
    findings: list[wire.Json],
    *,
    environ: Mapping[str, str],
    clock: Callable[[], float] = time.time,
) -> dict[str, str]:
    """The bundle's files by name, without secrets; `settings` None where they cannot be read, `findings` are doctor's.

    A part that cannot be made says why: a bundle is wanted when things are broken.
    """
    redactor = Redactor(secrets_of(settings, environ), home=environ.get("HOME", ""))
    parts: dict[str, Callable[[], Any]] = {
        "summary.json": lambda: _summary(settings, clock()),
        "doctor.json": lambda: findings,
    }
    if settings is not None:
        known = settings
        parts |= {
            "settings.json": lambda: {
                name: {"value": value, "origin": known.origins[name]} for name, value in known.shown().items()
            },
            "collections.json": lambda: _collections(known),
            "imports.json": lambda: _imports(known.data_dir),
            "files.json": lambda: _files(known.data_dir),
        }
    made = {name: _json(redactor, part) for name, part in parts.items()}
    if settings is not None:
        for log in sorted((settings.data_dir / "logs").glob("*.log*")):
            made[f"logs/{log.name}"] = redactor.text(_end_of(log))
    made["README.txt"] = README.format(removed=redactor.removed, mark=REMOVED)
    return made


def write(path: Path, files: Mapping[str, str]) -> None:
    """A zip file that only its owner may read; all of it or none. Raises `InputError` if there is one, `StoreError`."""
    if path.exists():
        raise InputError(f"{path} exists", hint="name another file")
    draft = path.with_name(f".{path.name}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as target,
            zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle,
        ):
            for name, text in sorted(files.items()):
                bundle.writestr(name, text.encode("utf-8", "replace"))
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(
            f"{path} cannot be written: {error.strerror}", hint="name a file elsewhere"
        ) from error


def _json(redactor: Redactor, part: Callable[[], Any]) -> str:
    try:
        value = part()
    except (RagstoneError, OSError) as error:
        value = {"error": str(error)}
    return json.dumps(redactor.value(value), indent=1, ensure_ascii=False) + "\n"


def _summary(settings: Settings | None, now_s: float) -> wire.Json:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    found: wire.Json = {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s)),
        "ragstone": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": versions,
    }
    if settings is not None:
        nearest = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
        found["disk_free_bytes"] = shutil.disk_usage(nearest).free
    return found


def _collections(settings: Settings) -> wire.Json:
    """Counts of each collection; of one that does not open, why."""
    found: wire.Json = {}
    with Ragstone(settings=settings) as engine:
        names = engine.collections()
    for name in names:
        try:
            with Ragstone(settings=settings.model_copy(update={"collection": name})) as engine:
                stats = wire.plain_json(engine.stats())
            found[name] = {
                key: stats[key] for key in stats if key not in {"collections", "latencies_ms", "caches"}
            }
        except RagstoneError as error:
            found[name] = {"error": str(error)}
    return found


def _imports(data_dir: Path) -> list[wire.Json]:
    home = data_dir / "imports"
    names = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
    return [
        {
            "collection": name,
            "format": journal.format,
            "state": journal.state,
            "files": len(journal.files),
            "bytes": sum(file.size_bytes for file in journal.files),
            "started_s": journal.started_s,
        }
        for name in names
        for _, journal in journals(data_dir, name)
    ]


def _files(data_dir: Path) -> list[wire.Json]:
    listed: list[wire.Json] = []
    for parent, folders, names in os.walk(data_dir):
        folders.sort()
        for name in sorted(names):
            if len(listed) == FILES_LISTED:
                return listed
            path = Path(parent) / name
            listed.append({"path": str(path.relative_to(data_dir)), "bytes": path.lstat().st_size})
    return listed


def _end_of(log: Path) -> str:
    """The last whole lines of a log, of `LOG_BYTES` at most."""
    with log.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - LOG_BYTES)
        file.seek(start)
        text = file.read(LOG_BYTES).decode("utf-8", "replace")
    return text.partition("\n")[2] if start else text
