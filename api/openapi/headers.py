"""Declare response headers in the OpenAPI document: each once in ``components``, with references where it is sent."""

from typing import Any

from api.idempotency import HEADER, REPLAYED
from api.openapi.walk import operations

Header = dict[str, Any]

REQUEST_ID, RETRY_AFTER, DISPOSITION, AUTHENTICATE = (
    "X-Request-Id",
    "Retry-After",
    "Content-Disposition",
    "WWW-Authenticate",
)

HEADERS: dict[str, Header] = {
    REQUEST_ID: {
        "description": "Identifies this request in logs and traces; name it to support. Your own `X-Request-Id` is used "
        "if it has 1 to 64 letters, digits, `.`, `_` or `-`.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": "req_019ab0c2d3e47f50a6b7c8d9e0f1a2d0",
    },
    RETRY_AFTER: {
        "description": "Seconds to wait before the same request, with the same `Idempotency-Key`, is sent again.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 3_600},
        "example": 1,
    },
    AUTHENTICATE: {
        "description": "The scheme to authenticate with.",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
        "example": "Bearer",
    },
    REPLAYED: {
        "description": f"Sent if this is the stored answer to an earlier request with the same `{HEADER}`.",
        "schema": {"type": "string", "const": "true"},
        "example": "true",
    },
    DISPOSITION: {
        "description": "The name under which to save the file.",
        "schema": {"type": "string"},
        "example": 'attachment; filename="stl_019ab0c2d3e47f50a6b7c8d9e0f1a2d1-lines.csv"',
    },
}

BY_STATUS = {"401": (AUTHENTICATE,), "429": (RETRY_AFTER,), "503": (RETRY_AFTER,)}
"""Status → the headers of its answers besides the request id."""

STORED = ("200", "201", "422")
"""The statuses of answers that are stored with their key."""

FILES = ("/lines", "/export.csv", "/export.json", "/report.pdf")
"""Endings of the paths whose 200 may be a file."""


def add_headers(document: dict[str, Any]) -> None:
    """Declare the headers of every response of ``document``."""
    document["components"]["headers"] = {name: dict(header) for name, header in HEADERS.items()}
    for path, _, operation in operations(document):
        has_key = takes_key(operation)
        for status, answer in operation["responses"].items():
            names = [REQUEST_ID, *BY_STATUS.get(status, ())]
            if has_key and status in STORED:
                names.append(REPLAYED)
            if has_key and status == "409":
                names.append(RETRY_AFTER)
            if status == "200" and path.endswith(FILES):
                names.append(DISPOSITION)
            answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def takes_key(operation: dict[str, Any]) -> bool:
    """Return whether an operation requires an idempotency key."""
    return any(parameter.get("name") == HEADER for parameter in operation.get("parameters", ()))
