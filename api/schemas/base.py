"""What all bodies have in common: no unknown fields, no coercion, no card data, no text a database would choke on."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workflows.card_data import ISSUE, find_card_data
from workflows.errors import Detail, InvalidRequest
from workflows.money import MAX_AMOUNT, currencies


class Body(BaseModel):
    """The root of every request body."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_card_data(cls, value: Any) -> Any:
        # Raised as our own error, not the validator's: that one would carry the value along.
        found = [Detail(path, ISSUE) for path in find_card_data(value)]
        if found:
            raise InvalidRequest(*found)
        return value


def _clean(value: str) -> str:
    if not value.isprintable():
        raise ValueError("Must be printable text without control characters")
    return value


def _tender(value: str) -> str:
    if value not in currencies():
        raise ValueError("Must be the ISO 4217 code of a currency in use, for example JPY")
    return value


def _clean_json(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value, depth=0)
    return value


MAX_DEPTH, MAX_ENTRIES, MAX_TEXT = 5, 50, 500


def _check_json(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"Must not be nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if len(value) > MAX_TEXT or not all(c.isprintable() or c in "\n\t" for c in value):
            raise ValueError(f"Must hold printable texts of at most {MAX_TEXT} characters")
    elif isinstance(value, dict | list):
        if len(value) > MAX_ENTRIES:
            raise ValueError(f"Must have at most {MAX_ENTRIES} entries")
        for name in value if isinstance(value, dict) else ():
            _check_json(name, depth=depth)
        for inner in value.values() if isinstance(value, dict) else value:
            _check_json(inner, depth=depth + 1)
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - only NaN differs from itself
            raise ValueError("Must hold finite numbers")
    elif isinstance(value, int) and abs(value) >= 2**53:
        raise ValueError("Must hold whole numbers below 2^53")


def text(max_length: int) -> Any:
    """A printable text of 1 to ``max_length`` characters."""
    return Annotated[str, Field(min_length=1, max_length=max_length), AfterValidator(_clean)]


Amount = Annotated[int, Field(gt=0, le=MAX_AMOUNT, description="Minor units of the currency; 1000 JPY is 1,000 yen")]
Tip = Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="On top of the amount, minor units")]
Currency = Annotated[str, AfterValidator(_tender), Field(description="ISO 4217", examples=["JPY"])]
Metadata = Annotated[dict[str, Any], AfterValidator(_clean_json), Field(description="Whatever you want to find again")]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")]


class ErrorDetail(BaseModel):
    """One thing that is wrong."""

    field: str
    issue: str


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    details: list[ErrorDetail]


class ErrorOut(BaseModel):
    """The body of every error."""

    error: ErrorBody
