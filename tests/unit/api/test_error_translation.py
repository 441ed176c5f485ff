"""Each kind of error has an HTTP status, and validation errors are translated to the contract's messages."""

from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from api.errors import ISSUES, STATUS, error_body, error_response, from_validation
from api.schemas.orders import OrderIn
from api.schemas.payments import CancelIn, PaymentIn
from api.schemas.query_types import TIMESTAMP_ISSUE
from workflows.errors import Detail, DomainError, ErrorKind, InvalidRequest, MalformedRequest, every_error

ALLOWED = {400, 401, 403, 404, 409, 422, 429, 500, 503}
CODES = {
    "VALIDATION_ERROR": {400, 422},
    "AUTHENTICATION_ERROR": {401},
    "AUTHORIZATION_ERROR": {403},
    "RESOURCE_NOT_FOUND": {404},
    "DUPLICATE_RESOURCE": {409},
    "INVALID_STATUS_TRANSITION": {409},
    "IDEMPOTENCY_KEY_IN_USE": {409},
    "BALANCE_UNAVAILABLE": {409},
    "IDEMPOTENCY_KEY_REUSED": {422},
    "RATE_LIMIT_EXCEEDED": {429},
    "INTERNAL_ERROR": {500},
    "SERVICE_UNAVAILABLE": {503},
}


def test_every_kind_of_error_has_its_http_status() -> None:
    assert set(STATUS) == set(ErrorKind)
    assert set(STATUS.values()) == ALLOWED


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_is_answered_in_the_envelope_with_its_code(error: type[DomainError]) -> None:
    made = error(Detail("here", "do this"))
    response = error_response(made)
    assert response.status_code in CODES[error.code]
    assert response.media_type == "application/json"
    assert error_body(made) == {
        "error": {"code": error.code, "message": error.message, "details": [{"field": "here", "issue": "do this"}]}
    }
    assert error_body(error())["error"]["details"] == []
    assert error.__doc__


def test_transient_errors_have_a_retry_after_header() -> None:
    for error in every_error():
        if STATUS[error.kind] in (429, 503):
            assert error_response(error(retry_after_seconds=3)).headers["Retry-After"] == "3"


BODY = {"amount": 1_000, "method": {"type": "cash"}}


def findings(model: type[Any], body: Any) -> list[dict[str, Any]]:
    """Return the validation errors of ``body``, with locations as FastAPI builds them."""
    try:
        TypeAdapter(model).validate_python(body)
    except ValidationError as error:
        return [{**found, "loc": ("body", *found["loc"])} for found in error.errors()]
    return []


@pytest.mark.parametrize(
    ("change", "field", "issue"),
    [
        ({"amount": 0}, "amount", "Must be greater than 0"),
        ({"amount": -5}, "amount", "Must be greater than 0"),
        ({"amount": 1.5}, "amount", "Must be a whole number"),
        ({"amount": "1000"}, "amount", "Must be a whole number"),
        ({"amount": True}, "amount", "Must be a whole number"),
        ({"amount": None}, "amount", "Must be a whole number"),
        ({"amount": 10**12}, "amount", "Must be at most 999999999999"),
        ({"tip_amount": -1}, "tip_amount", "Must be at least 0"),
        ({"currency": "XXX"}, "currency", "Must be the ISO 4217 code of a currency in use, for example JPY"),
        ({"expires_in": 901}, "expires_in", "Must be at most 900"),
        ({"expires_in": 0}, "expires_in", "Must be at least 1"),
        ({"client_reference": ""}, "client_reference", "Must not be empty"),
        ({"client_reference": " "}, "client_reference", "Must not be blank"),
        ({"client_reference": "\ud800"}, "client_reference", "Must be valid Unicode text"),
        ({"client_reference": "x" * 101}, "client_reference", "Must have at most 100 characters"),
        ({"client_reference": "a\x00b"}, "client_reference", "Must be printable text without control characters"),
        ({"ammount": 5}, "ammount", "There is no such field"),
        ({"method": {"type": "barter"}}, "method", "Must be one of 'cash', 'card', 'emoney', 'qr'"),
        ({"method": {}}, "method", "Must have a type"),
        ({"metadata": []}, "metadata", "Must be an object"),
        ({"bill_id": "a b"}, "bill_id", "Must be an id from an answer: letters, digits, - and _, 80 at most"),
        (
            {"method": {"type": "cash", "cash_received": 2**63}},
            "method.cash_received",
            "Must be at most 9999999999990",
        ),
        ({"method": {"type": "cash", "card_brand": "visa"}}, "method.card_brand", "There is no such field"),
        ({"method": {"type": "qr"}}, "method.mode", "This field is required"),
        (
            {"method": {"type": "card", "result": "approved", "card_last_4": "12"}},
            "method.card_last_4",
            "Must be the last four digits of the card's number",
        ),
        ({"method": {"type": "card", "token": "tok_1"}}, "method", "Name the provider that holds this token"),
        *[
            (
                {"method": {"type": "card", "provider": "sandbox", "token": "tok_1", **reported}},
                "method",
                "Send what the terminal reported, or the provider that is to charge, not both",
            )
            for reported in ({"result": "approved"}, {"approval_code": "A1"})
        ],
    ],
)
def test_each_invalid_field_is_named_with_advice(change: dict[str, Any], field: str, issue: str) -> None:
    error = from_validation(findings(PaymentIn, {**BODY, **change}))
    assert isinstance(error, InvalidRequest)
    assert Detail(field, issue) in error.details


