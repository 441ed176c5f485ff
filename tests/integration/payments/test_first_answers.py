"""A repeated request gets the bytes of its first answer, although the record has only how to render them."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Serve
from tests.factories import CASH, QR, TERMINAL, PaymentMaker, Tenant, submission
from tests.integration.payments.evidence import Admin
from tests.integration.payments.payment_helpers import submit_concurrently
from workflows.errors import ServiceUnavailable
from workflows.payments.accept import PaymentIntake
from workflows.payments.check_request import PaymentRequest
from workflows.requests.idempotency import StoredAnswer

CARD = {"approval_code": "A1", "card_brand": "visa", "card_last_4": "0042", "entry_method": "chip", "slip_number": "7"}
UNSORTED = {"zz": {"b": 1, "a": [1.5, 1e22, None]}, "a": 'é\u2028"\\\n', "aa": True, "": "", "n": 2**53}
REQUESTS: dict[str, PaymentRequest] = {
    "cash": CASH,
    "cash with change": replace(CASH, facts={"cash_received": 1_200, "change_amount": 200}, tip_amount=50),
    "qr": replace(QR, client_reference="Tisch 7 – größer"),
    "qr by the store's code": replace(QR, method_mode="mpm"),
    "card at the terminal": replace(TERMINAL, facts={"external_result": "approved", **CARD}),
    "declined at the terminal": replace(TERMINAL, facts={"external_result": "declined"}),
    "metadata": replace(QR, metadata=UNSORTED),
    "metadata without names": replace(QR, metadata={}),
    "short life": replace(QR, expires_in_seconds=61, on_too_late="refund"),
    "no currency": replace(QR, currency=None),
}
CHANGES = """
    UPDATE payments SET approval_code = 'changed', card_brand = 'changed', card_last_4 = '9999', needs_action = true,
        needs_review = true, provider_reference = 'changed', failure_code = 'changed', failure_message = 'changed',
        cancel_reason = 'changed', cancel_requested_at = now(), cancel_outcome = 'too_late', off_bill = true, inquiries = 7,
        settlement_id = 'stl_1', next_action = '{}', card_arn = 'changed'
    WHERE id = %s
