"""What values settings may have beside plain numbers and words: paths, addresses, lists, levels.

Each says what is wrong with a `ValueError`, without quoting what may be secret.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from ragstone.logs import COMPONENTS
from ragstone.redis_url import redis_place

_Level = Literal["debug", "info", "warning", "error"]


def _full_path(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow links


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password; the key has a setting of its own")
    return url.rstrip("/")


def _webhook(url: str) -> str:
    _endpoint(url)
    return url  # as it is: a receiver may tell /hook and /hook/ apart


def _redis(url: SecretStr) -> SecretStr:
    redis_place(url.get_secret_value())  # its ValueError says what is wrong
    return url


def _model_name(name: str) -> str:
    """`english` and `multilingual` are the names an earlier service used, in any case."""
    named = name.lower()
    return {"english": "minilm", "multilingual": "multilingual"}.get(named, name)


def _listed(value: object) -> object:
    """`a, b` as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _networks(listed: tuple[str, ...]) -> tuple[str, ...]:
    for entry in listed:
        ipaddress.ip_network(entry)  # its ValueError says what is wrong
    return listed


def _origins(listed: tuple[str, ...]) -> tuple[str, ...]:
    for entry in listed:
        parts = urlsplit(entry)
        if (
            entry != f"{parts.scheme}://{parts.netloc}"
            or parts.scheme not in {"http", "https"}
            or not parts.netloc
        ):
            raise ValueError(
                "each must be as a browser says it: https://example.org or http://localhost:3000"
            )
    return listed


def _component_levels(listed: tuple[str, ...]) -> tuple[str, ...]:
    for entry in listed:
        component, _, level = entry.partition("=")
        if component not in COMPONENTS or level not in get_args(_Level):
            known = ", ".join(COMPONENTS)
            raise ValueError(f"each must be component=level, as server=debug; components are {known}")
    return listed


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


FullPath = Annotated[Path, AfterValidator(_full_path)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
WebhookUrl = Annotated[str, AfterValidator(_webhook)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
ModelName = Annotated[str, AfterValidator(_model_name)]
Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Networks = Annotated[Listed, AfterValidator(_networks)]
Origins = Annotated[Listed, AfterValidator(_origins)]
LogLevel = Annotated[_Level, BeforeValidator(_lower)]
LogLevels = Annotated[Listed, AfterValidator(_component_levels)]
LogFormat = Annotated[Literal["text", "json"], BeforeValidator(_lower)]
LogOutput = Annotated[Literal["file", "stderr"], BeforeValidator(_lower)]
