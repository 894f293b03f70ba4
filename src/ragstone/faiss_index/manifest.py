"""A small JSON file that vouches for itself and is replaced as a whole: the old one or the new one, after any crash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragstone.durable import replace_file
from ragstone.errors import DamagedError, NotFoundError, StoreError


def write_manifest(file: Path, body: Mapping[str, object]) -> None:
    """Put `body` in the file, durably. What it names must be durable before."""
    sha256 = hashlib.sha256(_canonical(body)).hexdigest()
    replace_file(file, json.dumps({"manifest": body, "sha256": sha256}, indent=1))


def read_manifest(file: Path) -> dict[str, Any]:
    """What `write_manifest` wrote. Raises `NotFoundError`, `StoreError` if unreadable, `DamagedError` if altered."""
    try:
        data = json.loads(file.read_bytes())
        body, sha256 = dict(data["manifest"]), data["sha256"]
    except FileNotFoundError as error:
        raise NotFoundError(
            f"no index was saved at {file.parent}", hint="save_index(path) makes one"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{file} cannot be read: {error.strerror}", hint="check its owner and permissions"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(file, "does not parse") from error
    if hashlib.sha256(_canonical(body)).hexdigest() != sha256:
        raise damaged(file, "fails its checksum")
    return body


def damaged(file: Path, what: str) -> DamagedError:
    """The error for a file that is not what was saved."""
    return DamagedError(f"{file} {what}", hint="restore it from a backup, or build the index again")


def _canonical(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