@pytest.mark.parametrize(("received", "tip"), [(999, 0), (1_049, 50), (0, 0)])
def test_too_little_cash_is_reported_for_the_field_cash_received(received: int, tip: int) -> None:
    body = {**BODY, "tip_amount": tip, "method": {"type": "cash", "cash_received": received}}
    with pytest.raises(InvalidRequest) as refused:
        PaymentIn.model_validate(body)
    assert refused.value.details == (
        Detail("method.cash_received", f"Must be at least {1_000 + tip}, the amount and the tip"),
    )


@pytest.mark.parametrize(
    ("parameter", "value", "issue"),
    [
        (Annotated[float, Field(ge=0)], "soon", "Must be a number"),
        (Annotated[float, Field(ge=0)], "-1", "Must be at least 0"),
        (Annotated[float, Field(le=60)], "61", "Must be at most 60"),
        (bool, "maybe", "Must be true or false"),
        (date, "x", "Must be a date, for example 2026-11-23"),
        (date, "2026-13-01", "Must be a date, for example 2026-11-23"),
        (date, "2026-11-23T10:00:00Z", "Must be a date, for example 2026-11-23"),
        (AwareDatetime, "2026-11-23", TIMESTAMP_ISSUE),
        (AwareDatetime, "2026-11-23T10:00:00", TIMESTAMP_ISSUE),
        (AwareDatetime, "now", TIMESTAMP_ISSUE),
    ],
)
def test_an_invalid_query_parameter_gets_a_message_of_the_contract(parameter: Any, value: str, issue: str) -> None:
    assert [detail.issue for detail in from_validation(findings(parameter, value)).details] == [issue]


ITEM = {"name": "Ramen", "quantity": 1, "unit_price": 900, "tax_rate": "0.10"}
RATE = 'Must be a fraction below 1 with 5 decimals at most, for example "0.08" for 8 %'


@pytest.mark.parametrize(
    ("change", "field", "issue"),
    [
        ({"name": "x" * 201}, "items.0.name", "Must have at most 200 characters"),
        ({"name": ""}, "items.0.name", "Must not be empty"),
        ({"name": "  "}, "items.0.name", "Must not be blank"),
        ({"quantity": 0}, "items.0.quantity", "Must be at least 1"),
        *[
            ({"tax_rate": rate}, "items.0.tax_rate", RATE)
            for rate in ("1.5", "-0.1", "abc", "8", "", "0.123456", "NaN")
        ],
        ({"tax_rate": 0.08}, "items.0.tax_rate", "Must be text"),
    ],
)
def test_wrong_field_of_an_order_is_named_without_its_value(change: dict[str, Any], field: str, issue: str) -> None:
    with pytest.raises(ValidationError) as refused:
        OrderIn.model_validate({"order_type": "takeaway", "items": [{**ITEM, **change}]})
    found = refused.value.errors(include_input=False)  # as the fast route calls it: an error must not contain the value
    error = from_validation([{**entry, "loc": ("body", *entry["loc"])} for entry in found])
    assert error.details == (Detail(field, issue),)


@pytest.mark.parametrize(
    ("body", "field", "issue"),
    [
        ({"order_type": "takeaway", "items": []}, "items", "Must not be empty"),
        ({"order_type": "takeaway", "items": [ITEM] * 201}, "items", "Must have at most 200 entries"),
    ],
)
def test_length_limits_name_entries_of_lists_and_characters_of_texts(
    body: dict[str, Any], field: str, issue: str
) -> None:
    error = from_validation(findings(OrderIn, body))
    assert error.details == (Detail(field, issue),)


def test_a_missing_field_is_named() -> None:
    error = from_validation(findings(PaymentIn, {}))
    assert {detail.field: detail.issue for detail in error.details} == {
        "amount": "This field is required",
        "method": "This field is required",
    }


def test_fault_outside_the_body_is_400() -> None:
    assert isinstance(
        from_validation([{"type": "int_parsing", "loc": ("query", "limit"), "msg": ""}]), MalformedRequest
    )
    assert isinstance(from_validation([{"type": "json_invalid", "loc": ("body", 7), "msg": ""}]), MalformedRequest)
    assert isinstance(from_validation([{"type": "missing", "loc": ("body", "amount"), "msg": ""}]), InvalidRequest)


def test_every_validation_message_is_a_sentence_with_advice() -> None:
    assert all(
        issue.startswith(("Must ", "This field is required", "There is no such field")) for issue in ISSUES.values()
    )


def test_card_data_is_refused_before_the_body_is_validated() -> None:
    with pytest.raises(InvalidRequest) as raised:
        PaymentIn.model_validate({**BODY, "metadata": {"note": "4111 1111 1111 1111"}})
    assert [detail.field for detail in raised.value.details] == ["metadata.note"]
    with pytest.raises(InvalidRequest):
        CancelIn.model_validate({"reason": "4111111111111111"})
