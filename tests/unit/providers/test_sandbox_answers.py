"""The sandbox adapter classifies answers: which prove that nothing happened, and which leave the outcome unknown."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from workflows.providers.base import (
    ActionRequired,
    Answer,
    Charge,
    ChargeRefund,
    Declined,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)
from workflows.providers.http_reader import HttpAnswer
from workflows.providers.sandbox_answers import ANSWERS, NOTHING_DONE, read_answer

CHARGE = Charge("pay_1:1", "pay_1", 1_000, "JPY", "qr", "cpm", 300.0)
REFUND = ChargeRefund("rfd_1:1", "pay_1", "pay_1:1", 1_000, "JPY")
NAMES = {"reference": "pay_1:1", "payment_id": "pay_1", "currency": "JPY"}
SUCCESS = {
    **NAMES,
    "status": "succeeded",
    "amount": 1_000,
    "provider_reference": "r1",
    "approval_code": "A1",
    "fee": 30,
}
CODE = {**NAMES, "status": "waiting", "qr_content": "q", "expires_at": "2026-11-23T09:05:00Z"}
BODIES = {word: {**SUCCESS, **CODE, "status": word} for word in ANSWERS}
CARD = "378282246310005"


def read(
    status: int,
    body: Any,
    *,
    refusal: int | None = 400,
    asked: Charge | ChargeRefund = CHARGE,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_answer(HttpAnswer(status, headers or {}, raw), asked, refusal=refusal)


def error(code: str, *, message: str = "no", **changes: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}, **NAMES, **changes}


@pytest.mark.parametrize(("code", "status"), NOTHING_DONE.items())
def test_an_error_that_names_this_charge_proves_that_nothing_happened(code: str, status: int) -> None:
    assert isinstance(read(status, error(code)), Unavailable)
    assert isinstance(read(status, {"error": {"code": code}, "reference": "pay_1:1"}), Unavailable)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>503 Service Unavailable</html>",
        {"message": "API rate limit exceeded"},
        {"error": "unavailable"},
        {"error": {"message": "unavailable"}},
        {"error": {"code": 503, "message": "unavailable"}, **NAMES},
        {"error": {"code": "unavailable", "message": "no reference"}},
        error("unavailable", reference="pay_2:1"),
        error("unavailable", reference="pay_1:2"),
        error("unavailable", payment_id="pay_2"),
        error("unavailable", currency="USD"),
        error("rate_limited", reference=None),
        error("not_found", reference="pay_2:1"),
        error("invalid_request", reference="pay_2:1"),
        error("internal_error"),
        error("body_too_large"),
        error("idempotency_mismatch"),
        error("a_new_code"),
        [error("unavailable")],
    ],
    ids=repr,
)
def test_every_other_error_leaves_the_outcome_unknown(status: int, body: Any) -> None:
    for refusal in (400, None):
        assert isinstance(read(status, body, refusal=refusal), Unknown)


@pytest.mark.parametrize(("code", "status"), NOTHING_DONE.items())
def test_an_error_code_with_the_wrong_http_status_proves_nothing(code: str, status: int) -> None:
    for other in {200, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504} - {status}:
        assert isinstance(read(other, error(code)), Unknown)


@pytest.mark.parametrize("word", ANSWERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("said", ["another", None, 7, "missing"])
def test_an_answer_about_another_charge_is_unknown(word: str, name: str, said: Any) -> None:
    body = {**BODIES[word], name: said}
    if said == "missing":
        del body[name]
    for status in (200, 409):
        assert not isinstance(read(status, BODIES[word]), Unknown)
        assert isinstance(read(status, body), Unknown)
        assert isinstance(read(status, body, refusal=None), Unknown)


def test_an_answer_about_a_payment_is_unknown_for_its_refund() -> None:
    assert isinstance(read(200, SUCCESS, asked=REFUND), Unknown)
    assert read(200, {**SUCCESS, "reference": "rfd_1:1"}, asked=REFUND) == Succeeded(1_000, "r1", "A1", fee=30)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("999999999999", 3_600.0), ("9" * 400, 3_600.0), ("-1", None), ("²", None), ("٧", None), ("", None)],
)
def test_retry_after_of_the_provider_is_used(said: str, seconds: float | None) -> None:
    answer = read(429, error("rate_limited"), headers={"retry-after": said})
    assert isinstance(answer, Unavailable)
    assert answer.retry_after_seconds == seconds


@pytest.mark.parametrize("status", [100, 202, 204, 301, 402, 405, 408, 422, 500, 501, 502, 504, 599])
def test_every_other_http_status_is_unknown(status: int) -> None:
    assert isinstance(read(status, SUCCESS), Unknown)


@pytest.mark.parametrize("raw", [b"", b"\x00\xff", b"<html>", b"[]", b"null", b"1", b"{}", b'{"status":"succeeded"}'])
def test_a_200_with_an_unreadable_body_is_unknown(raw: bytes) -> None:
    assert isinstance(read(200, raw), Unknown)


@pytest.mark.parametrize("word", ["captured", "Succeeded", "", "voided"])
def test_an_unknown_status_is_reported_and_proves_nothing(word: str) -> None:
    assert read(200, {**SUCCESS, "status": word}) == Unknown(f"unknown status {word!r}")


@pytest.mark.parametrize(
    "body",
    [
        {**SUCCESS, "status": None},
        {**SUCCESS, "status": ["succeeded"]},
        {**SUCCESS, "amount": "1000"},
        {**SUCCESS, "amount": 1000.0},
        {**SUCCESS, "amount": True},
        {**SUCCESS, "amount": 2**63},
        {**SUCCESS, "fee": "30"},
        {**SUCCESS, "provider_reference": 7},
        {**SUCCESS, "provider_reference": "r\x001"},
        {**SUCCESS, "approval_code": "A" * 501},
        {**NAMES, "status": "declined", "decline_code": ["x"]},
        {**NAMES, "status": "declined", "decline_code": "x", "decline_message": "no\x00"},
        {**NAMES, "status": "pending", "provider_reference": {}},
        {**CODE, "expires_at": "soon"},
        {**CODE, "qr_content": None},
    ],
)
def test_a_200_with_invalid_fields_is_unknown(body: dict[str, object]) -> None:
    assert isinstance(read(200, body), Unknown)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (SUCCESS, Succeeded(1_000, "r1", "A1", fee=30)),
        ({"status": "declined", "decline_code": "stolen_card"}, Declined("stolen_card")),
        ({"status": "declined", "decline_code": "processor_busy"}, Declined("processor_busy", is_retriable=True)),
        ({"status": "pending"}, ActionRequired(None)),
        ({"status": "cancelled"}, Withdrawn()),
        ({"status": "expired"}, Withdrawn()),
    ],
)
def test_each_status_of_the_provider_means_one_outcome(body: dict[str, object], answer: Answer) -> None:
    assert read(200, {**NAMES, **body}) == answer


def test_a_pending_qr_code_has_its_content_and_expiry() -> None:
    answer = read(200, CODE)
    assert isinstance(answer, ActionRequired)
    assert answer.next_action == {"type": "display_qr", "qr_content": "q", "expires_at": CODE["expires_at"]}


def test_a_conflict_contains_the_charge_that_came_first() -> None:
    assert isinstance(read(409, SUCCESS), Succeeded)


def test_not_found_is_distinct_from_unknown() -> None:
    assert read(404, error("not_found")) == NotFound()
    assert read(404, {"error": {"code": "not_found"}, "reference": "pay_1:1"}) == NotFound()


@pytest.mark.parametrize("said", ["4242", "0005"])
def test_the_last_four_digits_are_four_digits(said: str) -> None:
    answer = read(200, {**SUCCESS, "card_last_4": said})
    assert isinstance(answer, Succeeded)
    assert answer.card_last_4 == said


@pytest.mark.parametrize("said", [CARD, "424", "42424", "42a4", "４２４２", "²²²²", " 4242", 4242, None, ["4242"], {}])
def test_invalid_last_digits_are_dropped_and_the_success_counts(said: Any) -> None:
    answer = read(200, {**SUCCESS, "card_last_4": said})
    assert answer == Succeeded(1_000, "r1", "A1", fee=30)


@pytest.mark.parametrize("number", [CARD, "4111 1111 1111 1111", "paid by 5555-5555-5555-4444 today"])
@pytest.mark.parametrize(
    "body",
    [
        SUCCESS | dict.fromkeys(("provider_reference", "approval_code", "card_brand", "card_last_4"), "{}"),
        {**NAMES, "status": "declined", "decline_code": "{}", "decline_message": "Card {} is stolen"},
        {**NAMES, "status": "pending", "provider_reference": "{}"},
        {**CODE, "qr_content": "https://pay.example/{}", "provider_reference": "{}"},
        {**NAMES, "status": "card {}"},
        error("invalid_request", message="no such card: {}"),
        error("card {}"),
    ],
    ids=lambda body: str(body.get("status", "error")),
)
def test_a_card_number_from_the_provider_is_not_stored(number: str, body: dict[str, Any]) -> None:
    said = orjson.loads(orjson.dumps(body).replace(b"{}", number.encode()))
    answer = read(400 if "error" in said else 200, said)
    assert type(answer) is type(read(400 if "error" in body else 200, body))
    assert not re.search(r"\d{4}[ -]?\d{4}", repr(answer))
