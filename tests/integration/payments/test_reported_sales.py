"""Reported sales never expire, because their money has moved: cash, and cards approved by the terminal's application."""

import asyncio
from dataclasses import replace

import pytest

from tests.factories import CASH, QR, TERMINAL, PaymentMaker, time_passes
from tests.integration.payments.evidence import Admin, evidence
from tests.integration.payments.payment_helpers import count
from workflows.database.engines import Role, transaction
from workflows.payments.check_request import PaymentRequest
from workflows.processing.due import find_due_payments
from workflows.refunds.workload import PAYMENTS

EMONEY = replace(TERMINAL, method_type="emoney", facts={"external_result": "approved"})
DECLINED = replace(TERMINAL, facts={"external_result": "declined"})
REPORTS = {"cash": CASH, "card": TERMINAL, "e-money": EMONEY}
DAYS = 3 * 86_400
ALL_SERVICES = 5_000

each_report = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)


@each_report
@pytest.mark.parametrize("expires_in", [1, 300, 900])
async def test_a_reported_sale_that_waited_for_days_is_completed_with_its_amount(
    payments: PaymentMaker, admin: Admin, report: PaymentRequest, expires_in: int
) -> None:
    payment_id = await payments.pending(report, tip_amount=50, expires_in_seconds=expires_in)
    await time_passes(admin, payment_id, seconds=DAYS)
    assert {due.why for due in await find_due_payments(limit=ALL_SERVICES) if due.id == payment_id} == {"lost_nudge"}
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["captured_amount"]) == ("completed", 1_050)
    assert found.events == ["create", "claim", "complete"]
    assert found.outcomes == ["succeeded"]


@each_report
@pytest.mark.parametrize("is_cancelled", [False, True], ids=["nobody cancels", "cancelled meanwhile"])
async def test_a_reported_sale_whose_worker_died_is_completed_days_later(
    payments: PaymentMaker, admin: Admin, report: PaymentRequest, *, is_cancelled: bool
) -> None:
    payment_id = await payments.pending(report)
    assert await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
    if is_cancelled:
        assert (await payments.cancel(payment_id))["status"] == "processing"
    await time_passes(admin, payment_id, seconds=DAYS)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["captured_amount"]) == ("completed", 1_000)
    assert found.row["cancel_outcome"] == ("too_late" if is_cancelled else None)


@each_report
async def test_a_reported_sale_that_an_earlier_release_claimed_as_expired_is_completed(
    payments: PaymentMaker, admin: Admin, report: PaymentRequest
) -> None:
    """Such a claim wrote no attempt, and its worker died before it cancelled the payment."""
    payment_id = await payments.pending(report)
    async with transaction(Role.WORKER) as connection:
        claim = """UPDATE payments SET status = 'processing', version = 2, processing_at = now(), fence = 1, attempts = 0,
                   unanswered_claims = 1, lease_until = now(), due_at = now() WHERE id = %s"""
        history = """INSERT INTO payment_history SELECT id, 2, merchant_id, store_id, 'claim', 'pending', 'processing',
                     now(), 'worker', 'old', NULL, request_id FROM payments WHERE id = %s"""
        for statement in (claim, history):
            await connection.exec_driver_sql(statement, (payment_id,))
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.outcomes) == ("completed", ["succeeded"])


async def test_a_reported_decline_fails_however_late_and_no_money_is_counted(
    payments: PaymentMaker, admin: Admin
) -> None:
    payment_id = await payments.pending(DECLINED)
    await time_passes(admin, payment_id, seconds=DAYS)
    await payments.process(payment_id)
    found = await evidence(admin, payment_id)
    assert (found.status, found.row["captured_amount"]) == ("failed", 0)


async def test_a_batch_after_an_outage_cancels_the_charges_alone(payments: PaymentMaker, admin: Admin) -> None:
    made = [await payments.pending(report) for report in REPORTS.values()]
    asked = await payments.pending(QR)
    for payment_id in (*made, asked):
        await time_passes(admin, payment_id, seconds=308)
    await asyncio.gather(payments.process(*made, asked), payments.process(*made, asked))
    statuses = [(await evidence(admin, payment_id)).status for payment_id in (*made, asked)]
    assert statuses == ["completed"] * 3 + ["cancelled"]
    assert await count(admin, payments.tenant) == 4
