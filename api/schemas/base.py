"""The base classes and common fields of bodies: no unknown fields, no coercion, no card data, no control characters."""

import math
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from api.schemas.enumerations import ErrorCode
from api.schemas.patterns import ID_PATTERN
from workflows.card_data import ISSUE, find_card_data
from workflows.errors import Detail, InvalidRequest
from workflows.money import MAX_AMOUNT, currencies


class Part(BaseModel):
    """A part of a request body. Unknown fields are refused. Card data is searched for once, in the whole ``Body``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def comparison_fields(self) -> dict[str, Any]:
        """Return the fields to compare two requests by, with defaults that depend on other fields filled in."""
        return dict(self.__dict__)


class Body(Part):
    """The root of every request body."""

    masked_later: ClassVar[frozenset[str]] = frozenset()
    """Fields in which card data is accepted, because it is masked before it is stored."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_card_data(cls, value: Any) -> Any:
        examined = value
        if cls.masked_later and isinstance(value, dict):
            examined = {name: inner for name, inner in value.items() if name not in cls.masked_later}
        refuse_card_data(examined)
        return value


def refuse_card_data(value: Any, path: str = "") -> None:
    """Raise ``InvalidRequest`` if ``value`` holds card data, with a detail for each path.

    Paths begin with ``path``.
    """
    # Not a pydantic error, because that would contain the value.
    try:
        found = [Detail(found_at, ISSUE) for found_at in find_card_data(value, path)]
    except RecursionError as error:  # nested so deeply that it can be parsed but not searched
        raise ValueError("Must not be nested so deeply") from error
    if found:
        raise InvalidRequest(*found)


def _check_printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("Must be printable text without control characters")
    if value.isspace():
        raise ValueError("Must not be blank")
    return value


def _check_currency(value: str) -> str:
    if value not in currencies():
        raise ValueError("Must be the ISO 4217 code of a currency in use, for example JPY")
    return value


def _check_json_object(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value, depth=0)
    return value


MAX_DEPTH, MAX_ENTRIES, MAX_TEXT = 5, 50, 500
EXACT = 2**53
"""The smallest refused integer: JSON readers that use floats cannot tell it from the next one."""


def _check_json(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"Must not be nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict | list):
        if len(value) > MAX_ENTRIES:
            raise ValueError(f"Must have at most {MAX_ENTRIES} entries")
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_json(inner, depth=depth + 1)
    else:
        _check_scalar(value)


def _check_scalar(value: Any) -> None:
    if isinstance(value, str) and (len(value) > MAX_TEXT or not value.replace("\n", " ").isprintable()):
        raise ValueError(f"Must hold printable texts of at most {MAX_TEXT} characters")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Must hold finite numbers")
    if isinstance(value, int) and abs(value) >= EXACT:
        raise ValueError("Must hold whole numbers below 2^53")


Printable = Annotated[str, Field(min_length=1), AfterValidator(_check_printable)]
"""A text that is not blank and has no control characters. Each use adds a maximum length."""


def unset() -> Any:
    """Return the default of a field that may be omitted but must not be null.

    Read such a field only if its name is in ``model_fields_set``.
    """
    return None


Amount = Annotated[int, Field(gt=0, le=MAX_AMOUNT, description="Minor units of the currency; 1000 JPY is 1,000 yen")]
Tip = Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="On top of the amount, minor units")]
Currency = Annotated[str, AfterValidator(_check_currency), Field(description="ISO 4217", examples=["JPY"])]
Metadata = Annotated[
    dict[str, Any], AfterValidator(_check_json_object), Field(description="Your own data, returned unchanged")
]
Id = Annotated[str, Field(pattern=ID_PATTERN)]


class ReasonIn(Body):
    """A reason, which is stored in the history."""

    reason: Annotated[Printable, Field(max_length=200)] | None = None


_FOR_MANAGERS = "Only in answers to a GET by store managers and above"
DueAt = Annotated[
    datetime | None, Field(description=f"When a worker processes it next; null if none will. {_FOR_MANAGERS}")
]
InDoubtSince = Annotated[
    datetime | None, Field(description=f"Since when the outcome is unknown; null once it is known. {_FOR_MANAGERS}")
]
Attempts = Annotated[
    int | None, Field(description=f"Number of calls to the provider that could move money. {_FOR_MANAGERS}")
]
Inquiries = Annotated[int | None, Field(description=f"Number of inquiries about the outcome. {_FOR_MANAGERS}")]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]


class VersionIn(Body):
    """The version that the caller has read. If it is not the current version, nothing is changed (409)."""

    version: Version | None = None


class ReasonedVersionIn(ReasonIn, VersionIn):
    """The version that the caller has read, and a reason, which is stored in the history."""


class NothingIn(Body):
    """An empty body. Any field is refused, because it would be ignored."""


class ErrorDetail(BaseModel):
    """One error in the request."""

    field: Annotated[str, Field(description="The field, header or part of the request", examples=["amount"])]
    issue: Annotated[str, Field(description="What to do about it", examples=["Must be greater than 0"])]


class ErrorBody(BaseModel):
    """The code of an error, its message and its details."""

    code: ErrorCode
    message: Annotated[str, Field(description="For people; the wording may change")]
    details: Annotated[list[ErrorDetail], Field(description="The errors in the request; may be empty")]


class ErrorOut(BaseModel):
    """The body of every error."""

    error: ErrorBody
