"""Define the errors of the domain.

Each error has a stable ``code`` for programs and a ``kind``, which ``api/errors.py`` maps to an HTTP status. A failure of a
provider is never an exception but an outcome (``workflows.providers.base``). The table in ``docs/contract/api.md`` is
generated from the docstrings of the classes, so each docstring is one line.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class ErrorKind(StrEnum):
    """The kinds of errors. Each kind has one HTTP status."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    CONFLICT = "conflict"
    INVALID = "invalid"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Detail:
    """A detail of an error: the ``field`` that is wrong, and the ``issue``, which says what is wrong or what to do."""

    field: str
    issue: str


class DomainError(Exception):
    """The base class of all errors that are reported to callers."""

    kind: ClassVar[ErrorKind] = ErrorKind.BROKEN
    code: ClassVar[str] = "INTERNAL_ERROR"
    message: ClassVar[str] = "An unexpected error occurred. Check the status before you try again."

    def __init__(self, *details: Detail, message: str | None = None, retry_after_seconds: int | None = None) -> None:
        self.details = details
        self.text = message or self.message
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.text)


class MalformedRequest(DomainError):
    """The request could not be parsed: invalid JSON, content type, header, path or query parameter."""

    kind, code, message = ErrorKind.MALFORMED, "VALIDATION_ERROR", "Invalid request parameters"


class InvalidRequest(DomainError):
    """The body is not valid, or a value looks like card data; the details name each field."""

    kind, code, message = ErrorKind.INVALID, "VALIDATION_ERROR", "Invalid request parameters"


class NotAuthenticated(DomainError):
    """The token is missing, expired or not ours."""

    kind, code, message = ErrorKind.UNAUTHENTICATED, "AUTHENTICATION_ERROR", "Send a valid bearer token"


class CredentialRefused(NotAuthenticated):
    """The signature belongs to a known caller, but the token or assertion has expired or was used before."""


class NotAuthorized(DomainError):
    """The caller is known but not allowed to do this, because of its role or scope, or because its device is not active."""

    kind, code, message = ErrorKind.FORBIDDEN, "AUTHORIZATION_ERROR", "This caller may not do this"


class ResourceNotFound(DomainError):
    """There is no such path or row, or it belongs to another tenant."""

    kind, code, message = ErrorKind.MISSING, "RESOURCE_NOT_FOUND", "There is no such resource"


class DuplicateResource(DomainError):
    """A value that must be unique is taken, or the order's version in the request is not the current one."""

    kind, code, message = ErrorKind.CONFLICT, "DUPLICATE_RESOURCE", "This already exists"


class InvalidStatusTransition(DomainError):
    """The entity's status does not allow this; the details name the status and what is possible."""

    kind, code, message = ErrorKind.CONFLICT, "INVALID_STATUS_TRANSITION", "The current status does not allow this"


class IdempotencyKeyInUse(DomainError):
    """The first request with this key is still running; retry shortly."""

    kind, code, message = ErrorKind.CONFLICT, "IDEMPOTENCY_KEY_IN_USE", "A request with this key is still running"


class BalanceUnavailable(DomainError):
    """The bill's balance is reserved by another payment right now; the details name what is left."""

    kind, code, message = ErrorKind.CONFLICT, "BALANCE_UNAVAILABLE", "The balance of this bill is not available"


class IdempotencyKeyReused(DomainError):
    """This key was used with another body. Look up the first request's result before you use a new key."""

    kind, code = ErrorKind.INVALID, "IDEMPOTENCY_KEY_REUSED"
    message = "This key was used for a different request. Look up the result of that request before you use a new key"


class RateLimitExceeded(DomainError):
    """Too many requests; ``Retry-After`` says when the next may come."""

    kind, code, message = ErrorKind.LIMITED, "RATE_LIMIT_EXCEEDED", "Too many requests"


class ServiceUnavailable(DomainError):
    """The database is unavailable, the load is too high, or maintenance is on. Retry with the same key."""

    kind, code, message = (
        ErrorKind.UNAVAILABLE,
        "SERVICE_UNAVAILABLE",
        "The service is temporarily unavailable; retry shortly",
    )


class InternalError(DomainError):
    """An unexpected error occurred. Check the status before trying again."""

    kind, code = ErrorKind.BROKEN, "INTERNAL_ERROR"


def every_error() -> tuple[type[DomainError], ...]:
    """Return all classes of errors that are reported to callers, in the order of this module."""
    return tuple(DomainError.__subclasses__())
