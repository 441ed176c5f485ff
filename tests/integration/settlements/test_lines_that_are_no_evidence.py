"""A statement line that contradicts the attempt, or is not final about it, completes nothing."""

from typing import Any

import pytest

from tests.factories import time_passes
from tests.integration.settlements.back_office import WORKER, BackOffice, end_doubt, payment_in_doubt, refund_in_doubt
from tests.integration.settlements.statement_api import (
    listed,
    outcome,
    reconcile_as_worker,
    reconcile_fetched_statement,
    row_of,
)
from tests.reconciliation_helpers import upload
from tests.reference_matcher import Theirs
from workflows.providers.base import Declined, Succeeded, Unknown
from workflows.reconciliation.reconcile import reconcile_settlement

DISAGREEING: dict[str, tuple[dict[str, Any], str | None]] = {
    "another amount": ({"amount": 900}, "amount_mismatch"),
    "a larger amount": ({"amount": 1_001}, "amount_mismatch"),
    "a fee above the amount": ({"fee": 1_001}, "fee_out_of_range"),
    "a fee below zero": ({"fee": -1}, "fee_out_of_range"),
    "another currency": ({"currency": "USD"}, None),
    "another reference of the provider": ({"provider_reference": "ref-of-another"}, None),
    "another attempt": ({"our_reference": "{id}:2"}, None),
    "no attempt": ({"our_reference": "{id}"}, None),
    "no reference of ours": ({"our_reference": None}, None),
    "a refund of the sale": ({"kind": "refund", "amount": -1_000}, None),
    "a reversal alone": ({"kind": "reversal", "amount": -1_000}, None),
    "a charge below zero": ({"amount": -1_000}, None),
    "a charge of zero": ({"amount": 0}, None),
}


@pytest.mark.parametrize("name", DISAGREEING)
async def test_a_line_that_disagrees_completes_nothing(back_office: BackOffice, name: str) -> None:
    changes, code = DISAGREEING[name]
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    known = "UPDATE payment_attempts SET provider_reference = 'ref-known' WHERE payment_id = %s"
    await shop.admin.execute(known, [payment_id])
    line = listed(f"{payment_id}:1", 1_000, provider_reference="ref-known")._replace(**changes)
    if line.our_reference:
        line = line._replace(our_reference=line.our_reference.format(id=payment_id))
    day = await reconcile_fetched_statement(back_office, [line])
    row = await row_of(shop, payment_id)
    assert (row["status"], row["outcome_known"], row["captured_amount"]) == ("processing", False, 0)
    assert (row["needs_review"], row["failure_code"], row["lease_until"]) == (code is not None, code, None)
    (found,) = await back_office.breaks(day)
    assert code is None or found["waits_for"] == payment_id
    await reconcile_as_worker(back_office, day)
    assert (await row_of(shop, payment_id))["version"] == row["version"], "the same again says nothing new"


async def test_a_refund_line_of_zero_does_not_prove_that_nothing_was_refunded(back_office: BackOffice) -> None:
    payment_id, refund_id = await refund_in_doubt(back_office.shop, 700)
    await reconcile_fetched_statement(back_office, [listed(f"{refund_id}:1", 0, kind="refund")])
    assert (await row_of(back_office.shop, refund_id))["status"] == "processing"
    assert (await row_of(back_office.shop, payment_id))["refund_reserved"] == 700, "nobody gives it back a second time"


async def test_two_charges_of_one_attempt_complete_it_once_and_the_second_remains_a_break(
    back_office: BackOffice,
) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 1_000)
    line = listed(f"{payment_id}:1", 1_000)
    day = await reconcile_fetched_statement(back_office, [line, line])
    assert (await row_of(back_office.shop, payment_id))["status"] == "completed"
    (found,) = await back_office.breaks(day)
    assert found["category"] == "duplicate_provider"
    assert await back_office.status(day) == "closed"


@pytest.mark.parametrize(
    ("amounts", "status"),
    [((1_000, -1_000), "cancelled"), ((1_000, -1_000, 1_000), "completed"), ((900, -900), "cancelled")],
    ids=["charged and undone", "undone and charged again", "another amount, undone"],
)
async def test_a_charge_and_its_reversal_cancel_the_payment_in_doubt(
    back_office: BackOffice, amounts: tuple[int, ...], status: str
) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    reference = f"{payment_id}:1"
    told = [listed(reference, one, kind="payment" if one > 0 else "reversal") for one in amounts]
    day = await reconcile_fetched_statement(back_office, told)
    row = await row_of(shop, payment_id)
    assert (row["status"], row["cancel_reason"]) == (status, "withdrawn_by_provider" if status == "cancelled" else None)
    assert await back_office.status(day) == "reconciled"


