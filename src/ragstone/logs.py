"""Log lines: text or JSON, each with the id of the request that it is about, and a level for each component.

Nothing here or in what calls it logs a query, a key or a document's text.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal, TypeAlias

LogFormat: TypeAlias = Literal["text", "json"]

request_id: ContextVar[str] = ContextVar("ragstone_request_id", default="")
"""The id of the request being served; empty outside of one. A thread sees it in a copy of the context."""

ROOT = "ragstone"
COMPONENTS = (
    "access",
    "cache",
    "faiss_index",
    "importers",
    "index",
    "mcp",
    "memory",
    "monitoring",
    "parallel",
    "server",
)
# What every record has; whatever else is in it was given as `extra` and belongs into the line.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, `request_id`, and what `extra` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if known := request_id.get():
            line["request_id"] = known
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """`time level process logger: message`, and the request's id where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        known = request_id.get()
        return f"{super().format(record)} [{known}]" if known else super().format(record)


def formatter(kind: LogFormat) -> logging.Formatter:
    """The one of that name."""
    return JsonFormatter() if kind == "json" else TextFormatter()


def set_levels(level: str, components: Mapping[str, str]) -> None:
    """`level` for everything of ours, and another for each component: `{"server": "debug"}`."""
    logging.getLogger(ROOT).setLevel(level.upper())
    for name, own in components.items():
        logging.getLogger(f"{ROOT}.{name}").setLevel(own.upper())
