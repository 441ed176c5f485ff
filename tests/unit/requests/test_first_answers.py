"""The renderers of first answers never change, and the newest shows what an accept shows."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import pytest

from workflows.database.json_rendering import render
from workflows.payments.queries import FIELDS, payment_fields
from workflows.requests import first_answers

AT = datetime(2026, 11, 30, 12, 0, 0, 123_456, UTC)
PAYMENT: dict[str, Any] = {
    "id": "pay_1",
    "amount": 1_000,
    "tip_amount": 50,
    "currency": "JPY",
    "method_type": "card",
    "method_mode": None,
    "processing_mode": "external",
    "provider": "external",
    "cash_received": None,
    "change_amount": None,
    "bill_id": "bil_1",
    "order_id": "ord_1",
    "device_id": "dev_1",
    "store_id": "sto_1",
    "merchant_id": "mer_1",
    "client_reference": "till-1",
    "expires_at": AT + timedelta(minutes=5),
    "created_at": AT,
}
RECIPE = '1 5af3107a {"approval_code":"A1","metadata":{"b":1,"a":2}}'
BODY = (
    b'{"id":"pay_1","status":"pending","version":1,"amount":1000,"tip_amount":50,"currency":"JPY","captured_amount":0,'
    b'"refunded_amount":0,"method":{"type":"card","mode":null},"processing_mode":"external","provider":"external",'
    b'"provider_reference":null,"approval_code":"A1","card_brand":null,"card_last_4":null,"cash_received":null,'
    b'"change_amount":null,"bill_id":"bil_1","order_id":"ord_1","device_id":"dev_1","store_id":"sto_1",'
    b'"merchant_id":"mer_1","client_reference":"till-1","next_action":null,"failure_code":null,"failure_message":null,'
    b'"cancel_requested_at":null,"cancel_reason":null,"cancel_outcome":null,"outcome_known":true,"advice":null,'
    b'"needs_review":false,"needs_action":false,"settlement_id":null,"metadata":{"b":1,"a":2},"expires_at":null,'
    b'"created_at":"2026-11-30T12:00:00.123456Z","processing_at":null,"completed_at":null,"failed_at":null,'
    b'"cancelled_at":null,"refunded_at":null}'
)
"""The bytes that the first renderer made of ``PAYMENT`` when it was released. They are never adapted."""

FIRST = {
    "status": "pending",
    "version": 1,
    "captured_amount": 0,
    "refunded_amount": 0,
    "outcome_known": True,
    "needs_review": False,
    "needs_action": False,
}


def test_the_first_renderer_makes_the_bytes_that_it_made_when_it_was_released() -> None:
    assert first_answers._render_1(PAYMENT, {"approval_code": "A1", "metadata": {"b": 1, "a": 2}}) == BODY


def test_a_recipe_has_the_renderer_the_checksum_and_what_the_row_cannot_tell() -> None:
    fields = payment_fields({**PAYMENT, **FIRST, "approval_code": "A1", "metadata": {"b": 1, "a": 2}})
    assert first_answers.recipe_for(fields, BODY) == RECIPE.replace("5af3107a", f"{crc32(BODY):08x}")
    assert first_answers.recipe_for({**fields, "approval_code": None, "metadata": {}}, BODY) == f"1 {crc32(BODY):08x}"


@pytest.mark.parametrize("empty", ["approval_code", "card_brand", "card_last_4"])
def test_an_empty_text_is_not_taken_for_none(empty: str) -> None:
    fields = payment_fields({**PAYMENT, **FIRST, "metadata": {}, empty: ""})
    assert first_answers.recipe_for(fields, BODY).endswith(f'{{"{empty}":""}}')


def test_the_newest_renderer_shows_the_fields_of_an_accept() -> None:
    """A new field in ``FIELDS`` needs a new renderer beside the existing ones, which stay as they are."""
    shown = payment_fields({**PAYMENT, **FIRST, "metadata": {}})
    renderer = first_answers._RENDERERS[first_answers.NEWEST]
    assert renderer(PAYMENT, {}) == render(shown)
    assert renderer(PAYMENT, {}) == render({name: shown[name] for name in FIELDS})