@pytest.mark.parametrize("heard", ["lost", "died"])
async def test_a_charge_line_decides_nothing_while_the_answer_to_a_withdrawal_is_lost(
    back_office: BackOffice, heard: str
) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    await shop.payments.cancel(payment_id)
    if heard == "lost":
        shop.provider.withdrawals.append(Unknown("the answer was lost"))
        await shop.payments.process(payment_id)
        assert ("withdraw", f"{payment_id}:1") in shop.provider.calls
    else:
        died = "UPDATE payments SET lease_until = now() - interval '1 s', unanswered_claims = 1 WHERE id = %s"
        await shop.admin.execute(died, [payment_id])
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    assert (await row_of(shop, payment_id))["status"] == "processing"
    (found,) = await back_office.breaks(day)
    assert found["waits_for"] == payment_id
    refused = await back_office.resolve(found["id"], resolution="confirm")
    assert (refused.status, "withdrawal may have taken effect" in refused.details[0]["issue"]) == (409, True)
    await end_doubt(shop, payment_id)
    assert (await row_of(shop, payment_id))["status"] == "completed"


async def test_evidence_that_contradicts_an_inquiry_is_left_to_a_person(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    shop.provider.inquiries.append(Succeeded(400, f"ref-{payment_id}:1"))
    await time_passes(shop.admin, payment_id, seconds=60)
    await shop.payments.process(payment_id)
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    row = await row_of(shop, payment_id)
    assert (row["status"], row["needs_review"], row["failure_code"]) == ("processing", True, "amount_mismatch")
    (found,) = await back_office.breaks(day)
    assert (await back_office.resolve(found["id"], resolution="confirm")).status == 200
    assert (await row_of(shop, payment_id))["status"] == "completed"
    assert await back_office.status(day) == "reconciled"


async def test_a_charge_of_a_failed_payment_does_not_change_its_status(back_office: BackOffice) -> None:
    shop = back_office.shop
    shop.provider.charges.append(Declined("do_not_honour", "no"))
    payment_id = await shop.payments.pending(amount=1_000)
    await shop.payments.process(payment_id)
    before = await outcome(shop, payment_id)
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    assert await outcome(shop, payment_id) == before == ("failed", 3)
    (found,) = await back_office.breaks(day)
    assert (found["category"], found["waits_for"]) == ("status_mismatch", None)
    refused = await back_office.resolve(found["id"], resolution="confirm")
    assert (refused.status, "is failed" in refused.details[0]["issue"]) == (409, True)
    assert (await back_office.resolve(found["id"], resolution="adjust")).status == 200


async def test_withdrawn_evidence_requests_a_review_and_changes_no_status(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id, other = await payment_in_doubt(shop, 1_000), await payment_in_doubt(shop, 500)
    lines = [listed(f"{payment_id}:1", 1_000), listed(f"{other}:1", 500), listed("theirs-alone", 5)]
    day = await reconcile_fetched_statement(back_office, lines)
    assert await back_office.status(day) == "closed"
    before = await outcome(shop, payment_id)
    await reconcile_as_worker(back_office, day)
    assert await outcome(shop, payment_id) == before, "the same lines, fetched again, are the same evidence"
    assert len(await back_office.breaks(day)) == 1
    shop.provider.statements = [lines[1:]]
    for _ in range(2):  # once, not with every run
        await reconcile_as_worker(back_office, day)
        row = await row_of(shop, payment_id)
        assert (row["status"], row["needs_review"], row["version"]) == ("completed", True, before[1] + 1)
    assert not (await row_of(shop, other))["needs_review"]
    shop.provider.statements = [lines]  # it was the provider's mistake
    for _ in range(2):
        await reconcile_as_worker(back_office, day)
        row = await row_of(shop, payment_id)
        assert (row["status"], row["needs_review"], row["version"]) == ("completed", False, before[1] + 2)


async def test_the_review_of_withdrawn_evidence_ends_with_the_break_of_that_line(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    strange = listed("theirs-alone", 5)
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000), strange])
    shop.provider.statements = [[strange]]
    await reconcile_as_worker(back_office, day)
    assert (await row_of(shop, payment_id))["needs_review"]
    second = str((await shop.close_now())["id"])
    assert payment_id in await shop.lines(second)
    nothing = Theirs("payment", "none", "none", 1, 0, is_settled=False)
    await upload(shop.tenant, second, [nothing])
    settings = back_office.settings.model_copy(update={"statement_sla_hours": 0.0})
    await reconcile_settlement(second, actor=WORKER, settings=settings)
    (found,) = await back_office.breaks(second)
    assert (found["category"], found["entity_id"]) == ("missing_at_provider", payment_id)
    assert (await back_office.resolve(found["id"], resolution="adjust")).status == 200
    row = await row_of(shop, payment_id)
    assert (row["status"], row["needs_review"]) == ("completed", False)
    events = await shop.admin.execute("SELECT event FROM payment_history WHERE payment_id = %s", [payment_id])
    assert [one["event"] for one in await events.fetchall()][-2:] == ["request_review", "reviewed"]
    assert await back_office.provider_total() == 0


async def test_a_statement_without_the_payment_does_not_end_its_doubt(back_office: BackOffice) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 1_000)
    before = await outcome(back_office.shop, payment_id)
    day = await reconcile_fetched_statement(back_office, [])
    assert await outcome(back_office.shop, payment_id) == before
    assert await back_office.status(day) == "reconciled"
