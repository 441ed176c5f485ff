"""The errors of a route, for the OpenAPI document: one schema, an example for each."""

from typing import Any

from api.errors import STATUS, error_body
from api.media_types import JSON
from api.schemas.base import ErrorOut
from workflows.errors import every_error

ALWAYS = (400, 404, 422, 429, 500, 503)
"""Any route may return these: limits, an internal error, an id that does not exist, and card data in a query (422)."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses=`` of a route that may answer ``statuses`` besides those that all may."""
    return {status: _error_response(status) for status in sorted({*statuses, *ALWAYS})}


def _error_response(status: int) -> dict[str, Any]:
    errors = [error for error in every_error() if STATUS[error.kind] == status]
    examples = {error.__name__: {"summary": error.__doc__, "value": error_body(error())} for error in errors}
    description = " ".join(error.__doc__ or "" for error in errors)
    return {
        "model": ErrorOut,
        "description": description,
        "content": {JSON: {"examples": examples}},
    }
