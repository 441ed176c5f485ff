"""Render the section about errors of the API description: HTTP status, code, meaning, and what a client must do."""

from collections.abc import Mapping

from api.errors import STATUS
from api.openapi.markdown import one_line, table
from workflows.errors import (
    BalanceUnavailable,
    DomainError,
    DuplicateResource,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InternalError,
    InvalidRequest,
    InvalidStatusTransition,
    MalformedRequest,
    NotAuthenticated,
    NotAuthorized,
    RateLimitExceeded,
    ResourceNotFound,
    ServiceUnavailable,
    every_error,
)

WHAT_TO_DO: Mapping[type[DomainError], str] = {
    MalformedRequest: "Report it to the terminal's developer: the program must change. Nothing was done.",
    InvalidRequest: "Correct the fields that `details` names, and send the new body with a new key. Nothing was done.",
    NotAuthenticated: "Get a new token and repeat the request. If that is refused too, the key was replaced: activate again.",
    NotAuthorized: "Stop, and call the manager: the role is too low, or the terminal is not active.",
    ResourceNotFound: "Check the id. It may belong to another tenant.",
    DuplicateResource: "Read the resource that exists. For `client_reference`: find the payment by it, do not pay again.",
    InvalidStatusTransition: "Read the resource again; `details` says what is possible now.",
    IdempotencyKeyInUse: "Wait for `Retry-After` seconds, then repeat the same request with the same key.",
    BalanceUnavailable: "Read the bill again; another payment may end and release its amount.",
    IdempotencyKeyReused: "Look up the first request's result before the customer pays again: a new key would charge twice.",
    RateLimitExceeded: "Wait for `Retry-After` seconds, then repeat the same request with the same key.",
    InternalError: "Repeat the same request with the same key; it may have been carried out.",
    ServiceUnavailable: "Wait for `Retry-After` seconds, then repeat the same request with the same key.",
}
"""Error → what a client must do."""


def render_errors() -> str:
    """Return the table of errors as Markdown, ordered by HTTP status."""
    errors = sorted(every_error(), key=lambda error: STATUS[error.kind])
    rows = [
        (str(STATUS[error.kind]), f"`{error.code}`", one_line(error.__doc__), WHAT_TO_DO[error]) for error in errors
    ]
    return table(("HTTP", "code", "meaning", "what to do"), rows)
