"""The one exception by which any part of the sandbox refuses a call.

``sandbox.endpoint`` turns it into the answer; nothing else knows how an error looks on the wire.
"""

from collections.abc import Mapping
from types import MappingProxyType

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    """A call that gets ``{"error": {"code", "message"}}`` instead of what it asked for."""

    def __init__(self, status: int, code: str, *, message: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def bad_request(message: str) -> Refused:
    """What we could not read or must not accept."""
    return Refused(400, "invalid_request", message=message)


def not_found(what: str) -> Refused:
    """What we do not know, or for the moment pretend not to know."""
    return Refused(404, "not_found", message=f"no such {what}")
