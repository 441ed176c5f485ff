"""Errors over HTTP: the one place that knows both the kinds of error and the status codes.

Every error body is ``{"error": {"code", "message", "details"}}``, whatever went wrong and wherever: in a route, in the
framework's own validation, or for a path that does not exist. Only the codes of the status code reference are ever sent.
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
from api.schemas.query_values import INSTANT_ISSUE
from workflows.database.row_json import render
from workflows.errors import (
    Detail,
    DomainError,
    InternalError,
    InvalidRequest,
    Kind,
    MalformedRequest,
    ResourceNotFound,
)

STATUS: Mapping[Kind, int] = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.MISSING: 404,
    Kind.CONFLICT: 409,
    Kind.INVALID: 422,
    Kind.LIMITED: 429,
    Kind.BROKEN: 500,
    Kind.UNAVAILABLE: 503,
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
    "datetime_parsing": INSTANT_ISSUE,
    "datetime_from_date_parsing": INSTANT_ISSUE,
    "datetime_type": INSTANT_ISSUE,
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
    "timezone_aware": INSTANT_ISSUE,
    "union_tag_not_found": "Must say its type",
    "union_tag_invalid": "Must be one of {expected_tags}",
}
"""What the validator found → what to do about it, in the contract's words. Others keep the validator's own words."""


def error_body(error: DomainError) -> dict[str, Any]:
    """The envelope of ``error``."""
    details = [{"field": detail.field, "issue": detail.issue} for detail in error.details]
    return {"error": {"code": error.code, "message": error.text, "details": details}}


def error_response(error: DomainError) -> Response:
    """``error`` as a response."""
    response = Response(render(error_body(error)), STATUS[error.kind], media_type=JSON)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.kind is Kind.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def install_errors(app: FastAPI) -> None:
    """Make ``app`` answer every expected error in the envelope; ``api.middleware`` answers for the unexpected."""
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)


async def _domain(request: Request, error: Exception) -> Response:
    error = cast(DomainError, error)
    if error.kind is not Kind.INVALID:
        return error_response(error)
    try:
        return await store_refusal(request, error, error_response(error))
    except DomainError as trouble:
        return error_response(trouble)


async def _validation(request: Request, error: Exception) -> Response:
    return await _domain(request, from_validation(cast(RequestValidationError, error).errors()))


def from_validation(found: Sequence[Mapping[str, Any]]) -> DomainError:
    """What the validator found as an error of ours: 400 where the request could not be read, 422 where its body is wrong."""
    places = {entry["loc"][0] for entry in found}
    is_malformed = places != {"body"} or any(entry["type"].startswith("json") for entry in found)
    details = [Detail(_field(entry), _issue(entry)) for entry in found]
    return MalformedRequest(*details) if is_malformed else InvalidRequest(*details)


def _field(entry: Mapping[str, Any]) -> str:
    if entry["type"].startswith("json"):
        return "body"
    path = [str(part) for part in entry["loc"][1:]]
    if path[:1] == ["method"] and path[1:2] and path[1] in METHOD_TYPES:
        del path[1]  # which of the methods it was; in the body itself there is no such level
    return ".".join(path) or str(entry["loc"][0])


def _issue(entry: Mapping[str, Any]) -> str:
    kind = entry["type"]
    context = entry.get("ctx") or {}
    if kind in ("too_long", "too_short") and context.get("field_type") == "Value":
        kind = f"string_{kind}"  # a limit that stands after a validator of ours is reported without saying of what
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
"""Errors that the framework itself raises. An unknown method on a known path is as unknown as the path."""


async def _framework(_request: Request, error: Exception) -> Response:
    if isinstance(error.__cause__, DomainError):
        return error_response(error.__cause__)
    said = cast(HTTPException, error)
    kind = FRAMEWORK_ERRORS.get(said.status_code, InternalError)
    return error_response(kind(Detail("body", str(said.detail))) if kind is MalformedRequest else kind())
