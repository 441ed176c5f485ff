"""Render the errors for developers of terminals: what to do about each code, and whether the customer may be charged again."""

from collections.abc import Mapping

from api.errors import STATUS
from api.openapi.error_section import WHAT_TO_DO
from mpac.devtools.documentation.tables import table
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

CHARGE_AGAIN: Mapping[type[DomainError], str] = {
    MalformedRequest: "yes",
    InvalidRequest: "yes, with a new key",
    NotAuthenticated: "no: repeat first",
    NotAuthorized: "yes, but not by this terminal",
    ResourceNotFound: "yes",
    DuplicateResource: "**no**",
    InvalidStatusTransition: "**no**: read its status",
    IdempotencyKeyInUse: "**no**",
    BalanceUnavailable: "yes, up to the balance",
    IdempotencyKeyReused: "**no**",
    RateLimitExceeded: "no: repeat first",
    InternalError: "**no**",
    ServiceUnavailable: "**no**",
}
"""Error → whether the terminal may charge the customer in another request, if no earlier try was left unanswered."""


def render_terminal_errors() -> str:
    """Return one row per error, by status."""
    errors = sorted(every_error(), key=lambda error: STATUS[error.kind])
    rows = [(f"`{error.code}`", str(STATUS[error.kind]), WHAT_TO_DO[error], CHARGE_AGAIN[error]) for error in errors]
    return table(("code", "HTTP", "what the terminal must do", "charge again?"), rows)
