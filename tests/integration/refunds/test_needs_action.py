"""Refunds that a person carries out at the terminal need action until the terminal reports the result."""

import asyncio
from typing import Any

import pytest
import uuid_utils

from tests.conftest import Serve
from tests.factories import CASH, QR, TERMINAL, Tenant
from tests.harness import Api
from tests.integration.payments.evidence import all_of
from tests.integration.refunds.refund_helpers import Admin, RefundMaker, evidence, post_refund, shown, sums, time_passes
from workflows.errors import InvalidRequest, InvalidStatusTransition
from workflows.ids import new_id
from workflows.invariants.rules.payments_and_refunds import RULES
from workflows.ops.count_open_rows import read_overview
from workflows.payments.check_request import PaymentRequest
from workflows.processing.due import find_due_refunds
from workflows.refunds.models import RefundRow
from workflows.refunds.report_manual_refund import report_refund

APPROVED = {"result": "approved", "approval_code": "R1", "slip_number": "S-77"}
DECLINED = {"result": "declined"}
REPORTS = {"cash": CASH, "terminal": TERMINAL}
each_sale = pytest.mark.parametrize("sale", REPORTS.values(), ids=REPORTS)
ALL_SERVICES = 5_000


async def refunds_of(admin: Admin, payment_id: str) -> list[dict[str, Any]]:
    return await all_of(admin, b"SELECT * FROM refunds WHERE payment_id = %s ORDER BY id", payment_id)


async def payment(admin: Admin, payment_id: str) -> dict[str, Any]:
    (row,) = await all_of(admin, b"SELECT * FROM payments WHERE id = %s", payment_id)
    return row


async def report(refunds: RefundMaker, refund_id: str, said: dict[str, str]) -> RefundRow:
    return await report_refund(refund_id, said, caller=refunds.tenant.device, request_id=new_id("request"))


async def needing_action(refunds: RefundMaker, admin: Admin, sale: PaymentRequest = TERMINAL, **changes: Any) -> str:
    """Create a reported sale, cancel it while it is pending, and return the id of its automatic refund."""
    payment_id = await refunds.payments.pending(sale, **changes)
    await refunds.payments.cancel(payment_id, on_too_late="refund")
    (refund,) = await refunds_of(admin, payment_id)
    return str(refund["id"])


@each_sale
@pytest.mark.parametrize("asked", ["with the payment", "with the cancel", "never"])
async def test_cancel_of_a_pending_reported_sale_completes_it(
    refunds: RefundMaker, admin: Admin, sale: PaymentRequest, asked: str
) -> None:
    wanted = "refund" if asked == "with the payment" else None
    payment_id = await refunds.payments.pending(sale, tip_amount=100, on_too_late=wanted)
    answered = await refunds.payments.cancel(
        payment_id, on_too_late="refund" if asked == "with the cancel" else None, reason="wrong table"
    )
    assert (answered["status"], answered["captured_amount"]) == ("completed", 1_100)
    assert (answered["cancel_outcome"], answered["cancel_reason"]) == ("too_late", "wrong table")
    assert answered["needs_action"] == (asked != "never")
    history = await all_of(
        admin, b"SELECT event, caller_type FROM payment_history WHERE payment_id = %s ORDER BY version", payment_id
    )
    assert [row["event"] for row in history] == ["create", "claim", "request_cancel", "complete"]
    assert history[2]["caller_type"] == "device"
    found = await refunds_of(admin, payment_id)
    assert [(row["status"], row["amount"], row["needs_action"]) for row in found] == (
        [] if asked == "never" else [("pending", 1_100, True)]
    )
    assert [row["staff_code"] for row in found] == [refunds.tenant.device_id] * len(found)


async def test_pending_payment_with_a_reported_decline_is_cancelled(refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.payments.pending(TERMINAL, facts={"external_result": "declined"})
    answered = await refunds.payments.cancel(payment_id, on_too_late="refund")
    assert (answered["status"], answered["cancel_outcome"]) == ("cancelled", "cancelled")
    assert await refunds_of(admin, payment_id) == []


async def test_concurrent_cancels_and_workers_complete_each_reported_sale_once(
    refunds: RefundMaker, admin: Admin
) -> None:
    ids = [await refunds.payments.pending(sale) for sale in (CASH, TERMINAL) * 15]
    moves: list[Any] = [refunds.payments.process(*ids[start : start + 5]) for start in range(0, 30, 5)]
    moves += [refunds.payments.cancel(payment_id, on_too_late="refund") for payment_id in ids]
    results = await asyncio.gather(*moves, return_exceptions=True)
    assert {type(one) for one in results if isinstance(one, Exception)} <= {InvalidStatusTransition}
    await refunds.payments.process(*ids)
    for payment_id in ids:
        row, found = await payment(admin, payment_id), await refunds_of(admin, payment_id)
        assert (row["status"], row["captured_amount"]) == ("completed", 1_000)
        assert len(found) == (1 if row["cancel_outcome"] == "too_late" else 0)


@each_sale
async def test_refund_that_needs_action_is_not_claimed_by_any_message(
    refunds: RefundMaker, admin: Admin, sale: PaymentRequest
) -> None:
    refund_id = await needing_action(refunds, admin, sale)
    await time_passes(admin, refund_id, seconds=10 * 86_400)
    assert refund_id not in {due.id for due in await find_due_refunds(limit=ALL_SERVICES)}
    await asyncio.gather(*(refunds.process(refund_id) for _ in range(3)))
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["needs_action"], found.attempts) == ("pending", True, [])
    assert [entry["event"] for entry in found.history] == ["create", "await_action"]
    for rule in RULES:
        query = rule.violations.replace(":review_after_seconds", "86400").replace("%", "%%")
        violations = await all_of(admin, query.encode())
        assert refund_id not in {violation["id"] for violation in violations}, rule.name


