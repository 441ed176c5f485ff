"""Declare the error responses of a route for the OpenAPI document, with an example of each error."""

import inspect
from typing import Any

from api.errors import STATUS, error_body
from api.media_types import JSON
from api.schemas.base import ErrorOut
from workflows.errors import every_error

ALWAYS = (400, 404, 422, 429, 500, 503)
"""Statuses that any route may return: for limits, internal errors, unknown ids, or card data in a query (422)."""


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses=`` argument of a route that may answer ``statuses`` besides ``ALWAYS``."""
    return {status: _error_response(status) for status in sorted({*statuses, *ALWAYS})}


def _error_response(status: int) -> dict[str, Any]:
    errors = [error for error in every_error() if STATUS[error.kind] == status]
    examples = {error.__name__: {"summary": inspect.getdoc(error), "value": error_body(error())} for error in errors}
    description = " ".join(inspect.getdoc(error) or "" for error in errors)
    return {
        "model": ErrorOut,
        "description": description,
        "content": {JSON: {"examples": examples}},
    }
