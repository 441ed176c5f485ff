"""Turn errors into HTTP responses. Only this module maps kinds of error to status codes.

Every error body is ``{"error": {"code", "message", "details"}}``, whether the error comes from a route, from the framework's
validation, or from a path that does not exist. Every code that is sent is defined in ``workflows.errors``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.idempotency import store_refusal
from api.media_types import JSON
from api.schemas.patterns import DAY_PATTERN, IN_WORDS
from api.schemas.payments import METHOD_TYPES
from api.schemas.query_types import TIMESTAMP_ISSUE
from workflows.database.json_rendering import render
from workflows.errors import (
    Detail,
    DomainError,
    ErrorKind,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    ResourceNotFound,
)

STATUS: Mapping[ErrorKind, int] = {
    ErrorKind.MALFORMED: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.MISSING: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.INVALID: 422,
    ErrorKind.LIMITED: 429,
    ErrorKind.BROKEN: 500,
    ErrorKind.UNAVAILABLE: 503,
}

DAY = IN_WORDS[DAY_PATTERN]

ISSUES: Mapping[str, str] = {
    "missing": "This field is required",
    "extra_forbidden": "There is no such field",
    "greater_than": "Must be greater than {gt}",
    "greater_than_equal": "Must be at least {ge}",
    "less_than_equal": "Must be at most {le}",
    "less_than": "Must be less than {lt}",
    "int_type": "Must be a whole number",
    "string_type": "Must be text",
    "bool_type": "Must be true or false",
    "dict_type": "Must be an object",
    "list_type": "Must be a list",
    "model_type": "Must be an object",
    "model_attributes_type": "Must be an object",
    "string_too_long": "Must have at most {max_length} characters",
    "string_too_short": "Must have at least {min_length} characters",
    "string_pattern_mismatch": "Must match {pattern}",
    "string_unicode": "Must be valid Unicode text",
    "datetime_parsing": TIMESTAMP_ISSUE,
    "datetime_from_date_parsing": TIMESTAMP_ISSUE,
    "datetime_type": TIMESTAMP_ISSUE,
    "too_long": "Must have at most {max_length} entries",
    "too_short": "Must have at least {min_length} entries",
    "literal_error": "Must be {expected}",
    "enum": "Must be {expected}",
    "int_parsing": "Must be a whole number",
    "int_from_float": "Must be a whole number",
    "float_parsing": "Must be a number",
    "bool_parsing": "Must be true or false",
    "date_parsing": DAY,
    "date_from_datetime_parsing": DAY,
    "date_from_datetime_inexact": DAY,
    "date_type": DAY,
    "timezone_aware": TIMESTAMP_ISSUE,
    "union_tag_not_found": "Must have a type",
    "union_tag_invalid": "Must be one of {expected_tags}",
}
"""Type of a validation error in pydantic → the issue that is sent. For other types pydantic's own message is sent."""


def error_body(error: DomainError) -> dict[str, Any]:
    """Return the body of an error response."""
    details = [{"field": detail.field, "issue": detail.issue} for detail in error.details]
    return {"error": {"code": error.code, "message": error.text, "details": details}}


def error_response(error: DomainError) -> Response:
    """Return the HTTP response for ``error``."""
    response = Response(render(error_body(error)), STATUS[error.kind], media_type=JSON)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.kind is ErrorKind.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def install_errors(app: FastAPI) -> None:
    """Register the handlers of expected errors. Unexpected exceptions are answered by ``api.middleware``."""
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)


async def _domain(request: Request, error: Exception) -> Response:
    error = cast(DomainError, error)
    if error.kind is not ErrorKind.INVALID:
        return error_response(error)
    try:
        return await store_refusal(request, error, error_response(error))
    except DomainError as other:
        return error_response(other)


async def _validation(request: Request, error: Exception) -> Response:
    return await _domain(request, from_validation(cast(RequestValidationError, error).errors()))


def from_validation(findings: Sequence[Mapping[str, Any]]) -> DomainError:
    """Convert pydantic's findings into one error.

    Its status is 422 if all findings are about a body that is valid JSON, otherwise 400.
    """
    parts = {finding["loc"][0] for finding in findings}
    is_malformed = parts != {"body"} or any(finding["type"].startswith("json") for finding in findings)
    details = [Detail(_field(finding), _issue(finding)) for finding in findings]
    return MalformedRequest(*details) if is_malformed else InvalidRequest(*details)


def _field(entry: Mapping[str, Any]) -> str:
    if entry["type"].startswith("json"):
        return "body"
    path = [str(part) for part in entry["loc"][1:]]
    if path[:1] == ["method"] and path[1:2] and path[1] in METHOD_TYPES:
        del path[1]  # pydantic adds the type of the method as a level, which the body does not have
    return ".".join(path) or str(entry["loc"][0])


def _issue(entry: Mapping[str, Any]) -> str:
    kind = entry["type"]
    context = entry.get("ctx") or {}
    if kind in ("too_long", "too_short") and context.get("field_type") == "Value":
        kind = f"string_{kind}"  # after a validator of ours, pydantic does not say that the limit is one of characters
    if kind.endswith("too_short") and context.get("min_length") == 1:
        return "Must not be empty"
    if context.get("pattern") in IN_WORDS:
        return IN_WORDS[context["pattern"]]
    if kind == "value_error":
        return str(entry["msg"]).removeprefix("Value error, ")
    if kind.startswith("json"):
        return "Must be valid JSON"
    if kind in ISSUES:
        return ISSUES[kind].format_map({name: str(value).removesuffix(".0") for name, value in context.items()})
    return str(entry["msg"])


FRAMEWORK_ERRORS: Mapping[int, type[DomainError]] = {
    400: MalformedRequest,
    404: ResourceNotFound,
    405: ResourceNotFound,
}
"""Status of an error that the framework raises → our error. A method that a path does not have is answered with 404."""


async def _framework(_request: Request, error: Exception) -> Response:
    if isinstance(error.__cause__, DomainError):
        return error_response(error.__cause__)
    raised = cast(HTTPException, error)
    kind = FRAMEWORK_ERRORS.get(raised.status_code, InternalError)
    return error_response(kind(Detail("body", str(raised.detail))) if kind is MalformedRequest else kind())