async def test_refunds_that_need_action_are_counted_with_their_age(refunds: RefundMaker, admin: Admin) -> None:
    refund_id = await needing_action(refunds, admin)
    await time_passes(admin, refund_id, seconds=7_200)
    waiting = [one for one in (await read_overview()).open if (one.entity, one.provider) == ("refund", "external")]
    assert sum(row.needs_action for row in waiting) >= 1
    assert max(row.needs_action_oldest_seconds for row in waiting) >= 7_200


@each_sale
@pytest.mark.parametrize(
    ("said", "status", "left"), [(APPROVED, "completed", 0), (DECLINED, "failed", 1_000)], ids=["approved", "declined"]
)
async def test_report_completes_or_fails_the_refund(
    refunds: RefundMaker, admin: Admin, sale: PaymentRequest, said: dict[str, str], status: str, left: int
) -> None:
    refund_id = await needing_action(refunds, admin, sale)
    payment_id = (await evidence(admin, refund_id)).row["payment_id"]
    answered = await report(refunds, refund_id, said)
    assert (answered["status"], answered["needs_action"], answered["report"]) == ("pending", False, said)
    assert refund_id in {due.id for due in await find_due_refunds(limit=ALL_SERVICES)}
    await refunds.process(refund_id)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["needs_review"]) == (status, False)
    assert [entry["event"] for entry in found.history][:3] == ["create", "await_action", "report"]
    row = await payment(admin, payment_id)
    assert (row["captured_amount"] - row["refund_reserved"], row["needs_action"]) == (left, False)
    if status == "completed":
        assert (row["status"], found.row["provider_reference"]) == ("refunded", "S-77")


async def test_a_repeated_report_changes_nothing_and_a_different_report_is_refused(
    refunds: RefundMaker, admin: Admin
) -> None:
    refund_id = await needing_action(refunds, admin)
    first = await report(refunds, refund_id, APPROVED)
    assert (await report(refunds, refund_id, APPROVED))["version"] == first["version"]
    await refunds.process(refund_id)
    assert (await report(refunds, refund_id, APPROVED))["status"] == "completed"
    for other in (DECLINED, {**APPROVED, "approval_code": "R2"}):
        with pytest.raises(InvalidStatusTransition) as raised:
            await report(refunds, refund_id, other)
        assert "R1" in raised.value.details[1].issue
    assert await sums(admin, (await evidence(admin, refund_id)).row["payment_id"]) == ("refunded", 1_000, 1_000)


async def test_only_one_of_twenty_different_concurrent_reports_is_stored(refunds: RefundMaker, admin: Admin) -> None:
    refund_id = await needing_action(refunds, admin)
    said = [{"result": "approved", "approval_code": f"R{number}"} for number in range(20)]
    results = await asyncio.gather(*(report(refunds, refund_id, one) for one in said), return_exceptions=True)
    assert sum(isinstance(result, dict) for result in results) == 1
    assert {type(one) for one in results if isinstance(one, Exception)} == {InvalidStatusTransition}


@pytest.mark.parametrize("sale", [QR, CASH], ids=["provider", "cash"])
async def test_a_refund_that_needs_no_action_takes_no_report(refunds: RefundMaker, sale: PaymentRequest) -> None:
    refund_id = await refunds.refunded(await refunds.paid(sale))
    with pytest.raises(InvalidStatusTransition):
        await report(refunds, refund_id, APPROVED)


