"""What can go wrong between a client and a service.

ClientError              the exchange failed; `code` says how
└── ServiceError         the service answered, with an error
"""

from __future__ import annotations

from ragstone.errors import RagstoneError


class ClientError(RagstoneError):
    """A call failed on its way.

    `code` is one of `unreachable` (nothing was sent), `timeout`, `cut`, `stream_cut` (part of an answer had
    arrived), `protocol` (what arrived is not this service's language).
    """

    default_code = "client"


class ServiceError(ClientError):
    """The service refused or failed; `message`, `hint` and `code` are its own words.

    `status` is the HTTP status. `request_id` finds the request in the service's log, empty where none was sent.
    `retry_after_s` is how long the service asks to be left alone, None where it does not say.
    """

    default_code = "service"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "",
        status: int,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s
