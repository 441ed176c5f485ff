"""The exception with which every module of the sandbox refuses a call.

``sandbox.route_wrappers`` catches it and sends the response.
"""

from collections.abc import Mapping
from types import MappingProxyType

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    """Raised to refuse a call, which is then answered with ``status`` and ``{"error": {"code", "message"}}``."""

    def __init__(self, status: int, code: str, *, message: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def bad_request_error(message: str) -> Refused:
    """Return the error (400) for a request that is malformed or not allowed."""
    return Refused(400, "invalid_request", message=message)


def not_found_error(what: str) -> Refused:
    """Return the error (404) for a reference that is unknown, or that a fault hides."""
    return Refused(404, "not_found", message=f"no such {what}")
