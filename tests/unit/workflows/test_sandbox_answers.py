"""The adapter's most important decision: which answers of the provider certainly did nothing, and which are unknown."""

import orjson
import pytest

from workflows.providers.base import (
    ActionRequired,
    Answer,
    Declined,
    NotFound,
    Succeeded,
    Unavailable,
    Unknown,
    Withdrawn,
)
from workflows.providers.sandbox import _read

SUCCESS = {"status": "succeeded", "amount": 1_000, "provider_reference": "r1", "approval_code": "A1", "fee": 30}
CODE = {"status": "waiting", "qr_content": "q", "expires_at": "2026-11-23T09:05:00Z"}


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_an_answer_that_precedes_the_work_is_unavailable(status: int) -> None:
    assert isinstance(_read(status, b"", None), Unavailable)


def test_the_provider_says_how_long_to_wait() -> None:
    assert _read(429, b"", "7") == Unavailable("the provider answered 429", 7.0)
    assert _read(429, b"", "Wed, 21 Oct 2026 07:28:00 GMT") == Unavailable("the provider answered 429", None)


@pytest.mark.parametrize("status", [100, 202, 204, 301, 402, 405, 408, 422, 500, 501, 502, 504, 599])
def test_every_other_answer_is_unknown(status: int) -> None:
    assert isinstance(_read(status, orjson.dumps(SUCCESS), None), Unknown)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x00\xff", b"<html>", b"[]", b"null", b"1", b"{}", b'{"status":"new word"}', b'{"status":"succeeded"}'],
)
def test_a_200_that_cannot_be_read_is_unknown(raw: bytes) -> None:
    assert isinstance(_read(200, raw, None), Unknown)


@pytest.mark.parametrize(
    "body",
    [
        {**SUCCESS, "amount": "1000"},
        {**SUCCESS, "amount": 1000.0},
        {**SUCCESS, "amount": True},
        {**SUCCESS, "amount": 2**63},
        {**SUCCESS, "fee": "30"},
        {**SUCCESS, "provider_reference": 7},
        {**SUCCESS, "provider_reference": "r\x001"},
        {**SUCCESS, "approval_code": "A" * 501},
        {"status": "declined", "decline_code": ["x"]},
        {"status": "declined", "decline_code": "x", "decline_message": "no\x00"},
        {"status": "pending", "provider_reference": {}},
        {**CODE, "expires_at": "soon"},
        {**CODE, "qr_content": None},
    ],
)
def test_a_200_whose_fields_are_not_what_they_should_be_is_unknown(body: dict[str, object]) -> None:
    assert isinstance(_read(200, orjson.dumps(body), None), Unknown)


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
def test_each_word_of_the_provider_means_one_outcome(body: dict[str, object], answer: Answer) -> None:
    assert _read(200, orjson.dumps(body), None) == answer


def test_a_waiting_code_says_what_to_show_and_until_when() -> None:
    answer = _read(200, orjson.dumps(CODE), None)
    assert isinstance(answer, ActionRequired)
    assert answer.next_action == {"type": "display_qr", "qr_content": "q", "expires_at": CODE["expires_at"]}


def test_a_conflict_brings_the_charge_that_was_quicker() -> None:
    assert isinstance(_read(409, orjson.dumps(SUCCESS), None), Succeeded)


def test_a_conflict_over_the_body_of_a_reference_is_unknown() -> None:
    mismatch = {"error": {"code": "idempotency_mismatch", "message": "another body"}}
    assert isinstance(_read(409, orjson.dumps(mismatch), None), Unknown)


def test_nothing_found_is_an_answer_of_its_own() -> None:
    assert _read(404, b"", None) == NotFound()


def test_a_card_number_that_the_provider_quotes_goes_no_further() -> None:
    said = {
        "status": "declined",
        "decline_code": "stolen_card",
        "decline_message": "Card 4111 1111 1111 1111 is stolen",
    }
    assert _read(200, orjson.dumps(said), None) == Declined("stolen_card", "…")
    refused = {"error": {"message": "no such card: 4111111111111111"}}
    assert _read(400, orjson.dumps(refused), None) == Declined("refused_by_provider", "…")