"""
"""What recording, a cancel, a refund or a close may change afterwards."""


async def record_of(admin: Admin, payment_id: str | None) -> dict[str, Any]:
    """Return the idempotency record of a payment."""
    found = await admin.execute("SELECT * FROM idempotency_records WHERE resource_id = %s", [payment_id])
    rows = await found.fetchall()
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
async def test_an_answer_is_repeated_byte_for_byte_after_its_payment_changed(
    payments: PaymentMaker, tenant: Tenant, admin: Admin, asked: PaymentRequest
) -> None:
    first = await payments.accepting.accept_payment(submission(asked, tenant.device, key="k-1"))
    assert first.resource_id
    assert (await record_of(admin, first.resource_id))["body"] is None
    for change in (
        lambda: payments.process(str(first.resource_id)),
        lambda: admin.execute(CHANGES, [first.resource_id]),
    ):
        again = await payments.accepting.accept_payment(submission(asked, tenant.device, key="k-1"))
        assert (again.body, again.status, again.is_replay) == (first.body, 201, True)
        await change()
    again = await payments.accepting.accept_payment(submission(asked, tenant.device, key="k-1"))
    assert (again.body, again.status, again.is_replay) == (first.body, 201, True)


UNREADABLE = {
    "a changed amount": "UPDATE payments SET amount = amount + 1 WHERE id = %s",
    "a changed expiry": "UPDATE payments SET expires_at = expires_at + interval '1 s' WHERE id = %s",
    "an unknown renderer": "UPDATE idempotency_records SET recipe = replace(recipe, '1 ', '99 ') WHERE resource_id = %s",
    "a lost payment": "UPDATE idempotency_records SET resource_id = resource_id || 'x' WHERE resource_id = %s",
}


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_answer_that_cannot_be_rendered_again_is_refused_and_logged_alone(
    payments: PaymentMaker, tenant: Tenant, admin: Admin, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    first, other = [await payments.accepting.accept_payment(submission(QR, tenant.device, key=key)) for key in "ab"]
    await admin.execute(damage.encode(), [first.resource_id])
    with caplog.at_level(logging.ERROR):
        results = await submit_concurrently(
            payments.accepting, *(submission(QR, tenant.device, key=key) for key in ("a", "b", "c"))
        )
    assert isinstance(results[0], ServiceUnavailable)
    assert isinstance(results[1], StoredAnswer)
    assert results[1].body == other.body
    assert isinstance(results[2], StoredAnswer)
    assert not results[2].is_replay
    assert [getattr(line, "event", None) for line in caplog.records] == ["idempotency.answer_lost"]


async def test_a_refused_repetition_gets_the_rendered_answer(serve: Serve, tenant: Tenant, admin: Admin) -> None:
    """A refusal is stored in a transaction of the caller, which finds the record of the accepted request."""
    async with serve() as api:
        first = await api.pay(tenant, key="k-1")
        assert (await record_of(admin, first.body["id"]))["body"] is None
        again = await api.pay(tenant, key="k-1")
        refused = await api.pay(tenant, key="k-1", amount=0)
    assert (first.status, again.raw) == (201, first.raw)
    assert refused.code == "IDEMPOTENCY_KEY_REUSED"


def intake(*, renders: bool) -> PaymentIntake:
    return PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30, renders_answers=renders)


Overwriting = Callable[[Admin, Tenant], Awaitable[bytes]]


async def by_this_release(admin: Admin, tenant: Tenant) -> bytes:
    """Accept another payment under an expired key, and store its body."""
    stored = await intake(renders=False).accept_payment(submission(CASH, tenant.device, key="k-1"))
    return stored.body


async def by_the_previous_release(admin: Admin, tenant: Tenant) -> bytes:
    """Overwrite the expired record without its recipe, which the previous release does not know."""
    await admin.execute(
        """UPDATE idempotency_records SET body = '{"id":"pay_9"}', created_at = now(), expires_at = now() + interval '1 day'
           WHERE merchant_id = %s""",
        [tenant.merchant_id],
    )
    return b'{"id":"pay_9"}'


@pytest.mark.parametrize("overwrite", [by_this_release, by_the_previous_release])
async def test_an_expired_recipe_that_is_overwritten_is_not_used(
    engines: None, tenant: Tenant, admin: Admin, overwrite: Overwriting
) -> None:
    await intake(renders=True).accept_payment(submission(CASH, tenant.device, key="k-1"))
    await admin.execute(
        "UPDATE idempotency_records SET expires_at = now() WHERE merchant_id = %s", [tenant.merchant_id]
    )
    written = await overwrite(admin, tenant)
    again = await intake(renders=True).accept_payment(submission(CASH, tenant.device, key="k-1"))
    assert (again.body, again.is_replay) == (written, True)


async def test_bodies_are_stored_unless_the_setting_says_otherwise(engines: None, tenant: Tenant, admin: Admin) -> None:
    """The previous release reads only bodies, so an installation that is upgraded goes on writing them."""
    stored = await PaymentIntake(nudge_grace_seconds=5, timeout_seconds=30).accept_payment(
        submission(CASH, tenant.device, key="k-1")
    )
    record = await record_of(admin, stored.resource_id)
    assert (record["body"].encode(), record["recipe"]) == (stored.body, None)


async def test_a_record_needs_a_body_or_a_recipe(engines: None, tenant: Tenant, admin: Admin) -> None:
    stored = await intake(renders=True).accept_payment(submission(CASH, tenant.device))
    with pytest.raises(Exception, match="idempotency_records_answered"):
        await admin.execute("UPDATE idempotency_records SET recipe = NULL WHERE resource_id = %s", [stored.resource_id])
