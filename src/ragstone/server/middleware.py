"""What every request passes before its route, in the service as in a model server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from ragstone.server.admission import Admission
from ragstone.server.boundary import BoundedBody, Crowd
from ragstone.server.door import Door
from ragstone.server.openai_errors import OpenAIErrors
from ragstone.server.origins import Origins
from ragstone.server.patience import Patience
from ragstone.server.problems import UnexpectedErrors
from ragstone.server.request_log import RequestLog

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

# FastAPI's own spans, once an application exports any, hold the address with the query, and its log what was not valid.
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def boundary(
    admission: Admission,
    routes: Sequence[BaseRoute],
    *,
    timeout_s: float,
    lanes: Sequence[Middleware] = (),
) -> list[Middleware]:
    """Outermost first: the log, forms of errors, origins, crowding, the door with its keys and rates, and limits.

    `routes` declare their policies; `lanes` refuse what would find no room behind the door. What has not been answered
    after `timeout_s` seconds is cut.
    """
    return [
        Middleware(RequestLog),
        Middleware(OpenAIErrors),
        Middleware(UnexpectedErrors),
        Middleware(Origins, names=admission.names, origins=admission.origins),
        Middleware(Crowd),
        *lanes,
        Middleware(Door, routes=routes, identity=admission.identity, rates=admission.rates),
        Middleware(Patience, timeout_s=timeout_s),
        Middleware(BoundedBody),
    ]