async def test_managers_refund_of_a_terminals_own_card_sale_needs_action(refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.paid(TERMINAL)
    first, second = await refunds.ask(payment_id, 300), await refunds.ask(payment_id, 200)
    assert [shown(one)["needs_action"] for one in (first, second)] == [True, True]
    ids = [str(one.resource_id) for one in (first, second)]
    await refunds.process(*ids)
    assert await sums(admin, payment_id) == ("completed", 500, 0)
    await report(refunds, ids[0], APPROVED)
    assert (await payment(admin, payment_id))["needs_action"] is True, "the other one still waits"
    await report(refunds, ids[1], DECLINED)
    assert (await payment(admin, payment_id))["needs_action"] is False
    await refunds.process(*ids)
    assert await sums(admin, payment_id) == ("refunded", 300, 300)


async def test_refund_request_may_carry_the_terminals_report(refunds: RefundMaker, admin: Admin) -> None:
    payment_id = await refunds.paid(TERMINAL)
    refund_id = await refunds.refunded(payment_id, report=APPROVED)
    found = await evidence(admin, refund_id)
    assert (found.status, found.row["provider_reference"], found.row["needs_action"]) == ("completed", "S-77", False)


async def test_a_cash_refund_is_complete_when_it_is_requested(refunds: RefundMaker, admin: Admin) -> None:
    refund_id = await refunds.refunded(await refunds.paid(CASH))
    assert (await evidence(admin, refund_id)).status == "completed"


async def test_report_for_a_remote_providers_refund_is_refused(refunds: RefundMaker) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await refunds.ask(await refunds.paid(QR), report=APPROVED)
    assert raised.value.details[0].field == "report"


async def test_terminal_sees_over_http_that_a_refund_needs_action_and_reports_it(
    serve: Serve, tenant: Tenant, refunds: RefundMaker, admin: Admin
) -> None:
    async with serve() as api:
        card = {"type": "card", "approval_code": "A1", "slip_number": "S1"}
        sold = await api.pay(tenant, method=card, on_too_late="refund", expires_in=1)
        assert (sold.body["expires_at"], sold.body["needs_action"]) == (None, False)
        path = f"/payments/{sold.body['id']}"
        cancelled = await api.post(f"{path}/cancel", {"reason": "wrong card"}, as_=tenant)
        shown_seen = cancelled.body
        assert (cancelled.status, shown_seen["status"], shown_seen["cancel_outcome"]) == (200, "completed", "too_late")
        assert (shown_seen["needs_action"], shown_seen["captured_amount"]) == (True, 1_000)
        assert (await api.post(f"{path}/cancel", as_=tenant)).status == 409
        (waiting,) = (await api.get("/refunds?needs_action=true", as_=tenant)).body["data"]
        assert (waiting["payment_id"], waiting["status"], waiting["needs_action"]) == (
            shown_seen["id"],
            "pending",
            True,
        )
        assert (await api.get("/refunds?needs_action=false", as_=tenant)).body["data"] == []
        assert (await api.get(f"{path}/refunds", as_=tenant)).body["data"] == [waiting]
        events = (await api.get(f"{path}/events", as_=tenant)).body["data"]
        assert ("await_action", waiting["id"]) in [(one.get("event"), one.get("refund_id")) for one in events]
        await _reports(api, tenant, waiting["id"])
        metrics = await api.get("//metrics")
        assert b'mpac_needs_action{currency="JPY",entity="refund",provider="external",status="pending"}' in metrics.raw
    await refunds.process(waiting["id"])
    assert await sums(admin, shown_seen["id"]) == ("refunded", 1_000, 1_000)


async def _reports(api: Api, tenant: Tenant, refund_id: str) -> None:
    path = f"/refunds/{refund_id}/report"
    for wrong, field in (
        ({}, ""),
        ({"result": "done"}, "result"),
        ({"result": "approved", "approval_code": "4111111111111111"}, "approval_code"),
        ({"result": "approved", "amount": 5}, "amount"),
    ):
        refused = await api.post(path, wrong, as_=tenant)
        assert refused.status == 422, wrong
        assert not field or refused.details[0]["field"] == field
    said = {"approval_code": "R1", "card_arn": "74537604221431"}
    for _ in range(2):
        reported = await api.post(path, said, as_=tenant)
        assert (reported.status, reported.body["needs_action"]) == (200, False), reported.raw
        assert reported.body["report"] == {"result": "approved", **said}
    refused = await api.post(path, DECLINED, as_=tenant)
    assert (refused.status, refused.code) == (409, "INVALID_STATUS_TRANSITION")


async def test_report_of_another_tenants_refund_is_not_found(
    serve: Serve, tenant: Tenant, make_tenant: Any, refunds: RefundMaker, admin: Admin
) -> None:
    refund_id = await needing_action(refunds, admin)
    other = await make_tenant()
    async with serve() as api:
        assert (await api.post(f"/refunds/{refund_id}/report", DECLINED, as_=other)).status == 404
        assert (await api.post("/refunds/nothing/report", DECLINED, as_=tenant)).status == 404
        key = uuid_utils.uuid7().hex
        answer = await post_refund(api, other, (await evidence(admin, refund_id)).row["payment_id"], key=key)
        assert answer.status == 404
